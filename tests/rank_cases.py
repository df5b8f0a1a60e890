"""What each of several processes computes; run as ``rank_cases.py OUT`` in a rank's environment."""

import os
import socket
import sys
import time
from pathlib import Path
from unittest import mock

import torch
from forked import Forked
from scipy.sparse import csr_array
from solver_cases import CHAIN, PAIRS
from strategies import classification

import proxmtl as pm
from proxmtl import stored_labels
from proxmtl.latent import LatentMTL
from proxmtl.latent.strengths import shared_strengths

HERE = Path(__file__).parent
N, D, M = 90, 6, 4
WEIGHTS = 0.5 + torch.rand(N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
STOP = pm.RelativeGap(1e-3) | pm.MaxIterations(100)
ELASTIC = [pm.L1(0.02), pm.SquaredFrobenius(0.01)]


def rows_of(ranks):
    """Rows of a rank: not equally many."""
    ends = [0, *(N * (2 * r + 1) // (2 * ranks.size) for r in range(1, ranks.size)), N]
    return slice(ends[ranks.rank], ends[ranks.rank + 1])


def tasks_of(ranks):
    """Tasks of a rank: not equally many, and not in the order of the ranks."""
    if ranks.size == 1:
        return list(range(M))
    return [m for m in range(M) if min(m, ranks.size - 1) == ranks.size - 1 - ranks.rank]


def problem(
    ranks,
    penalties,
    loss=None,
    *,
    intercept=True,
    kind="shared",
    dtype=torch.float64,
    divided="samples",
    large=stored_labels.LARGE,
):
    """A problem of which each rank has some of the samples, or the labels of some of the tasks.

    With more than ``large`` labels of its own, a rank keeps them in one byte each.
    """
    X, Y = classification(N, D, M, seed=3, missing=0.2, shift=0.3, dtype=dtype)
    X = X * torch.logspace(0, 0.3, D, dtype=dtype) + 0.5
    tasks = None if divided == "samples" else tasks_of(ranks)
    mine = range(M) if tasks is None else tasks
    own = rows_of(ranks) if tasks is None else slice(0, N)
    if isinstance(loss, pm.WestonWatkins):
        Y = torch.arange(N, dtype=dtype) % M
    elif loss is not None and loss.labels == "real":
        Y = X @ torch.ones(D, M, dtype=dtype) + Y
    weights = WEIGHTS[own].to(dtype)
    if kind == "task":
        parts = [slice(max(own.start, m), own.stop) for m in mine]  # not equally many
        design = pm.TaskDesign([X[part] for part in parts], intercept=intercept)
        Y = [Y[part, m] for m, part in zip(mine, parts, strict=True)]
        weights = None
    elif kind in ("streamed", "streamed pairs"):
        size = (3 * 2 + 3) * D * X.element_size()  # a few rows at a time
        design = pm.StreamedDesign([X[own].numpy()], intercept=intercept, memory=12 * size)
        Y = Y[own]
    else:
        given = csr_array(X[own].numpy()) if kind == "sparse" else X[own]
        design = pm.SharedDesign(given, intercept=intercept)
        Y = Y[own]
    if kind.endswith("pairs"):
        rows, columns = torch.nonzero(~Y.isnan(), as_tuple=True)
        stored = Y[rows, columns].numpy(), (rows.numpy(), columns.numpy())
        Y = csr_array(stored, shape=Y.shape)
    elif tasks is not None and kind != "task":
        Y = Y[:, tasks]
    options = {"reduction": "mean" if isinstance(loss, pm.WestonWatkins) else "task_mean"}
    design = pm.ShardedDesign(design, ranks, tasks=tasks)
    with mock.patch.object(stored_labels, "LARGE", large):
        return pm.Problem.of(design, Y, penalties, loss=loss, sample_weight=weights, **options)


def groups(strength=0.03):
    return [pm.GroupL2(PAIRS, strength)]


OVERLAP = [pm.L1(0.01), pm.OverlappingGroupL2(CHAIN, 0.02)]
CONVEX = {
    "FISTA": (pm.FISTA(), groups(), {}),
    "FISTA, task": (pm.FISTA(), groups(), {"kind": "task"}),
    "FISTA, sparse": (pm.FISTA(), groups(), {"kind": "sparse"}),
    "FISTA, streamed": (pm.FISTA(), groups(), {"kind": "streamed"}),
    "FISTA, pairs": (pm.FISTA(), groups(), {"kind": "pairs"}),
    "FISTA, streamed pairs": (pm.FISTA(), groups(), {"kind": "streamed pairs"}),
    "LBFGS, pairs": (pm.LBFGS(), [pm.SquaredFrobenius(0.01)], {"kind": "pairs"}),
    "FISTA, bytes": (pm.FISTA(), groups(), {"large": 200}),  # of the larger rank alone
    "LBFGS, bytes": (pm.LBFGS(), [pm.SquaredFrobenius(0.01)], {"large": 200}),
    "FISTA, float32": (pm.FISTA(), ELASTIC, {"dtype": torch.float32}),
    "FISTA, no intercept": (pm.FISTA(), ELASTIC, {"intercept": False}),
    "FISTA, logistic": (pm.FISTA(), groups(), {"loss": pm.Logistic()}),
    "FISTA, squared": (pm.FISTA(), groups(), {"loss": pm.Squared()}),
    "FISTA, Huber": (pm.FISTA(), [pm.L1(0.01)], {"loss": pm.Huber(0.05)}),
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
BY_TASKS = {
    "tasks, groups": (pm.FISTA(), groups(), {}),
    "tasks, own features": (pm.FISTA(), groups(), {"kind": "task"}),
    "tasks, sparse": (pm.FISTA(), groups(), {"kind": "sparse"}),
    "tasks, streamed": (pm.FISTA(), groups(), {"kind": "streamed"}),
    "tasks, bytes": (pm.FISTA(), groups(), {"large": 100}),
    "tasks, float32": (pm.FISTA(), ELASTIC, {"dtype": torch.float32}),
    "tasks, no intercept": (pm.FISTA(), [pm.Nuclear(0.05)], {"intercept": False}),
    "tasks, logistic": (pm.FISTA(), groups(), {"loss": pm.Logistic()}),
    "tasks, squared": (pm.FISTA(), groups(), {"loss": pm.Squared()}),
    "tasks, Huber": (pm.FISTA(), [pm.L1(0.01)], {"loss": pm.Huber(0.05)}),
    "tasks, Huber, own features": (
        pm.FISTA(),
        [pm.L1(0.01)],
        {"loss": pm.Huber(0.05), "kind": "task"},
    ),
    "tasks, PGD": (pm.PGD(), ELASTIC, {}),
    "tasks, MFISTA": (pm.MFISTA(), ELASTIC, {}),
    "tasks, AdPGM": (pm.AdPGM(), groups(), {}),
    "tasks, DavisYin": (pm.DavisYin(), OVERLAP, {}),
    "tasks, PDHG": (pm.PDHG(), OVERLAP, {}),
    "tasks, ProxNewton": (pm.ProxNewton(smallest=1), ELASTIC, {}),
    "tasks, SPGD": (pm.SPGD(), OVERLAP, {}),
    "tasks, IRLS": (pm.IRLS(), groups(), {}),
    "tasks, default, ridge": (None, [pm.SquaredFrobenius(0.01)], {}),
}
CONVEX |= {
    name: (solver, penalties, {**options, "divided": "tasks"})
    for name, (solver, penalties, options) in BY_TASKS.items()
}


def solved(name, ranks):
    """Solution, objective, gap and iterations of a case."""
    solver, penalties, options = CONVEX[name]
    posed = problem(ranks, penalties, **options)
    stop = pm.MaxIterations(20) if isinstance(solver, pm.SPGD | pm.IRLS) else STOP
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


LATENT = {
    "latent, auto": {},
    "latent, own parts": {"own_strength": 0.5, "n_latents": "auto"},
    "latent, panoc": {"algorithm": "panoc"},
    "latent, palm": {"algorithm": "palm"},
    "latent, paper": {"algorithm": "paper", "max_passes": 30},
    "latent, revived": {"init": "zero", "revive": True},
    "latent, tasks apart": {"kind": "task"},
    "latent, gram": {"algorithm": "gram", "max_passes": 100},
    "latent, gram, tasks apart": {
        "algorithm": "gram",
        "max_passes": 100,
        "kind": "task",
        "own_strength": 0.5,
    },
    "tasks, latent": {"divided": "tasks"},
    "tasks, latent, own parts": {"own_strength": 0.5, "n_latents": "auto", "divided": "tasks"},
    "tasks, latent, paper": {"algorithm": "paper", "max_passes": 30, "divided": "tasks"},
    "tasks, latent, tasks apart": {"kind": "task", "divided": "tasks"},
}


def model(name):
    """The factored model of a case, and the kind of its features and of their division."""
    options = {"n_latents": 3, "tol": 1e-6, "max_passes": 30, **LATENT[name]}
    kind = {each: options.pop(each) for each in ("kind", "divided") if each in options}
    strengths = {"group_strength": 0.02, "l1_strength": 0.01, "frobenius_strength": 0.01}
    return LatentMTL(PAIRS, **strengths, **options), kind


def latent_problem(name, ranks):
    """The problem of the factored model of a case."""
    made, kind = model(name)
    posed = problem(ranks, [], **kind)
    return made.problem(posed.design, posed.targets)


def latent(name, ranks):
    """As :func:`solved`, for the factored model."""
    made, kind = model(name)
    posed = problem(ranks, [], **kind)
    result = made.solve(posed.design, posed.targets)
    blocks = [result.L, result.S, result.intercept]
    blocks += [] if result.own is None else [result.own]
    return {
        "solution": result.coef,
        "blocks": blocks,
        "objective": result.certificate.objective,
        "gap": None,
        "kkt": result.certificate.relative_kkt,
        "iterations": result.iterations,
        "passes": result.passes,
        "status": result.status.name,
    }


def strengths(name, ranks):
    """Default strengths of the convex model of shared and own parts."""
    divided = "tasks" if name.startswith("tasks") else "samples"
    posed = problem(ranks, [], loss=pm.Logistic(), divided=divided)
    weights = WEIGHTS if divided == "tasks" else WEIGHTS[rows_of(ranks)]
    found = shared_strengths(posed, pm.Groups.single(M), weights)
    return {"solution": torch.tensor(found, dtype=torch.float64), "iterations": 0}


CASES = {
    **dict.fromkeys(CONVEX, solved),
    **dict.fromkeys(LATENT, latent),
    "strengths": strengths,
    "tasks, strengths": strengths,
}


def run_all(ranks, names=CASES):
    return {name: CASES[name](name, ranks) for name in names}


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(script, size, *arguments, env=None):
    """Start processes of a script, or a module, each in the environment of its rank."""
    shared = {**os.environ, "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1", **(env or {})}  # fmt: skip
    return [Forked(script, arguments, {**shared, "RANK": str(rank)}) for rank in range(size)]


def ended(processes, codes=None, seconds=240):
    """Errors that processes have written, which must end with these exit codes (default: 0)."""
    end = time.monotonic() + seconds
    try:
        errors = [each.communicate(timeout=max(1, end - time.monotonic()))[1] for each in processes]
    finally:
        for each in processes:  # those that still run
            each.kill()
            each.wait()
            each.stderr.close()
    assert [each.returncode for each in processes] == (codes or [0] * len(processes)), errors
    return errors


if __name__ == "__main__":
    ranks = pm.ProcessRanks.join(minutes=2)
    torch.save(run_all(ranks, sys.argv[2:] or CASES), f"{sys.argv[1]}-{ranks.rank}.pt")
