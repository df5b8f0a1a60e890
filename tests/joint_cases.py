"""Joint problems of every kind, small."""

import pytest
import torch
from solver_cases import CHAIN, PAIRS, D, M, N, data, latent_start, targets

import proxmtl as pm
from proxmtl.latent import GramNewton
from proxmtl.solvers import run

ALONE = pm.Groups.singletons(M)
STRENGTHS = {"group_strength": 0.6, "l1_strength": 0.2, "frobenius_strength": 0.1}


def shared(loss=None, *, groups=PAIRS, intercept=True, own=None, n=N, dtype=torch.float64):
    """Shared features with missing labels and sample weights."""
    X, *_ = data(n=n, dtype=dtype)
    design = pm.SharedDesign(X, intercept=intercept)
    posed = targets(n=n, dtype=dtype)
    return pm.LatentProblem(
        loss or pm.SquaredHinge(), design, posed, groups, **STRENGTHS, own_strength=own
    )


def whole(**options):
    """Shared features, all labels, weights of one."""
    X, *_ = data()
    Y = data(missing=0.0)[1]
    posed = pm.Targets.from_labels(Y)
    return pm.LatentProblem(
        pm.SquaredHinge(), pm.SharedDesign(X, intercept=True), posed, PAIRS, **STRENGTHS, **options
    )


def ragged(*, intercept=True, own=None):
    """Features of each task, of several lengths."""
    X, Y, _ = data(missing=0.0)
    rows = [slice(0, 40), slice(0, 25), slice(0, 31), slice(0, 12)]
    design = pm.TaskDesign(
        [X[r] * (1 + 0.2 * m) + m for m, r in enumerate(rows)], intercept=intercept
    )
    posed = pm.Targets.from_labels([Y[r, m] for m, r in enumerate(rows)])
    return pm.LatentProblem(pm.SquaredHinge(), design, posed, PAIRS, **STRENGTHS, own_strength=own)


def real(loss):
    X, *_ = data()
    generator = torch.Generator().manual_seed(3)
    Y = X @ torch.randn(D, M, generator=generator, dtype=torch.float64)
    posed = pm.Targets.from_labels(
        Y + 0.3 * torch.randn(Y.shape, generator=generator), coding="real"
    )
    return pm.LatentProblem(loss, pm.SharedDesign(X, intercept=True), posed, PAIRS, **STRENGTHS)


PROBLEMS = {
    "missing labels, weights": shared,
    "all labels": whole,
    "features per task": ragged,
    "no intercept": lambda: shared(intercept=False),
    "features per task, no intercept": lambda: ragged(intercept=False),
    "singletons": lambda: shared(groups=ALONE),
    "overlapping groups": lambda: shared(groups=CHAIN),
    "own parts": lambda: shared(own=0.4),
    "own parts, overlapping": lambda: shared(own=0.4, groups=CHAIN),
    "own parts, features per task": lambda: ragged(own=0.4),
    "own parts, no intercept": lambda: shared(own=0.4, intercept=False),
    "logistic": lambda: shared(pm.Logistic()),
    "smoothed hinge": lambda: shared(pm.SmoothedHinge(0.5)),
    "squared": lambda: real(pm.Squared()),
    "Huber": lambda: real(pm.Huber(0.5)),
    "fewer samples than features": lambda: shared(n=5),
}
each = pytest.mark.parametrize("name", sorted(PROBLEMS))


def posed(name):
    """The problem as a solver sees it, and a start."""
    problem = PROBLEMS[name]()
    view = problem.in_units()
    return view, view.inside(latent_start(problem))


def solved(problem, start, tol=1e-7, most=300, **options):
    stop = pm.RelativeKKT(tol, every=1) | pm.MaxPasses(most)
    return run(problem, GramNewton(**options), start, stop)
