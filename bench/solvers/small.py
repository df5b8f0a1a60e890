"""What a small problem costs: whole fits, and an iteration of each solver.

    python -m bench.solvers.small
    python -m bench.solvers.small --only FISTA --repeats 9

Two sizes: ``digits``, 500 samples, 64 features, 21 attributes, and ``tiny``, 60 samples, 8
features, 4 attributes, as tests have them. Nearly all of the time on these goes to calls of
torch, numpy and Python. Seconds of a processor in one thread, the median of the repeats after a
first run; an iteration is the difference of a long and a short run that stop at a number of
iterations, with no certificate between, over the difference of their iterations.

Writes bench/results/small.json, unless ``--only`` is given.
"""

from __future__ import annotations

import statistics
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import typer

import proxmtl
from bench import record
from proxmtl import MaxIterations, Problem, minimize
from proxmtl.io import load_digit_attributes
from proxmtl.latent import LatentMTL

if TYPE_CHECKING:
    from collections.abc import Callable

FITS = (
    "SingleTaskClassifier",
    "SingleTaskClassifierCV",
    "LassoClassifier",
    "L21Classifier",
    "GroupLassoClassifier",
    "SharedPlusOwnClassifier",
    "SharedPlusOwnClassifierCV",
    "LatentMTLClassifier",
    "LatentMTLClassifierCV",
)
SMOOTH = ("LBFGS", "NewtonCholesky")
SPARSE = ("PGD", "FISTA", "MFISTA", "AdPGM", "ProxNewton", "PDHG")
GROUPED = ("SPGD", "DavisYin")
JOINT = ("auto", "panoc", "palm")
SHORT, LONG = 5, 25


def arrays(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels 0 and 1 of a size."""
    draw = np.random.default_rng(0)
    if name == "digits":
        data = load_digit_attributes()
        rows = draw.permutation(len(data.X))[:500]
        return data.X[rows], data.Y[rows]
    X = draw.standard_normal((60, 8))
    scores = X @ draw.standard_normal((8, 4)) + draw.standard_normal((60, 4))
    return X, (scores > 0).astype(float)


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median of the processor seconds of some calls, after a first one."""
    work()
    found = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return statistics.median(found)


def fit(name: str, X: np.ndarray, Y: np.ndarray) -> Any:
    """Fit an estimator with its defaults."""
    model = getattr(proxmtl, name)()
    if "random_state" in model.get_params():
        model.set_params(random_state=0)
    return model.fit(X, Y)


def iteration(run: Callable[[int], Any], repeats: int) -> float:
    """Seconds of an iteration; not a number where a run ends before its limit."""
    ends = [run(limit).iterations for limit in (SHORT, LONG)]
    if ends[1] == ends[0]:
        return float("nan")
    short, long = (seconds(lambda limit=limit: run(limit), repeats) for limit in (SHORT, LONG))
    return (long - short) / (ends[1] - ends[0])


def solves(X: np.ndarray, Y: np.ndarray) -> dict[str, Callable[[int], Any]]:
    """A run of each solver to a number of iterations."""
    ridge = Problem.of(X, Y, proxmtl.SquaredFrobenius(1e-3), loss="logistic")
    lasso = Problem.of(X, Y, proxmtl.L1(1e-3), loss="logistic")
    overlapping = proxmtl.Groups.from_lists([list(range(Y.shape[1])), [0, 1]], n_items=Y.shape[1])
    grouped = Problem.of(X, Y, proxmtl.OverlappingGroupL2(overlapping, 1e-3), loss="logistic")

    def convex(problem: Problem, name: str) -> Callable[[int], Any]:
        return lambda limit: minimize(problem, name, stop=MaxIterations(limit))

    runs = {name: convex(ridge, name) for name in SMOOTH}
    runs |= {name: convex(lasso, name) for name in SPARSE}
    runs |= {name: convex(grouped, name) for name in GROUPED}

    def joint(algorithm: str) -> Callable[[int], Any]:
        model = LatentMTL(n_latents=3, algorithm=algorithm, init="svd", max_passes=1e5)
        return lambda limit: model.solve(X, 2 * Y - 1, stop=MaxIterations(limit))

    return runs | {f"joint {name}": joint(name) for name in JOINT}


def main(
    only: record.Only = "",
    repeats: Annotated[int, typer.Option(help="Runs of each, of which the median counts.")] = 5,
) -> None:
    """Measure fits and iterations at both sizes."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of few labels and of limits that are meant
    found: dict[str, dict[str, float]] = {}
    for size in ("tiny", "digits"):
        X, Y = arrays(size)
        for name in FITS:
            if only in name:
                found.setdefault(f"fit {name}", {})[size] = seconds(
                    partial(fit, name, X, Y), repeats
                )
        for name, run in solves(X, Y).items():
            if only in name:
                found.setdefault(f"iteration {name}", {})[size] = iteration(run, repeats)
    for name, times in found.items():
        print(f"{name:36}", *(f"{size} {1e3 * each:9.3f} ms  " for size, each in times.items()))
    if not only:
        record.save("small", {"seconds": found})


if __name__ == "__main__":
    typer.run(main)
