"""Problems divided among processes: two ranks against one, predicted and measured.

    python -m bench.scale.ranks                # one and two processes, one thread each
    python -m bench.scale.ranks --scale 0.05   # a look: a twentieth of the rows, nothing is written

Random float32 features, squared hinge, L1, FISTA. Each process makes its own rows, in memory; where
tasks are divided, all rows with the labels of its tasks.

- *Strong scaling*: the same problem, divided among 1 and 2 processes;
- *weak scaling*: as many rows (or tasks, where these are divided) for each process;
- *cross-validation*: the fits of 8 candidates on 2 folds, spread over the processes.

Figures are medians of wall-clock seconds of 40 iterations, without certificates. The prediction for
P processes is ``T + (m - 1) t_0 + t_g``: the measured time ``T`` of an iteration on the part of one
rank, while the other ranks compute on theirs and none waits for another, and ``m`` exchanges, of
which one takes the measured time ``t_g`` of a sum as long as the gradient (or of a gather of its
columns, where tasks are divided), and the others that of a sum of one number, ``t_0``. What was
predicted before the first run, of the ratios, stands in PREDICTED. Writes bench/results/ranks.json
and ranks.svg.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import matplotlib as mpl
import numpy as np
import torch
import typer

from bench import record
from proxmtl import (
    FISTA,
    L1,
    LassoClassifier,
    MaxIterations,
    Problem,
    ProcessRanks,
    ShardedDesign,
    SharedDesign,
    minimize,
)
from proxmtl.ranks import ALONE, Ranks
from proxmtl.selection import cross_validate
from proxmtl.selection.edges import EdgeWarning

PREDICTED = {
    "tasks divided": "1.6 to 1.9 times as fast on two ranks: half of the products, and an exchange "
    "that is small beside them; thinner products run at a lower speed",
    "weak scaling, tasks divided": "1.1 to 1.3 of the time of one: memory bandwidth is shared",
    "cross-validation": "0.5 to 0.6 of the time of one, and 0.1 s for each of two exchanges",
}


class Case(NamedTuple):
    """Sizes of a problem, and what of it the ranks divide."""

    rows: int
    width: int
    tasks: int
    divided: str = "rows"


CASES = {
    "200,000 x 512, 8 tasks": Case(200_000, 512, 8),
    "60,000 x 1,024, 23 tasks": Case(60_000, 1024, 23),
    "20,000 x 1,024, 1 task": Case(20_000, 1024, 1),
    "10,000 x 1,024, 128 tasks, divided": Case(10_000, 1024, 128, "tasks"),
}
ITERATIONS = 40
EXCHANGES = 3
"""Of an iteration of FISTA: loss and gradient, the test of the step, and the clock."""
FITS = 5_000, 200, 10
"""Rows, features and tasks of the cross-validation."""


def problem(ranks: Ranks, case: Case) -> Problem:
    """Problem of which each rank has rows or tasks of its own: as many as the case has."""
    by_tasks = case.divided == "tasks"
    generator = torch.Generator().manual_seed(0 if by_tasks else ranks.rank)
    X = torch.randn(case.rows, case.width, generator=generator)
    of_labels = torch.Generator().manual_seed(99 + (ranks.rank if by_tasks else 0))
    W = torch.randn(case.width, case.tasks, generator=of_labels)
    noise = torch.randn(case.rows, case.tasks, generator=generator)
    Y = torch.where(X @ W + 3 * noise > 0, 1, -1)  # of millions of float32 scores some are zero
    first = case.tasks * ranks.rank
    tasks = range(first, first + case.tasks) if by_tasks else None
    design = ShardedDesign(SharedDesign(X, intercept=True), ranks, tasks=tasks)
    return Problem.of(design, Y, L1(1e-4), reduction="mean")


def part(case: Case, size: int) -> Case:
    """What one of several ranks has of a case."""
    if case.divided == "tasks":
        return case._replace(tasks=case.tasks // size)
    return case._replace(rows=case.rows // size)


def iteration(posed: Problem) -> float:
    """Median seconds of an iteration."""
    times: list[float] = []
    minimize(
        posed,
        FISTA(),
        stop=MaxIterations(ITERATIONS),
        callback=lambda _: times.append(time.perf_counter()),
    )
    return float(np.median(np.diff(times)))


def apart(ranks: Ranks, case: Case) -> float:
    """Seconds of an iteration on this rank's part alone, while the others do the same."""
    posed = problem(ALONE, case)
    ranks.largest(0.0)  # all begin at once
    return ranks.largest(iteration(posed))


def exchange(ranks: Ranks, case: Case | None = None) -> float:
    """Median seconds of a sum of one number, or of the exchange of a gradient."""
    own = torch.ones(case.width + 1, case.tasks) if case else torch.ones(1)
    places = torch.arange(own.shape[-1] * ranks.size).split(own.shape[-1])
    times = []
    for _ in range(40):
        begin = time.perf_counter()
        if case is not None and case.divided == "tasks":
            ranks.columns(own, places)
        else:
            ranks.total(own)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def fits(ranks: Ranks, scale: float) -> float:
    """Seconds of a cross-validation."""
    rows, width, tasks = int(FITS[0] * scale) + 100, *FITS[1:]
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(rows, width, generator=generator)
    W = torch.randn(width, tasks, generator=generator)
    Y = (X @ W + 5 * torch.randn(rows, tasks, generator=generator) > 0).double()
    candidates = [{"strength": 10**-exponent} for exponent in np.linspace(1.5, 3, 8)]
    LassoClassifier(strength=0.1).fit(X[:100], Y[:100])  # what is compiled at first use
    ranks.largest(0.0)
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeWarning)
        cross_validate(LassoClassifier(), candidates, 2, X, Y, refit=False, ranks=ranks)
    return ranks.largest(time.perf_counter() - begin)


def measure(out: Path, scale: float) -> None:
    """Figures of this rank; the first one writes them."""
    torch.set_num_threads(1)
    ranks = ProcessRanks.join()
    found: dict[str, Any] = {}
    for name, whole in CASES.items():
        case = whole._replace(rows=int(whole.rows * scale))
        own = part(case, ranks.size)
        found[name] = {
            "strong": iteration(problem(ranks, own)),
            "weak": iteration(problem(ranks, case)),
            "exchange": exchange(ranks),
            "gradient exchange": exchange(ranks, own),
            "gradient exchange, weak": exchange(ranks, case),
            "apart": apart(ranks, own),
            "apart, weak": apart(ranks, case),
        }
    found["cross-validation"] = fits(ranks, scale)
    if ranks.rank == 0:
        out.write_text(json.dumps(found), encoding="utf-8")


def launched(processes: int, out: Path, scale: float) -> dict[str, Any]:
    """Figures of a group of processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", "-m", "bench.scale.ranks", "--measure", str(out)]
    command += ["--scale", str(scale)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def compared(name: str, one: dict[str, float], two: dict[str, float]) -> dict[str, Any]:
    """Two processes against one in a case."""
    # the callback that takes the times is one exchange more
    talk = EXCHANGES * two["exchange"]
    return {
        "case": name,
        "one": one["strong"],
        "two": two["strong"],
        "speedup": one["strong"] / two["strong"],
        "predicted": two["apart"] + talk + two["gradient exchange"],
        "apart": two["apart"],
        "weak": two["weak"] / one["weak"],
        "weak, predicted": (two["apart, weak"] + talk + two["gradient exchange, weak"])
        / one["weak"],
        "exchange": two["exchange"],
        "gradient exchange": two["gradient exchange"],
    }


def plot(rows: list[dict[str, Any]], target: Path) -> None:
    """Draw weak scaling: the time of an iteration over that of one process."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for row in rows:
        (line,) = axes.plot([1, 2], [1, row["weak"]], "o-", label=row["case"])
        axes.plot([1, 2], [1, row["weak, predicted"]], "x:", color=line.get_color())
    axes.axhline(1, color="0.5", linewidth=0.8)
    axes.set(xticks=[1, 2], xlabel="processes, each with as much", ylim=(0, None))
    axes.set_ylabel("time of an iteration, over that of one")
    axes.set_title("Weak scaling: measured (dots) and predicted (crosses)")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)


def main(
    measure_into: Annotated[Path | None, typer.Option("--measure", hidden=True)] = None,
    scale: Annotated[
        float, typer.Option(help="Share of the rows; with less than 1 nothing is written.")
    ] = 1.0,
) -> None:
    """Compare one and two processes."""
    if measure_into is not None:
        measure(measure_into, scale)
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        one, two = (launched(size, out / f"{size}.json", scale) for size in (1, 2))
        rows = [compared(name, one[name], two[name]) for name in CASES]
        seconds = {"one": one["cross-validation"], "two": two["cross-validation"]}
        for each in (*rows, seconds):
            print(json.dumps(each))
        plot(rows, out / "ranks.svg")
        if scale < 1:
            return
        record.save("ranks", {"rows": rows, "cross-validation": seconds, "predicted": PREDICTED})
        plot(rows, record.RESULTS / "ranks.svg")


if __name__ == "__main__":
    typer.run(main)
