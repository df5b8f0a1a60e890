"""What each of several processes computes; run as ``rank_cases.py OUT`` in a rank's environment."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from solver_cases import CHAIN, PAIRS
from strategies import classification

import proxmtl as pm
from proxmtl.latent import LatentMTL
from proxmtl.ranks import ALONE

N, D, M = 90, 6, 4
WEIGHTS = 0.5 + torch.rand(N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
STOP = pm.RelativeGap(1e-7) | pm.RelativeKKT(1e-9) | pm.MaxIterations(1500)
ELASTIC = [pm.L1(0.02), pm.SquaredFrobenius(0.01)]


def rows_of(ranks):
    """Rows of a rank: not equally many."""
    ends = [0, *(N * (2 * r + 1) // (2 * ranks.size) for r in range(1, ranks.size)), N]
    return slice(ends[ranks.rank], ends[ranks.rank + 1])


def problem(ranks, penalties, loss=None, *, intercept=True, kind="shared", dtype=torch.float64):
    """A problem of which each rank has some of the samples."""
    X, Y = classification(N, D, M, seed=3, missing=0.2, shift=0.3, dtype=dtype)
    X = X * torch.logspace(0, 1, D, dtype=dtype) + 0.5
    own = rows_of(ranks)
    if isinstance(loss, pm.WestonWatkins):
        Y = torch.arange(N, dtype=dtype) % M
    elif loss is not None and loss.labels == "real":
        Y = X @ torch.ones(D, M, dtype=dtype) + Y
    weights = WEIGHTS[own].to(dtype)
    if kind == "task":
        design = pm.TaskDesign([X[own][m:] for m in range(M)], intercept=intercept)
        Y = [Y[own][m:, m] for m in range(M)]
        weights = None
    elif kind == "streamed":
        size = (3 * 2 + 3) * D * X.element_size()  # a few rows at a time
        design = pm.StreamedDesign([X[own].numpy()], intercept=intercept, memory=4 * size)
        Y = Y[own]
    else:
        design = pm.SharedDesign(X[own].to_sparse_csr() if kind == "sparse" else X[own], intercept=intercept)
        Y = Y[own]
    options = {"reduction": "mean" if isinstance(loss, pm.WestonWatkins) else "task_mean"}
    return pm.Problem.of(
        pm.ShardedDesign(design, ranks), Y, penalties, loss=loss, sample_weight=weights, **options
    )


def groups(strength=0.03):
    return [pm.GroupL2(PAIRS, strength)]


OVERLAP = [pm.L1(0.01), pm.OverlappingGroupL2(CHAIN, 0.02)]
CONVEX = {
    "FISTA": (pm.FISTA(), groups(), {}),
    "FISTA, task": (pm.FISTA(), groups(), {"kind": "task"}),
    "FISTA, sparse": (pm.FISTA(), groups(), {"kind": "sparse"}),
    "FISTA, streamed": (pm.FISTA(), groups(), {"kind": "streamed"}),
    "FISTA, float32": (pm.FISTA(), ELASTIC, {"dtype": torch.float32}),
    "FISTA, no intercept": (pm.FISTA(), ELASTIC, {"intercept": False}),
    "FISTA, logistic": (pm.FISTA(), groups(), {"loss": pm.Logistic()}),
    "FISTA, squared": (pm.FISTA(), groups(), {"loss": pm.Squared()}),
    "FISTA, Huber": (pm.FISTA(), [pm.L1(0.1)], {"loss": pm.Huber(0.5)}),
    "FISTA, smoothed hinge": (pm.FISTA(), [pm.L1(0.02)], {"loss": pm.SmoothedHinge(0.5)}),
    "FISTA, classes": (pm.FISTA(), ELASTIC, {"loss": pm.WestonWatkins(M)}),
    "PGD": (pm.PGD(), ELASTIC, {}),
    "MFISTA": (pm.MFISTA(), ELASTIC, {}),
    "AdPGM": (pm.AdPGM(), groups(), {}),
    "DavisYin": (pm.DavisYin(), OVERLAP, {}),
    "PDHG": (pm.PDHG(), OVERLAP, {}),
    "ProxNewton": (pm.ProxNewton(smallest=1), ELASTIC, {}),
    "SPGD": (pm.SPGD(), OVERLAP, {}),
    "IRLS": (pm.IRLS(), groups(), {}),
    "LBFGS": (pm.LBFGS(), [pm.SquaredFrobenius(0.01)], {}),
    "LBFGS, logistic": (pm.LBFGS(), [pm.SquaredFrobenius(1e-4)], {"loss": pm.Logistic()}),
    "default, ridge": (None, [pm.SquaredFrobenius(0.01)], {}),
    "default, groups": (None, groups(), {}),
}


def solved(name, ranks):
    """Solution, objective, gap and iterations of a case."""
    solver, penalties, options = CONVEX[name]
    posed = problem(ranks, penalties, **options)
    rough = {"SPGD", "IRLS"}
    stop = pm.MaxIterations(20) if name in rough else STOP
    result = pm.minimize(posed, solver, stop=stop)
    found = result.certificate
    return {
        "solution": result.solution,
        "objective": found.objective,
        "gap": found.gap,
        "kkt": found.relative_kkt,
        "iterations": result.iterations,
        "passes": result.passes,
        "status": result.status.name,
    }


def run_all(ranks, names=CONVEX):
    return {name: solved(name, ranks) for name in names}


def start(script, size, *arguments, env=None):
    """Start processes of a script, each in the environment of its rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", **(env or {})}  # fmt: skip
    return [
        subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            env={**shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


if __name__ == "__main__":
    ranks = pm.ProcessRanks.join(minutes=2)
    torch.save(run_all(ranks, sys.argv[2:] or CONVEX), f"{sys.argv[1]}-{ranks.rank}.pt")
