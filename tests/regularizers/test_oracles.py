"""Every regularizer against Clarabel, and finite differences."""

import math
import warnings

import cvxpy as cp
import numpy as np
import pytest
import torch
from oracles import solve as solve_exactly
from oracles import squared_hinge
from regularizer_cases import OURS, example
from regularizer_expressions import CVXPY
from strategies import classification

import proxmtl as pm
from proxmtl.regularizers import Shifted


def names(test):
    return pytest.mark.parametrize("name", sorted(n for n in OURS if n in CVXPY and test(n)))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def optimum(objective, constraints, x):
    """Clarabel's minimiser; short of its tightest tolerances for the nuclear norm."""
    value = solve_exactly(cp.Problem(cp.Minimize(objective), constraints))
    return value, torch.as_tensor(np.asarray(x.value).copy())


def subgradient_point(name):
    """A point with kinks, a gradient, and the regularizer."""
    r = example(name, strength=0.8)
    W = normal(3, 5, seed=4)
    W, _ = r.prox(1.5 * W, 1.0)
    return r, W, normal(3, 5, seed=5)


def test_every_convex_penalty_has_an_expression():
    assert set(OURS) - set(CVXPY) == {"MCP", "SCAD", "Conjugate"}


@names(lambda _n: True)
@pytest.mark.parametrize("seed", [0, 1])
def test_prox_is_that_of_clarabel(name, seed):
    r, v, step = example(name, strength=0.7), 2 * normal(3, 5, seed=seed), 0.9
    x = cp.Variable((3, 5))
    penalty, constraints = CVXPY[name](r, x)
    _, best = optimum(cp.sum_squares(x - v) / 2 + step * penalty, constraints, x)
    torch.testing.assert_close(r.prox(v, step)[0], best, rtol=0, atol=3e-6)


@names(lambda n: example(n).is_norm)
def test_dual_norm_is_that_of_clarabel(name):
    r, u = example(name, strength=0.7), normal(3, 5, seed=2)
    if name in ("WeightedL1", "Masked"):
        free = r.weights == 0 if name == "WeightedL1" else ~r.mask
        assert r.dual_norm(u) == math.inf
        u[:, free] = 0
    if name == "TotalVariation":
        assert r.dual_norm(u) == math.inf
        u -= u.mean(1, keepdim=True)
    x = cp.Variable((3, 5))
    penalty, constraints = CVXPY[name](r, x)
    supremum = -solve_exactly(
        cp.Problem(cp.Minimize(-cp.sum(cp.multiply(u, x))), [penalty <= 1, *constraints])
    )
    assert r.dual_norm(u) == pytest.approx(supremum, rel=1e-6)


@names(lambda n: n != "NonNegative" and (example(n).has_conjugate or n == "Shifted"))
def test_conjugate_is_that_of_clarabel(name):
    r, u = example(name, strength=0.7), normal(3, 5, seed=3)
    if name == "Shifted":
        r = Shifted(pm.ElasticNet(0.7, 0.3), r.center)
    limit = r.conjugate_limit(u)
    if math.isfinite(limit):  # outside of its domain the conjugate is infinite
        u = limit * u
        assert r.conjugate((1 + 1e-9) * u) == math.inf
        u = 0.9 * u
    x = cp.Variable((3, 5))
    penalty, constraints = CVXPY[name](r, x) if name != "Shifted" else (None, [])
    if name == "Shifted":
        moved = x - np.tile(r.center, (3, 1))
        penalty = CVXPY["ElasticNet"](r.inner, moved)[0]
    supremum = -solve_exactly(
        cp.Problem(cp.Minimize(penalty - cp.sum(cp.multiply(u, x))), constraints)
    )
    assert r.has_conjugate
    assert r.conjugate(u) == pytest.approx(supremum, rel=1e-6)


def test_conjugate_of_a_weighted_ridge():
    weights, u = torch.tensor([1.0, 0.5, 2.0, 1.0, 0.25]).double(), normal(3, 5)
    r = pm.WeightedFrobenius(weights, 0.7)
    assert r.has_conjugate
    best = u / (1.4 * weights)
    assert r.conjugate(u) == pytest.approx(float((u * best).sum() - r.value(best)))
    free = pm.WeightedFrobenius(torch.tensor([1.0, 0.0, 2.0, 1.0, 0.25]), 0.7)
    assert not free.has_conjugate
    assert free.conjugate(u) == math.inf


@names(lambda n: example(n).exact_kkt and not example(n).is_constraint)
def test_kkt_residual_is_the_steepest_descent(name):
    """The least subgradient d of F satisfies F'(x; -d) = -||d||^2, and no other one does."""
    r, W, grad = subgradient_point(name)
    d = r.kkt_residual(W, grad)
    assert float(d.norm()) > 0.1
    h = 1e-6
    fall = float(r.value(W - h * d) - r.value(W)) / h - float((grad * d).sum())
    assert fall == pytest.approx(-float(d.square().sum()), rel=1e-3)


@pytest.mark.parametrize("name", ["Box", "NonNegative", "Bounded"])
def test_kkt_residual_at_bounds_is_the_projected_gradient(name):
    r, W, grad = subgradient_point(name)
    W[0, 0] = 0.0
    d = r.kkt_residual(W, grad)
    step = 1e-7  # along the projection arc the first-order change is -||d||^2
    moved = r.prox(W - step * grad, step)[0] - W
    torch.testing.assert_close(moved / -step, d, rtol=1e-5, atol=1e-7)
    assert not bool(torch.isfinite(r.kkt_residual(W - 5, grad)).all())


@pytest.mark.parametrize("name", sorted(n for n in OURS if example(n).has_curvature))
def test_curvature_is_the_slope_of_the_gradient_on_the_active_set(name):
    r, W, direction = subgradient_point(name)
    active = r.active(W)
    direction = torch.where(active, direction, 0.0)
    assert 0 < int(active.sum()) <= W.numel()
    h = 1e-6
    ahead, behind = (r.active_gradient(W + s * h * direction) for s in (1, -1))
    slope = torch.where(active, (ahead - behind) / (2 * h), 0.0)
    product = r.curvature_product(W, direction)
    torch.testing.assert_close(product, slope, rtol=1e-5, atol=1e-7)
    assert bool((product[~active] == 0).all())
    assert torch.equal(r.active(W + h * direction), active)


@pytest.mark.parametrize("name", ["LInf", "Nuclear"])
def test_no_curvature_says_what_needs_none(name):
    with pytest.raises(pm.UnsupportedError, match="no curvature on an active set; use FISTA"):
        example(name).curvature_product(normal(3, 5), normal(3, 5))


# ------------------------------------------------------------------ as terms of a problem

M = 5
TERMS = {
    name: [example(name, strength=1.3)]
    for name in sorted(CVXPY)
    if name not in ("SquaredFrobenius", "L1", "GroupL2", "OverlappingGroupL2", "Box")
}
TERMS["box-ridge"] = [pm.Box(-0.1, 0.2), pm.SquaredFrobenius(0.3)]
TERMS["nuclear-ridge"] = [pm.Nuclear(2.0), pm.SquaredFrobenius(0.3)]
TERMS["exclusive-axis"] = [pm.ExclusiveL1(2.0, axis=0)]
TERMS["squared-single"] = [pm.SquaredGroupL2(pm.Groups.single(M), 0.1)]


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("case", TERMS)
def test_minimisers_are_those_of_clarabel_and_gaps_are_true(case, intercept):
    X, Y = classification(30, 4, M, seed=6, shift=0.2)
    terms = TERMS[case]
    problem = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X, intercept=intercept), pm.Targets.from_labels(Y), terms
    )
    W, b = cp.Variable((4, M)), cp.Variable((1, M)) if intercept else np.zeros((1, M))
    total, constraints = 0, []
    for term in terms:
        penalty, more = PROBLEM_EXPRESSIONS.get(case, CVXPY[type(term).__name__])(term, W)
        total, constraints = total + penalty, constraints + more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = X.numpy() @ W + np.ones((30, 1)) @ b
        loss = squared_hinge(scores, Y.numpy(), np.ones((30, M)))
        best = solve_exactly(cp.Problem(cp.Minimize(loss + total), constraints))
    stop = pm.RelativeKKT(1e-8, every=20) | pm.MaxIterations(4000)
    if problem.has_gap:
        stop = pm.RelativeGap(1e-9, every=20) | stop
    result = pm.minimize(problem, stop=stop)
    found = result.certificate
    assert found.objective == pytest.approx(best, rel=2e-7)
    if problem.has_gap:
        assert found.gap >= found.objective - best - 2e-7 * best
        assert found.relative_gap < 1e-6
    else:
        assert found.gap is None
        assert found.relative_kkt < 1e-6


PROBLEM_EXPRESSIONS = {
    "exclusive-axis": lambda r, x: (
        r.strength / 2 * sum(cp.square(cp.norm1(x[:, j])) for j in range(M)),
        [],
    ),
}
