"""Folds x strengths in one batch against the loop over problems, to the same certified gap.

Gaussian features, planted sparse weights, noisy labels; L1 with intercepts, the strengths from half
of the critical one down to a twentieth of it, warm starts in neither. The ratios predicted before
the first run stand in PREDICTED: products alone had been timed (2.4 times faster in one piece at
the large size, 16 times at a small one), the rest was a guess. Times are CPU seconds of one thread,
which other work on the machine disturbs least.

    python -m bench.solvers.batch large small
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import numpy as np
import torch
import typer

import proxmtl as pm
from bench import record
from proxmtl.selection import restrict_samples, solve_batch, with_strengths
from proxmtl.selection.strengths import geometric

SIZES = {"large": (1800, 1280, 23), "small": (300, 64, 6)}
PREDICTED = {"large": 1.7, "small": 5.0}
FOLDS, STRENGTHS = 5, 10


def problems(size: tuple[int, int, int], seed: int) -> list[pm.Problem]:
    """5 folds of ten strengths each."""
    n, d, m = size
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=g)
    W = torch.randn(d, m, generator=g) * (torch.rand(d, m, generator=g) < 0.05)
    scores = X @ W
    Y = torch.sign(scores / scores.std() + 0.5 * torch.randn(n, m, generator=g))
    targets = pm.Targets.from_labels(Y, reduction="mean", like=X)
    base = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X, intercept=True), targets, pm.L1(1.0))
    critical = base.critical_strength()
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    parts = [restrict_samples(base, fold != f) for f in range(FOLDS)]
    grid = geometric(critical / 2, critical / 20, STRENGTHS)
    return [with_strengths(part, strength) for part in parts for strength in grid]


def measure(size: tuple[int, int, int], gap: float, repeats: int) -> dict[str, Any]:
    """Best of several runs of each way, and that both reached the gap."""
    stop = pm.RelativeGap(gap) | pm.MaxIterations(3000)
    seconds: dict[str, list[float]] = {"loop": [], "batch": []}
    figures: dict[str, Any] = {}
    for repeat in range(repeats):
        for way, taken in seconds.items():
            family = problems(size, seed=0)
            begin = time.process_time()
            if way == "loop":
                results = [pm.minimize(problem, stop=stop) for problem in family]
            else:
                results = solve_batch(family, stop=stop)
            taken.append(time.process_time() - begin)
            assert all(r.status.ok for r in results), way
            if repeat == 0:
                figures[f"{way}_passes"] = sum(r.passes for r in results)
    best = {way: min(times) for way, times in seconds.items()}
    return {
        "seconds": seconds,
        **figures,
        "ratio": best["loop"] / best["batch"],
    }


def main(
    cases: Annotated[list[str] | None, typer.Argument(help="large, small; both by default")] = None,
    gap: Annotated[float, typer.Option(help="relative gap of every problem")] = 1e-3,
    repeats: Annotated[int, typer.Option(help="runs of each way; the best counts")] = 2,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 1,
) -> None:
    """Measure both ways; write bench/results/batch.json."""
    torch.set_num_threads(threads)
    settings = {
        "folds": FOLDS,
        "strengths": STRENGTHS,
        "gap": gap,
        "threads": threads,
        "clock": "CPU seconds of the process",
    }
    runs = record.runs_so_far("batch", settings)
    for case in cases or list(SIZES):
        size = SIZES[case]
        runs[case] = {"N, D, M": size, "predicted": PREDICTED[case], **measure(size, gap, repeats)}
        typer.echo(f"{case}: {runs[case]['ratio']:.2f} times faster than the loop")
        record.save("batch", {"settings": settings, "runs": runs})


if __name__ == "__main__":
    typer.run(main)
