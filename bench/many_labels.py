"""Ten thousand tasks of which a row has a few labels: gradients and solves by the number of labels.

    python bench/many_labels.py

Features (rows, features) in float32 that all tasks share, and labels of random pairs of a row and a
task, given as a sparse matrix. For each number of labels, in a process of its own: the median of
gradients, solves with the norm L2,1 and with a ridge to a relative gap, and the peak memory. The
peer is scikit-learn's LinearSVC (liblinear), task by task on the rows that have a label, for some
tasks, and scaled to all. The predicted time of a gradient is written down before it is measured:
features from a core's cache once for each of two products of every label; once a block of rows the
weights of all tasks, and their sums read and written, from memory. Writes
bench/results/many_labels.json.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Annotated, Any

import numpy as np
import record
import torch
import typer
from scipy import sparse
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from proxmtl import (
    FISTA,
    L21,
    LBFGS,
    MaxPasses,
    Problem,
    RelativeGap,
    SquaredFrobenius,
    minimize,
)

Numbers = Annotated[str, typer.Option(help="Numbers of labels, in millions, separated by commas.")]
CACHE, MEMORY = 1 << 19, 1 << 26
"""Numbers of float32 that stay in a core's cache, and that do not."""


def data(rows: int, features: int, tasks: int, labels: int) -> tuple[Any, Any]:
    """Features, and labels of random pairs by weights that forty features have."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, features), dtype=np.float32)
    W = np.zeros((tasks, features), np.float32)
    W[:, :40] = rng.standard_normal((tasks, 40), dtype=np.float32) / np.sqrt(40)
    place = np.unique(rng.integers(0, rows * tasks, labels))
    row, task = place // tasks, place % tasks
    y = np.empty(len(place), np.int8)
    for part in np.array_split(np.arange(len(place)), max(1, len(place) >> 18)):
        score = np.einsum("ij,ij->i", X[row[part], :40], W[task[part], :40])
        y[part] = np.where(score + rng.standard_normal(len(part)) > 0, 1, -1)
    return X, sparse.csr_array((y, (row, task)), shape=(rows, tasks))


def speed(numbers: int) -> float:
    """Bytes a second that a sum over a float32 array reads."""
    x, best = torch.ones(numbers), 0.0
    for _ in range(5):
        repeats = max(1, MEMORY // numbers)
        start = time.perf_counter()
        for _ in range(repeats):
            x.sum()
        best = max(best, 4 * numbers * repeats / (time.perf_counter() - start))
    return best


def one(rows: int, features: int, tasks: int, labels: int, gap: float) -> dict[str, Any]:
    """Figures for one number of labels."""
    X, Y = data(rows, features, tasks, labels)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    problem = Problem.of(X, Y, SquaredFrobenius(1e-6), fit_intercept=False)
    posed = time.perf_counter() - start
    design: Any = problem.design
    blocks = len(design._bounds) - 1  # noqa: SLF001 - for the model of the time
    swept = blocks * tasks * features * (4 + 2 * 8)
    reads = 2 * Y.nnz * features * 4
    predicted = reads / speed(CACHE) + swept / speed(MEMORY)
    print(f"{Y.nnz:,} labels: predicted {predicted:.2f} s a gradient", file=sys.stderr, flush=True)
    W = 0.01 * torch.randn(features, tasks, generator=torch.Generator().manual_seed(0))
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        problem.smooth_value_and_grad(W)
        seconds.append(time.perf_counter() - start)
    found: dict[str, Any] = {
        "labels": Y.nnz,
        "posed_seconds": posed,
        "blocks": blocks,
        "predicted_seconds_of_a_gradient": predicted,
        "seconds_of_a_gradient": statistics.median(seconds),
        "least_seconds_of_a_gradient": min(seconds),
    }
    critical = problem.with_regularizers(L21(1.0)).critical_strength()
    # as much as half a label's curvature: tasks have few labels
    ridge = 0.25 / tasks
    for name, penalty, solver in (
        ("l21", L21(0.4 * critical), FISTA()),
        ("ridge", SquaredFrobenius(ridge), LBFGS(tolerance=0.7 * gap)),
    ):
        posed_again = problem.with_regularizers(penalty)
        start = time.perf_counter()
        result = minimize(posed_again, solver, stop=RelativeGap(gap) | MaxPasses(100))
        found[name] = {
            "seconds": time.perf_counter() - start,
            "passes": result.passes,
            "relative_gap": result.certificate.relative_gap,
            "status": result.status.name,
            "rows_in_use": float((result.coef != 0).any(1).sum()),
        }
        print(name, found[name], file=sys.stderr, flush=True)
    found["scikit_learn"] = peer(X, Y.tocsc(), ridge, result.coef.numpy())
    found["data_kilobytes"] = before
    found["peak_kilobytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found


def peer(X: Any, Y: Any, ridge: float, coef: Any, some: int = 20) -> dict[str, float]:
    """LinearSVC of the same ridge for some tasks, scaled to all."""
    tasks = np.linspace(0, Y.shape[1] - 1, some).astype(int)
    seconds, apart = 0.0, []
    for m in tasks:
        here = slice(Y.indptr[m], Y.indptr[m + 1])
        start = time.perf_counter()
        own = X[Y.indices[here]]
        model = LinearSVC(C=1 / (4 * ridge * Y.nnz), fit_intercept=False, dual=False, tol=1e-4)
        model.fit(own, Y.data[here])
        seconds += time.perf_counter() - start
        size = float(np.linalg.norm(model.coef_))
        apart.append(float(np.linalg.norm(model.coef_[0] - coef[:, m])) / size)
    return {
        "tasks": some,
        "seconds_scaled_to_all": seconds * Y.shape[1] / some,
        "largest_relative_distance": max(apart),
    }


def main(  # noqa: PLR0917 - options
    millions: Numbers = "1,2,4,8",
    rows: int = 200_000,
    features: int = 256,
    tasks: int = 10_000,
    gap: float = 1e-3,
    threads: int = 1,
    single: Annotated[int, typer.Option(help="One number of labels, printed as JSON.")] = 0,
) -> None:
    """Measure every number of labels; each in a process of its own."""
    torch.set_num_threads(threads)
    if single:
        with threadpool_limits(threads):
            print(json.dumps(one(rows, features, tasks, single, gap)))
        return
    runs = []
    for number in millions.split(","):
        labels = round(1e6 * float(number))
        options = {"rows": rows, "features": features, "tasks": tasks, "gap": gap}
        flags = [f"--{name}={value}" for name, value in {**options, "threads": threads}.items()]
        command = [sys.executable, __file__, f"--single={labels}", *flags]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        runs.append(json.loads(done.stdout))
    settings = {**options, "threads": threads}
    print(record.save("many_labels", {"settings": settings, "runs": runs}))


if __name__ == "__main__":
    typer.run(main)
