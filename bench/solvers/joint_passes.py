"""Passes and seconds of the joint problem's solvers to given residuals, on ten small problems.

    python -m bench.solvers.joint_passes

Made-up labels of a planted W = L S, and the digits with attributes, with their features as they are
or standardised. Each run has the default start, an intercept per task, float64 and one thread; the
residual is the relative KKT residual, looked at every ten iterations, and at each of Gram-Newton's.
"descent" is PANOC with refactoring, the part that "auto" begins with, to the end.
Seconds are of the process, those of the start and of looking included: the least of some runs, in
each of which the algorithms take turns. Writes bench/results/joint_passes.json and prints the rows
of the table in docs/benchmarks/results.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import typer

from bench import record
from proxmtl import Groups, LatentMTL, Logistic, MaxPasses, RelativeKKT
from proxmtl.io import load_digit_attributes
from proxmtl.latent import Refactored

RESIDUALS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
ALGORITHMS = ("descent", "auto", "gram")


class Descent(LatentMTL):
    """The default without Gram-Newton."""

    def _solver(self, problem: Any, budget: float) -> Any:  # noqa: ARG002
        return Refactored()


def blocks(n_tasks: int, size: int) -> list[list[int]]:
    """Consecutive groups of tasks."""
    return [list(range(i, min(n_tasks, i + size))) for i in range(0, n_tasks, size)]


def planted(
    seed: int,
    shape: tuple[int, int, int],
    groups: list[list[int]],
    *,
    rank: int,
    relu: bool = False,
    own: bool = False,
) -> tuple[Any, Any]:
    """Features and labels of ``shape`` (N, D, M); ``own``: of each task, of several lengths."""
    rng = np.random.default_rng(seed)
    N, D, M = shape
    L = rng.standard_normal((D, rank)) * (rng.random((D, rank)) < 0.4)
    S = rng.standard_normal((rank, M))
    for k in range(rank):
        for group in groups:
            if rng.random() < 0.5:
                S[k, group] = 0

    def features(n: int) -> np.ndarray:
        X = rng.standard_normal((n, D))
        return np.maximum(X @ rng.standard_normal((D, D)) / np.sqrt(D), 0) if relu else X

    def labels(X: np.ndarray, W: np.ndarray) -> np.ndarray:
        scores = X @ W
        scores = (scores - scores.mean(0)) / (scores.std(0) + 1e-9)
        return np.where(scores + 0.5 * rng.standard_normal(scores.shape) < 0, -1.0, 1.0)

    if not own:
        X = features(N)
        return X, labels(X, L @ S)
    Xs = [features(int(N * rng.uniform(0.3, 1))) for _ in range(M)]
    return Xs, [labels(X, w) for X, w in zip(Xs, (L @ S).T, strict=True)]


def standardised(X: np.ndarray) -> np.ndarray:
    """Columns of mean zero and variance one, but for constant ones."""
    scale = X.std(0)
    return (X - X.mean(0)) / np.where(scale > 0, scale, 1.0)


def made_up(*arguments: Any, size: int, options: dict[str, Any], **of_data: Any) -> Any:
    """A problem with planted factors."""
    groups = blocks(arguments[1][2], size)
    X, Y = planted(*arguments, groups, **of_data)
    return X, Y, {"groups": Groups.from_lists(groups), **options}


def digits(n: int | None, transform: Callable[[np.ndarray], np.ndarray], **options: Any) -> Any:
    """The first images of the digits, their 64 grey values and 21 attributes."""
    data = load_digit_attributes()
    X, Y = transform(data.X[:n]), 2.0 * data.Y[:n] - 1
    return X, Y, {"groups": Groups.from_names(data.groups, data.names), **options}


def overlapping() -> Any:
    """Standardised ReLU features, logistic loss, groups of five tasks that share two."""
    X, Y = planted(2, (800, 100, 20), blocks(20, 5), rank=6, relu=True)
    groups = Groups.from_lists([list(range(i, min(i + 5, 20))) for i in range(0, 20, 3)])
    options = {"loss": Logistic(), "group_strength": 3e-3, "n_latents": 12}
    return standardised(X), Y, {"groups": groups, **options}


def as_they_are(X: np.ndarray) -> np.ndarray:
    """Grey values from 0 to 16."""
    return X


def shifted() -> Any:
    """Gaussian features that all lie a hundred deviations from zero."""
    X, Y, options = made_up(1, (500, 50, 12), rank=4, size=3, options={})
    return X + 100.0, Y, options


PROBLEMS: dict[str, Callable[[], Any]] = {
    "Gaussian 200x20, 8 tasks": lambda: made_up(
        0, (200, 20, 8), rank=3, size=2, options={"n_latents": 5, "group_strength": 1e-2}
    ),
    "Gaussian 500x50, 12 tasks": lambda: made_up(1, (500, 50, 12), rank=4, size=3, options={}),
    "the same, plus 100": shifted,
    "Gaussian, features per task, 40, 10 tasks": lambda: made_up(
        4, (400, 40, 10), rank=3, size=5, own=True, options={"group_strength": 3e-3}
    ),
    "digits, 1797 images": lambda: digits(None, as_they_are, group_strength=1e-2),
    "digits, 600 images": lambda: digits(600, as_they_are),
    "digits, 300 images": lambda: digits(300, as_they_are, group_strength=1e-2),
    "digits, 600 images, standardised": lambda: digits(600, standardised),
    "ReLU 500x150, 20 tasks": lambda: made_up(
        7, (500, 150, 20), rank=5, size=4, relu=True, options={}
    ),
    "ReLU 800x100, 20 tasks, standardised, overlapping groups, logistic": overlapping,
}


def run(name: str, algorithm: Any, most: float) -> dict[str, Any]:
    """Passes and seconds to each residual, None where not reached, and where the run ended."""
    X, Y, options = PROBLEMS[name]()
    reached: dict[str, tuple[float, float]] = {}

    def look(progress: Any) -> None:
        for residual in RESIDUALS:
            if progress.certificate.relative_kkt <= residual:
                here = progress.passes, time.process_time() - begin
                reached.setdefault(f"{residual:g}", here)

    stop = RelativeKKT(RESIDUALS[-1]) | MaxPasses(most)
    begin = time.process_time()
    model = (
        Descent(**options) if algorithm == "descent" else LatentMTL(algorithm=algorithm, **options)
    )
    result = model.solve(X, Y, stop=stop, callback=look)
    ends = {f"{r:g}": reached.get(f"{r:g}", (None, None)) for r in RESIDUALS}
    return {
        "passes": {r: passes for r, (passes, _) in ends.items()},
        "seconds_to": {r: seconds for r, (_, seconds) in ends.items()},
        "status": result.status.name,
        "objective": result.certificate.objective,
        "relative_kkt": result.certificate.relative_kkt,
        "live_latents": result.live_latents,
        "seconds": time.process_time() - begin,
    }


def row(name: str, algorithm: str, found: dict[str, Any]) -> str:
    """Line of the table."""
    passes = ["-" if p is None else f"{p:.0f}" for p in found["passes"].values()]
    seconds = [found["seconds_to"][r] for r in ("0.1", "0.001", "1e-06")]
    times = ["-" if t is None else f"{t:.1f}" for t in seconds]
    columns = [name, algorithm, *passes, *times, f"{found['objective']:.6f}"]
    return f"| {' | '.join(columns)} |"


def main(
    only: Annotated[str, typer.Option(help="problems whose name holds this")] = "",
    algorithm: Annotated[str, typer.Option(help="'descent', 'auto' or 'gram' alone")] = "",
    passes: Annotated[float, typer.Option(help="budget of each run, in passes")] = 10_000,
    repeats: Annotated[int, typer.Option(help="runs of each, of which the fastest counts")] = 2,
) -> None:
    """Run each problem; write bench/results/joint_passes.json and print the table's rows."""
    torch.set_num_threads(1)
    settings = {"passes": passes, "residuals": RESIDUALS, "repeats": repeats}
    runs = record.runs_so_far("joint_passes", settings)
    for name in PROBLEMS:
        if only not in name:
            continue
        chosen = (algorithm,) if algorithm else ALGORITHMS
        found: dict[str, list[dict[str, Any]]] = {each: [] for each in chosen}
        for _ in range(repeats):
            for each in chosen:
                found[each].append(run(name, each, passes))
        for each, of_runs in found.items():
            best = min(of_runs, key=lambda one: one["seconds"])
            runs[f"{name}, {each}"] = best
            print(row(name, each, best), flush=True)
            record.save("joint_passes", {"settings": settings, "runs": runs})


if __name__ == "__main__":
    typer.run(main)
