"""Time to an objective on features in files: streams against SGD by partial_fit.

    python -m bench.scale.stream_sgd --folder shards --shards 25

A logistic model with a ridge on shards of 768 float32 features (:mod:`stream_data`, 0.4 GB each),
one thread each. scikit-learn's SGDClassifier takes one shard after another by partial_fit, one
classifier a task, with several learning rates, of which the fastest counts for each accuracy. Its
objective after every shard is measured at the end, for all of them in one read. proxmtl solves by
LBFGS, from zero and from the solution on the first shard, and by ProxSVRG. Times include all reads,
those of the checks and of the start too, but not imports. Writes bench/results/stream_sgd.json.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier

from bench import record
from bench.scale.stream_data import FEATURES, ROWS, labels_of, made
from proxmtl import (
    LBFGS,
    Logistic,
    MaxIterations,
    Problem,
    ProxSVRG,
    RelativeGap,
    SquaredFrobenius,
    StreamedDesign,
    minimize,
)
from proxmtl.io import open_shards

GAPS = (1e-2, 1e-3, 1e-4)
RATES: dict[str, dict[str, Any]] = {
    "optimal": {"learning_rate": "optimal"},
    "constant 1e-4": {"learning_rate": "constant", "eta0": 1e-4},
    "constant 1e-3, averaged": {"learning_rate": "constant", "eta0": 1e-3, "average": True},
    "constant 1e-2, averaged": {"learning_rate": "constant", "eta0": 1e-2, "average": True},
    "invscaling 1e-2": {"learning_rate": "invscaling", "eta0": 1e-2, "power_t": 0.25},
}


def posed(paths: list[Path], tasks: int, alpha: float, memory: int) -> Problem:
    """Mean logistic loss of all labels plus the ridge of SGDClassifier; reads the files once."""
    design = StreamedDesign(open_shards(paths), intercept=True, memory=memory << 20)
    labels = labels_of(paths)[:, :tasks]
    return Problem.of(design, labels, SquaredFrobenius(alpha / (2 * tasks)), loss=Logistic())


def first_times(curve: list[tuple[float, float]], optimum: float) -> dict[str, float | None]:
    """Seconds to each accuracy, relative to the optimum, of pairs (seconds, objective)."""
    found = {}
    for gap in GAPS:
        there = [seconds for seconds, value in curve if value <= (1 + gap) * optimum]
        found[f"{gap:g}"] = there[0] if there else None
    return found


def by_sgd(
    paths: list[Path], tasks: int, rate: dict[str, Any], *, alpha: float, epochs: int
) -> list[tuple[float, NDArray[np.float64]]]:
    """Seconds and parameters (D + 1, tasks) after each shard of each epoch."""
    models = [
        SGDClassifier(loss="log_loss", alpha=alpha, random_state=0, **rate) for _ in range(tasks)
    ]
    labels = [labels_of([path])[:, :tasks] for path in paths]
    points, spent = [], 0.0
    for _ in range(epochs):
        for path, own in zip(paths, labels, strict=True):
            begin = time.perf_counter()
            X = np.load(path)
            for model, y in zip(models, own.T, strict=True):
                model.partial_fit(X, y, classes=[-1, 1])
            spent += time.perf_counter() - begin
            rows = [np.append(model.coef_, model.intercept_) for model in models]
            points.append((spent, np.stack(rows, axis=1)))
    return points


def objectives(
    paths: list[Path], points: list[NDArray[np.float64]], alpha: float
) -> NDArray[np.float64]:
    """Objectives of parameters (D + 1, tasks), summed over the tasks, in one read."""
    W = torch.from_numpy(np.concatenate(points, axis=1)).to(torch.float32)
    tasks = points[0].shape[1]
    total = torch.zeros(W.shape[1], dtype=torch.float64)
    for path in paths:
        signs = torch.from_numpy(labels_of([path])[:, :tasks]).to(torch.float32)
        for X, y in zip(
            torch.from_numpy(np.load(path)).split(1 << 13), signs.split(1 << 13), strict=True
        ):
            margins = (X @ W[:-1]).add_(W[-1]).mul_(y.repeat(1, len(points)))
            total += torch.nn.functional.softplus(-margins).sum(0, dtype=torch.float64)
    total /= len(paths) * ROWS
    total += alpha / 2 * W[:-1].to(torch.float64).square().sum(0)
    return total.reshape(len(points), tasks).sum(1).numpy()


def by_solver(
    paths: list[Path],
    tasks: int,
    solver: Any,
    *,
    alpha: float,
    memory: int,
    few: int = 0,
    iterations: int = 12,
) -> list[tuple[float, float]]:
    """Seconds and objective after each iteration, with those of all that comes before it."""
    begin = time.perf_counter()
    start = None
    if few:
        part = minimize(posed(paths[:few], tasks, alpha, memory), LBFGS(), tol=1e-4)
        start = part.solution
    problem = posed(paths, tasks, alpha, memory)
    curve: list[tuple[float, float]] = []
    before = time.perf_counter() - begin

    def note(progress: Any) -> None:
        curve.append((before + progress.seconds, tasks * progress.objective))

    minimize(problem, solver, start, MaxIterations(iterations), callback=note)
    return curve


def main(  # noqa: PLR0917 - options of a command
    folder: Annotated[Path, typer.Option(help="Of the shards.")],
    shards: Annotated[int, typer.Option(help="Number of shards, 0.4 GB each.")] = 25,
    tasks: Annotated[int, typer.Option(help="Tasks, at most 20.")] = 5,
    epochs: Annotated[int, typer.Option(help="Of SGD.")] = 3,
    alpha: Annotated[float, typer.Option(help="Ridge, as SGDClassifier has it.")] = 1e-4,
    memory: Annotated[int, typer.Option(help="MiB for features.")] = 256,
) -> None:
    """Time both and record them."""
    torch.set_num_threads(1)
    paths = made(folder, shards)
    problem = posed(paths, tasks, alpha, memory)
    best = minimize(problem, stop=RelativeGap(1e-5) | MaxIterations(100))
    optimum = tasks * best.certificate.objective
    print(optimum, best, flush=True)

    solvers = {
        "LBFGS": lambda: by_solver(paths, tasks, LBFGS(), alpha=alpha, memory=memory),
        "LBFGS, from one shard": lambda: by_solver(
            paths, tasks, LBFGS(), alpha=alpha, memory=memory, few=1
        ),
        "ProxSVRG": lambda: by_solver(
            paths, tasks, ProxSVRG(batch=512), alpha=alpha, memory=memory
        ),
    }
    curves = {}
    for name, solve in solvers.items():
        curves[name] = solve()
        print(name, first_times(curves[name], optimum), flush=True)
    for name, rate in RATES.items():
        points = by_sgd(paths, tasks, rate, alpha=alpha, epochs=epochs)
        values = objectives(paths, [point for _, point in points], alpha)
        curves[f"SGD, {name}"] = [(s, float(v)) for (s, _), v in zip(points, values, strict=True)]
        print(name, first_times(curves[f"SGD, {name}"], optimum), values[-1], flush=True)
    runs = {
        name: {"seconds_to": first_times(curve, optimum), "curve": curve}
        for name, curve in curves.items()
    }
    settings = {
        "features": FEATURES,
        "samples": shards * ROWS,
        "gigabytes": shards * ROWS * FEATURES * 4 / 1e9,
        "tasks": tasks,
        "alpha": alpha,
        "epochs": epochs,
        "memory_mib": memory,
    }
    record.save("stream_sgd", {"settings": settings, "optimum": optimum, "runs": runs})


if __name__ == "__main__":
    typer.run(main)
