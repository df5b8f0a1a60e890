"""One read of the features against two: the kernel, blocks, certificates and whole solves.

    python -m bench.solvers.one_read             # both sizes, float64 and float32
    python -m bench.solvers.one_read --repeats 9

Shared dense features, squared hinge, intercepts. Processor seconds of one thread, the least of the
repeats, both forms in turn in one run:

- ``pass``: loss and gradient by the kernel, and by two matrix products;
- ``certificate``: scores, gradient and dual gradient in float64, in one read by blocks, and by
  three products one after another;
- ``FISTA``, ``AdPGM``: 60 iterations with an L1 norm, certificates among them; ``LBFGS``: logistic
  and a ridge to a relative gap of 1e-6. With what the library chooses, and with every product by
  itself.

Writes bench/results/one_read.json.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer

from bench import record
from proxmtl import (
    FISTA,
    L1,
    LBFGS,
    AdPGM,
    Logistic,
    MaxIterations,
    Problem,
    RelativeGap,
    SharedDesign,
    SquaredFrobenius,
    SquaredHinge,
    Targets,
    minimize,
)
from proxmtl.certified import measured
from proxmtl.designs import Design, shared
from proxmtl.designs.fused import fused

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (20_000, 500), (4_000, 1_280)
TASKS = (1, 4, 8, 23)
ALL = 1 << 62


def problem(dtype: torch.dtype, shape: tuple[int, int], tasks: int, *, smooth: bool) -> Problem:
    """Labels with noise of features whose scales fall, in the manner of a spectrum."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(0, -1, shape[1], dtype=dtype)
    X = torch.randn(*shape, generator=generator, dtype=dtype) * scales
    W = torch.randn(shape[1], tasks, generator=generator, dtype=dtype) * 2 / shape[1] ** 0.5
    noise = torch.randn(shape[0], tasks, generator=generator, dtype=dtype)
    targets = Targets.from_labels((X @ W + 0.5 * noise).sign(), like=X, reduction="mean")
    loss, penalty = (
        (Logistic(), SquaredFrobenius(1e-4 / tasks))
        if smooth
        else (SquaredHinge(), L1(2e-3 / tasks))
    )
    return Problem(loss, SharedDesign(X, intercept=True), targets, penalty)


@contextmanager
def two_reads() -> Iterator[None]:
    """Every product by itself."""
    before, sweeps = shared.FUSED, SharedDesign.sweeps
    shared.FUSED = ALL
    SharedDesign.sweeps = Design.sweeps  # type: ignore[method-assign]
    try:
        yield
    finally:
        shared.FUSED, SharedDesign.sweeps = before, sweeps  # type: ignore[method-assign]


def race(one: Callable[[], Any], two: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Least processor seconds of both, in turn."""
    times: dict[str, list[float]] = {"one": [], "two": []}
    for _ in range(repeats + 1):  # the first compiles
        for name, run in (("one", one), ("two", two)):
            begin = time.process_time()
            run()
            times[name].append(time.process_time() - begin)
    least = {name: min(each[1:]) for name, each in times.items()}
    return least | {"ratio": least["two"] / least["one"]}


def row(dtype: torch.dtype, shape: tuple[int, int], tasks: int, repeats: int) -> dict[str, Any]:
    """All races of one size."""
    sparse, smooth = (problem(dtype, shape, tasks, smooth=each) for each in (False, True))
    design, data = sparse.design, sparse.data
    assert isinstance(design, SharedDesign)
    W = 0.1 * torch.randn(shape[1] + 1, tasks, dtype=dtype)
    labels, weights = data.targets.labels, data.targets.weights

    def apart(run: Callable[[], Any]) -> Callable[[], Any]:
        def alone() -> Any:
            with two_reads():
                return run()

        return alone

    found: dict[str, Any] = {"dtype": str(dtype)[6:], "shape": [*shape, tasks]}
    found["kernel_serves"] = design.reads_once(data, tasks, dtype)
    found["pass"] = race(
        lambda: fused(design, data, W, design.X, labels=labels, weights=weights),
        apart(lambda: design.loss_and_grad(data, W)),
        3 * repeats,
    )

    def certificate() -> Any:
        return measured(design, data, W.double(), balance=True)

    found["certificate"] = race(certificate, apart(certificate), repeats)
    solves = {
        "FISTA": (sparse, FISTA(), RelativeGap(1e-9)),
        "AdPGM": (sparse, AdPGM(), RelativeGap(1e-9)),
        "LBFGS": (smooth, LBFGS(1e-6), RelativeGap(1e-6)),
    }
    for name, (posed, solver, accuracy) in solves.items():

        def solve(posed: Problem = posed, solver: Any = solver, accuracy: Any = accuracy) -> Any:
            fresh = posed.with_regularizers(posed.regularizers)
            fresh.__dict__.pop("reads_once", None)
            return minimize(fresh, solver, stop=accuracy | MaxIterations(60))

        found[name] = race(solve, apart(solve), repeats)
    return found


def main(
    repeats: Annotated[int, typer.Option(help="Runs, of which the fastest counts.")] = 3,
) -> None:
    """Race both forms and record the times."""
    torch.set_num_threads(1)
    rows, settings = [], {"threads": 1, "repeats": repeats}
    for dtype in (torch.float64, torch.float32):
        for shape in SIZES:
            for tasks in TASKS:
                rows.append(row(dtype, shape, tasks, repeats))
                print(rows[-1], flush=True)
                record.save("one_read", {"settings": settings, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
