"""Tuning two strengths by hypergradients against a grid, at equal budgets of passes.

Elastic net of a logistic loss: 240 samples, half of them for validation, 200 features in clusters
of five correlated ones, 4 tasks. The criterion is the loss on the validation half. The grid is laid
over 0.9 ... 0.001 of the critical L1 strength and ridges 1 ... 1e-4, solved to a relative gap of
1e-4 with warm starts along the L1 strength; tuning starts in the grid's middle and gets the passes
that the grid took. Prediction before the first run: tuning ends below the grid on 8 of 10 seeds.

    python -m bench.solvers.tune --seeds 10
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
import typer

import proxmtl as pm
from bench import record
from proxmtl.selection import tune, with_strengths
from proxmtl.selection.strengths import geometric

N, D, M = 120, 200, 4
SIZES = (5, 8)
PREDICTED = "below the grid on 8 of 10 seeds"


def problems(seed: int) -> tuple[pm.Problem, pm.Problem]:
    """Training problem, and validation loss."""
    g = torch.Generator().manual_seed(seed)
    clusters = torch.randn(2 * N, D // 5, generator=g, dtype=torch.float64)
    own = torch.randn(2 * N, D, generator=g, dtype=torch.float64)
    X = clusters.repeat_interleave(5, 1) + 0.5 * own
    W = torch.zeros(D, M, dtype=torch.float64)
    W[:20] = torch.randn(20, M, generator=g, dtype=torch.float64)
    scores = X @ W
    noise = torch.randn(2 * N, M, generator=g, dtype=torch.float64)
    Y = torch.sign(scores / scores.std() + 0.5 * noise)
    train, held = (pm.SharedDesign(part, intercept=True) for part in (X[:N], X[N:]))
    labels, held_labels = (
        pm.Targets.from_labels(part, reduction="mean") for part in (Y[:N], Y[N:])
    )
    penalties = [pm.L1(1e-2), pm.SquaredFrobenius(1e-2)]
    return pm.Problem(pm.Logistic(), train, labels, penalties), pm.Problem(
        pm.Logistic(), held, held_labels
    )


def grid(train: pm.Problem, held: pm.Problem, size: int) -> tuple[float, float]:
    """Lowest criterion on the grid, and the passes it took."""
    critical, before, best = train.critical_strength(), train.counts.passes, math.inf
    stop = pm.RelativeGap(1e-4, every=5) | pm.MaxIterations(2000)
    for ridge in geometric(1.0, 1e-4, size):
        W = None
        for strength in geometric(0.9 * critical, 1e-3 * critical, size):
            W = pm.minimize(with_strengths(train, [strength, ridge]), x0=W, stop=stop).solution
            best = min(best, float(held.objective(W)))
    return best, train.counts.passes - before


def measure(seed: int, size: int) -> dict[str, Any]:
    """Both ways on one seed."""
    train, held = problems(seed)
    lowest, passes = grid(train, held, size)
    start = [math.sqrt(0.9e-3) * train.critical_strength(), 1e-2]
    tuned = tune(train, held.smooth_value_and_grad, start, max_passes=passes)
    level = [trial.passes for trial in tuned.trials if trial.value <= lowest]
    return {
        "grid": lowest,
        "grid_passes": passes,
        "tune": tuned.value,
        "tune_passes": tuned.passes,
        "tune_passes_to_the_grids_best": level[0] if level else None,
        "trials": len(tuned.trials),
    }


def main(
    seeds: Annotated[int, typer.Option(help="number of data sets")] = 10,
) -> None:
    """Measure grids of 5 x 5 and 8 x 8; write bench/results/tune.json."""
    torch.set_num_threads(1)
    runs: dict[str, Any] = {}
    for size in SIZES:
        figures = [measure(seed, size) for seed in range(seeds)]
        wins = sum(f["tune"] < f["grid"] for f in figures)
        runs[f"{size}x{size}"] = {"tune_below_grid": wins, "of": seeds, "seeds": figures}
        typer.echo(f"{size} x {size}: tuning ends below the grid on {wins} of {seeds} seeds")
    record.save("tune", {"predicted": PREDICTED, "N, D, M": [N, D, M], "runs": runs})


if __name__ == "__main__":
    typer.run(main)
