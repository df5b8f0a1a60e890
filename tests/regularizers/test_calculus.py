"""Folded concave penalties, exact sums, and regularizers made of others."""

import math

import cvxpy as cp
import numpy as np
import pytest
import torch
from oracles import group_dual_norm
from oracles import solve as solve_exactly
from regularizer_cases import mcp, scad
from regularizer_expressions import CVXPY, absolute, grouped

import proxmtl as pm
from proxmtl.regularizers import (
    Bounded,
    Conjugate,
    Masked,
    Scaled,
    Separable,
    Shifted,
    Sum,
    Thresholded,
    add,
    moreau_envelope,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def optimum(objective, constraints, x):
    value = solve_exactly(cp.Problem(cp.Minimize(objective), constraints))
    return value, torch.as_tensor(np.asarray(x.value).copy())


# ------------------------------------------------------------------ folded concave


@pytest.mark.parametrize("step", [0.05, 0.7, 2.6, 8.0])
@pytest.mark.parametrize(("kind", "scalar"), [(pm.MCP, mcp), (pm.SCAD, scad)])
def test_prox_of_folded_penalties_is_a_global_minimiser(kind, scalar, step):
    r = kind(0.8, 3.0)
    grid = torch.linspace(-9, 9, 36_001, dtype=torch.float64)
    penalty = torch.tensor([scalar(x, 0.8, 3.0) for x in grid.tolist()], dtype=torch.float64)
    for v in torch.linspace(-7, 7, 57, dtype=torch.float64):
        x, value = r.prox(v.reshape(1, 1), step)
        least = float(((grid - v).square() / 2 + step * penalty).min())
        found = float((x - v).square()) / 2 + step * float(value)
        assert found == pytest.approx(least, abs=1e-5)
        assert found <= least + 1e-12


@pytest.mark.parametrize("kind", [pm.MCP, pm.SCAD])
def test_group_folded_acts_on_norms(kind):
    groups = pm.Groups.from_lists([[0, 1], [3]], 4, weights=[2.0, 1.0])
    v = torch.tensor([[3.0, 4.0, -1.0, 0.3]]).double()
    x, _ = kind(0.5, 4.0, groups).prox(v, 0.6)
    size = float(kind(1.0, 4.0).prox(torch.tensor([[5.0]]).double(), 0.6)[0])
    torch.testing.assert_close(x[0, :2], v[0, :2] / 5 * size)
    assert float(x[0, 2]) == -1.0
    assert float(x[0, 3]) == float(kind(0.5, 4.0).prox(v[:, 3:], 0.6)[0])


def test_folded_penalties_near_the_l1_norm_far_from_it():
    v = normal(4, 5)
    for kind in (pm.MCP, pm.SCAD):
        close = kind(0.3, 1e9).prox(v, 1.0)[0]
        torch.testing.assert_close(close, pm.L1(0.3).prox(v, 1.0)[0], atol=1e-7, rtol=0)
        assert kind(0.3).critical_strength(v) == pytest.approx(float(v.abs().max()))
        with pytest.raises(pm.UnsupportedError, match="is not convex"):
            add([kind(0.3), pm.GroupL2(pm.Groups.single(5), 0.1)])
    with pytest.raises(ValueError, match="concavity"):
        pm.MCP(1.0, 1.0)
    with pytest.raises(ValueError, match="concavity"):
        pm.SCAD(1.0, 2.0)
    with pytest.raises(ValueError, match="disjoint"):
        pm.MCP(1.0, groups=pm.Groups.from_lists([[0, 1], [1, 2]]))


# ------------------------------------------------------------------ sums

PAIRS = pm.Groups.from_lists([[0, 1], [2, 3]], 5, weights=[1.0, 2.0])
CHAIN = pm.Groups.from_lists([[0, 1, 2], [2, 3], [1, 3, 4]], weights=[1.0, 2.0, 0.7])
SUMS = {
    "l1-l1": ([pm.L1(0.3), pm.L1(0.2)], pm.L1),
    "weighted": ([pm.L1(0.3), pm.WeightedL1(torch.arange(5.0).double(), 0.2)], pm.WeightedL1),
    "sparse-group": ([pm.GroupL2(PAIRS, 0.4), pm.L1(0.2)], pm.SparseGroupL2),
    "sparse-group-l1": ([pm.L1(0.1), pm.SparseGroupL2(PAIRS, 0.5), pm.L1(0.2)], pm.SparseGroupL2),
    "l1-nonneg": ([pm.NonNegative(), pm.L1(0.3)], Bounded),
    "sparse-group-nonneg": ([pm.L1(0.1), pm.NonNegative(), pm.GroupL2(PAIRS, 0.4)], Bounded),
    "max-nonneg": ([pm.LInf(0.8, axis=-1), pm.NonNegative()], Bounded),
    "elastic-box": ([pm.ElasticNet(0.3), pm.Box(-0.4, 0.6)], Bounded),
    "boxes": ([pm.Box(-1, 0.5), pm.L1(0.1), pm.NonNegative()], Bounded),
    "two-penalties-nonneg": ([pm.L1(0.2), pm.NonNegative(), pm.Nuclear(0.3)], Sum),
    "shifted-box": (
        [
            Shifted(pm.L1(0.3), torch.full((5,), 0.1).double()),
            pm.Box(-0.4, 0.6),
            Shifted(pm.L1(0.2), torch.full((5,), -0.1).double()),
        ],
        Sum,
    ),
    "l1-rows": ([pm.L1(0.2), pm.GroupL2(pm.Groups.single(5), 0.3)], pm.SparseGroupL2),
    "elastic-l1": ([pm.ElasticNet(0.3), pm.L1(0.2)], pm.ElasticNet),
    "elastic-elastic": ([pm.ElasticNet(0.3), pm.ElasticNet(0.2)], pm.ElasticNet),
    "overlap-l1": ([pm.OverlappingGroupL2(CHAIN, 0.4), pm.L1(0.2)], Thresholded),
    "weighted-groups": (
        [pm.WeightedL1(torch.arange(5.0) / 9, 0.8), pm.GroupL2(PAIRS, 0.4)],
        Thresholded,
    ),
    "max-l1": ([pm.L1(0.1), pm.LInf(0.8, axis=-1)], Thresholded),
    "overlap-l1-nonneg": (
        [pm.OverlappingGroupL2(CHAIN, 0.4), pm.NonNegative(), pm.L1(0.2)],
        Bounded,
    ),
    "group-box": ([pm.GroupL2(PAIRS, 0.4), pm.Box(-0.4, 0.6)], Sum),
    "nuclear-l1": ([pm.Nuclear(0.3), pm.L1(0.2)], Sum),
    "three": ([pm.Nuclear(0.3), pm.GroupL2(PAIRS, 0.4), pm.L21(0.3, axis=0)], Sum),
}


@pytest.mark.parametrize("case", SUMS)
def test_sums_have_the_prox_of_the_sum(case):
    terms, kind = SUMS[case]
    both, v, step = add(terms), 1.5 * normal(3, 5, seed=7), 0.8
    assert type(both) is kind
    out, value = both.prox(v, step)
    x = cp.Variable((3, 5))
    total, constraints = 0, []
    for term in terms:
        penalty, more = SUM_EXPRESSIONS.get(type(term).__name__, CVXPY.get(type(term).__name__))(
            term, x
        )
        total, constraints = total + penalty, constraints + more
    _, best = optimum(cp.sum_squares(x - v) / 2 + step * total, constraints, x)
    torch.testing.assert_close(out, best, rtol=0, atol=3e-6)
    assert float(value) == pytest.approx(sum(float(t.value(out)) for t in terms), rel=1e-9)
    assert both.prox_gap(v, step) <= 1e-10
    if sum(term.is_constraint for term in terms) > 1:
        with pytest.raises(pm.UnsupportedError, match="Give one Box for both"):
            Sum(tuple(terms))
        return
    iterated, _ = Sum(tuple(terms)).prox(v, step)
    torch.testing.assert_close(iterated, best, rtol=0, atol=3e-6)


SUM_EXPRESSIONS = {
    "Shifted": lambda r, x: (r.strength * absolute(x - np.tile(r.center, (x.shape[0], 1))), []),
    "ElasticNet": lambda r, x: (r.strength / 2 * (absolute(x) + cp.sum_squares(x) / 2), []),
    "SparseGroupL2": lambda r, x: (r.strength / 2 * (absolute(x) + grouped(x, r.groups)), []),
    "L21": lambda r, x: (
        r.strength
        * sum(
            cp.norm(x[:, j] if r.axis == 0 else x[j, :], 2)
            for j in range(x.shape[1 if r.axis == 0 else 0])
        ),
        [],
    ),
}


def test_a_sum_of_groups_has_the_dual_norm_of_the_overlapping_norm():
    family = pm.Groups.from_lists([[0, 1, 2], [2, 3], [1, 3, 4]], weights=[1.0, 2.0, 0.7])
    parts = [
        pm.GroupL2(
            pm.Groups.from_lists([family.members(g)], 5, weights=[float(family.weights[g])]), 0.6
        )
        for g in range(3)
    ]
    total, whole = Sum(tuple(parts)), pm.OverlappingGroupL2(family, 0.6)
    u = normal(1, 5, seed=9)
    exact = group_dual_norm(u[0].numpy(), family) / 0.6
    found = total.critical_strength(u)  # the dual norm
    assert exact * (1 - 1e-7) <= found <= exact * (1 + 1e-3)  # an upper bound
    v = normal(3, 5, seed=8)
    torch.testing.assert_close(total.prox(v, 0.7)[0], whole.prox(v, 0.7)[0], atol=1e-6, rtol=0)
    W = total.prox(v, 0.7)[0]
    assert float(total.kkt_residual(W, (W - v) / 0.7).norm()) <= 1e-5
    assert float(total.kkt_residual(W, normal(3, 5, seed=10)).norm()) > 0.1


@pytest.mark.parametrize("inner", [pm.OverlappingGroupL2(CHAIN, 0.6), pm.LInf(0.9, axis=-1)])
def test_an_l1_norm_beside_another_has_the_dual_norm_of_the_sum(inner):
    r, u = Thresholded(inner, pm.L1(0.3)), normal(1, 5, seed=9)
    x = cp.Variable((1, 5))
    penalty = CVXPY[type(inner).__name__](inner, x)[0] + 0.3 * absolute(x)
    supremum = -solve_exactly(cp.Problem(cp.Minimize(-cp.sum(cp.multiply(u, x))), [penalty <= 1]))
    assert r.dual_norm(u) == pytest.approx(supremum, rel=1e-5)
    assert r.critical_strength(u) == pytest.approx(r.strength * supremum, rel=1e-5)
    scaled = r.with_strength(2 * r.strength)
    assert float(scaled.value(u)) == pytest.approx(2 * float(r.value(u)))
    point, _ = r.prox(3 * u, 0.5)
    assert r.dual_norm((3 * u - point) / 0.5, at=point) <= 1 + 1e-6


def test_thresholding_first_is_refused_where_it_is_wrong():
    with pytest.raises(ValueError, match="Nuclear is not a convex penalty of"):
        Thresholded(pm.Nuclear(1.0), pm.L1(1.0))
    with pytest.raises(ValueError, match="MCP is not a convex penalty of"):
        Thresholded(pm.MCP(1.0), pm.L1(1.0))


# ------------------------------------------------------------------ the calculus


def test_moreau_envelope_is_smooth_and_below():
    W = normal(3, 5)
    for r in (pm.L1(0.5), pm.GroupL2(PAIRS, 0.7), pm.Nuclear(0.4)):
        point = W.clone().requires_grad_()
        value, grad = moreau_envelope(r, W, 0.3)
        assert 0 < float(value) < float(r.value(W))
        h = 1e-6 * normal(3, 5, seed=1)
        change = float(moreau_envelope(r, W + h, 0.3)[0] - moreau_envelope(r, W - h, 0.3)[0]) / 2
        assert change == pytest.approx(float((grad * h).sum()), rel=1e-6)
        assert point.grad is None
    smooth = pm.GroupL2(PAIRS, 0.7).smoothed(0.2)
    weights = PAIRS.weights[0]
    one = pm.GroupL2(pm.Groups.from_lists([[0, 1]], 5), 0.7)
    expected = one.smoothed(0.2).value(W)
    assert float(moreau_envelope(one, W, 0.2 / 0.7**2)[0]) == pytest.approx(float(expected))
    assert float(weights) == 1.0
    assert float(smooth.value(W)) < float(pm.GroupL2(PAIRS, 0.7).value(W))
    with pytest.raises(ValueError, match="smoothness"):
        moreau_envelope(pm.L1(1.0), W, 0.0)


def test_conjugate_of_a_norm_projects_on_its_dual_ball():
    U = 3 * normal(3, 5)
    ball = Conjugate(pm.L1(0.8))
    out, value = ball.prox(U, 123.0)
    torch.testing.assert_close(out, U.clamp(-0.8, 0.8))
    assert float(value) == float(ball.value(out)) == 0
    assert float(ball.value(U)) == math.inf
    spectral, _ = Conjugate(pm.Nuclear(0.8)).prox(U, 1.0)
    assert float(torch.linalg.matrix_norm(spectral, 2)) == pytest.approx(0.8)
    again = Conjugate(Conjugate(pm.ElasticNet(1.0, 0.5)).inner)
    torch.testing.assert_close(again.prox(U, 0.4)[0] + 0.4 * again.inner.prox(U / 0.4, 2.5)[0], U)
    with pytest.raises(ValueError, match="no conjugate"):
        Conjugate(pm.MCP(1.0))


def test_a_masked_penalty_leaves_what_is_outside_the_mask_free():
    """Its conjugate is finite, and its strength critical, only where the slope there is zero."""
    mask, inner = torch.tensor([True, False, True]), pm.SquaredFrobenius(0.5)
    r = Masked(inner, mask)
    U = torch.tensor([[1.0, 0.0, -2.0]], dtype=torch.float64)
    assert r.conjugate(U) == inner.conjugate(U) == pytest.approx(2.5)
    outside = torch.tensor([[1.0, 1e-300, -2.0]], dtype=torch.float64)
    assert r.conjugate(outside) == math.inf
    assert math.isnan(r.conjugate(outside * math.nan))
    sparse = Masked(pm.L1(0.5), mask)
    assert sparse.critical_strength(U) == 2
    assert sparse.critical_strength(outside) == math.inf


def test_calculus_says_what_it_does_not_take():
    with pytest.raises(ValueError, match="factor"):
        Scaled(pm.L1(1.0), 0.0)
    with pytest.raises(ValueError, match="center"):
        Shifted(pm.L1(1.0), torch.tensor(math.nan))
    with pytest.raises(ValueError, match="does not broadcast"):
        Shifted(pm.L1(1.0), torch.zeros(4)).value(normal(3, 5))
    with pytest.raises(ValueError, match="Nuclear does not depend on"):
        Masked(pm.Nuclear(1.0), torch.ones(5, dtype=torch.bool))
    with pytest.raises(ValueError, match="booleans"):
        Masked(pm.L1(1.0), torch.ones(5))
    with pytest.raises(ValueError, match="share an index"):
        Separable((((0, 1), pm.L1(1.0)), ((1, 2), pm.L1(1.0))))
    with pytest.raises(ValueError, match="does not fit"):
        Separable((((0, 7), pm.L1(1.0)),)).value(normal(3, 5))
    with pytest.raises(ValueError, match="clipping is not the prox"):
        Bounded(pm.GroupL2(PAIRS, 1.0), pm.Box(-1, 1))
    with pytest.raises(ValueError, match="low <= 0 <= high"):
        pm.Box(0.5, 1.0)
    with pytest.raises(ValueError, match="weights: hold a negative"):
        pm.WeightedL1(torch.tensor([-1.0]), 1.0)
    with pytest.raises(pm.UnsupportedError, match="pulls to its center"):
        Shifted(pm.L1(1.0), torch.zeros(5)).critical_strength(normal(3, 5))
    with pytest.raises(ValueError, match="constraint"):
        pm.NonNegative().critical_strength(normal(3, 5))


def test_snapping_a_scaled_penalty_changes_rounding_only_and_keeps_every_other_bit():
    scaled = Scaled(pm.Nuclear(1.0), 0.1)  # a product with 0.1 does not come back by a quotient
    W = normal(6, 4, seed=3)
    assert scaled.snap(W, 1e-15).equal(W)
    low = W[:, :2] @ normal(2, 4, seed=4)
    snapped = scaled.snap(low + 1e-14 * normal(6, 4, seed=5), 1e-12)
    assert torch.linalg.matrix_rank(snapped) == 2
    torch.testing.assert_close(snapped, low, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [pm.WeightedL1, pm.WeightedFrobenius])
def test_penalties_that_hold_tensors_are_equal_to_themselves_alone(kind):
    weights = torch.tensor([1.0, 2.0])
    one, other = kind(weights, 0.5), kind(weights, 0.5)
    assert one == one  # noqa: PLR0124 - that is the question
    assert one != other
    assert len({one, other}) == 2
