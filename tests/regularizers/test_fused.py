"""Total variation, the fused lasso and fusion along a graph: equivalences, oracles, solvers."""

import math

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import finite_difference, optimum, solve
from strategies import classification, examples, matrices

import proxmtl as pm
from proxmtl.regularizers import Sum, add

EDGES = [(0, 1), (1, 2), (3, 1), (4, 0), (2, 4)]
RATES = [1.0, 0.5, 0.0, 2.0, 1.5]
SIGNS = [1, -1, 1, -1, 1]
CHAIN = [(i, i + 1) for i in range(5)]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def edges_of(x, r):
    """The graph penalty of a cvxpy matrix, edges by name."""
    return r.strength * sum(
        rate * cp.norm1(x[:, i] - sign * x[:, j])
        for (i, j), rate, sign in zip(r.edges, r.weights, r.signs, strict=True)
    )


@given(v=matrices((2, 6), extreme=False), step=st.sampled_from([0.1, 1.0, 5.0]))
@examples(30)
def test_a_chain_of_edges_is_the_total_variation(v, step):
    x, value = pm.TotalVariation(0.7).prox(v, step)
    graph = pm.GraphFused(CHAIN, 0.7)
    y, other = graph.prox(v, step)
    error = math.sqrt(2 * graph.prox_gap(v, step))
    assert float((x - y).norm()) <= error + 1e-12 * (1 + float(v.norm()))
    assert float(graph.value(x)) == pytest.approx(float(value), rel=1e-12, abs=1e-12)
    assert float(other) == pytest.approx(float(value), rel=1e-3, abs=20 * error)


@pytest.mark.parametrize("level", [1e4, 1e7])
@pytest.mark.parametrize("step", [0.1, 1.0, 100.0])
def test_a_large_common_level_takes_no_accuracy(level, step):
    v = normal(20, 6, seed=8)
    graph, chain = pm.GraphFused(CHAIN, 2.0), pm.TotalVariation(2.0)
    expected, _ = chain.prox(v + level, step)
    x, _ = graph.prox(v + level, step)
    torch.testing.assert_close(x, expected, rtol=1e-14, atol=1e-5)
    best = float((v + level - expected).square().sum()) / 2 + step * float(chain.value(expected))
    assert graph.prox_gap(v + level, step) <= 2e-12 * best


@pytest.mark.parametrize("step", [1e-3, 1.0])
def test_a_large_entry_takes_no_accuracy_from_the_dual_ball(step):
    r, v = pm.GraphFused(CHAIN, 1e-3), torch.tensor([[1e12, 0.5, -2.0, 0.0, 3.0, 0.1]]).double()
    assert r.prox_gap(v, step) <= 1e-12 * step * float(r.value(v))


def test_fusion_of_tasks_with_a_large_common_level_reaches_the_optimum():
    X = normal(40, 6, seed=9)
    labels = 1e4 * X.sum(1, keepdim=True) + 0.3 * X @ normal(6, 4, seed=10) + normal(40, 4, seed=11)
    design, targets = pm.SharedDesign(X), pm.Targets.from_labels(labels, coding="real")
    found = []
    for r in (pm.TotalVariation(5.0), pm.GraphFused(CHAIN[:3], 5.0)):
        made = pm.Problem(pm.Squared(), design, targets, r)
        result = pm.minimize(
            made, solver=pm.FISTA(), stop=pm.RelativeKKT(1e-12) | pm.MaxIterations(300)
        )
        assert result.status.ok
        found.append(result.certificate.objective)
    assert found[1] == pytest.approx(found[0], rel=1e-9)


def test_a_graph_keeps_what_was_checked():
    edges, rates, signs = [[0, 1], [1, 2]], [1.0, 2.0], [1, -1]
    r = pm.GraphFused(edges, 0.5, rates, signs)
    same = pm.GraphFused(((0, 1), (1, 2)), 0.5, torch.tensor(rates), torch.tensor(signs))
    edges[0][1], rates[0], signs[0] = 0, -1.0, 3
    assert r.with_strength(1.0).edges == r.edges == ((0, 1), (1, 2))
    assert (r.weights, r.signs) == ((1.0, 2.0), (1, -1))
    assert r == same
    assert hash(r) == hash(same)


def test_items_are_free_unless_an_edge_of_some_weight_fuses_them():
    r = pm.GraphFused([(0, 1), (1, 2), (2, 3)], 0.7, weights=[1.0, 0.0, 2.0])
    W = torch.tensor([[1.0, 1.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 0.0, 0.0]])
    expected = [[False, False, True, True], [True] * 4, [True, True, False, False]]
    assert r.active(W).tolist() == expected
    assert r.with_strength(0.0).active(W).all()


@given(v=matrices((2, 6)), step=st.sampled_from([0.1, 1.0, 5.0]))
@examples(30)
def test_turning_the_items_round_turns_the_prox_round(v, step):
    x, _ = pm.TotalVariation(0.7).prox(v, step)
    turned, _ = pm.TotalVariation(0.7).prox(v.flip(1), step)
    torch.testing.assert_close(turned.flip(1), x, rtol=1e-10, atol=1e-14 * float(v.norm()))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_any_axis(axis):
    v = normal(4, 4, 4, seed=1)
    pairs = [(kind(0.8, axis=axis), kind(0.8)) for kind in (pm.TotalVariation,)]
    pairs.append((pm.FusedLasso(0.8, 0.3, axis), pm.FusedLasso(0.8, 0.3)))
    pairs.append((pm.GraphFused(CHAIN[:3], 0.8, axis=axis), pm.GraphFused(CHAIN[:3], 0.8)))
    for r, last in pairs:
        moved = v.movedim(axis, -1)
        x, value = r.prox(v, 0.5)
        torch.testing.assert_close(x, last.prox(moved, 0.5)[0].movedim(-1, axis))
        torch.testing.assert_close(value, last.prox(moved, 0.5)[1])
        residual = last.kkt_residual(moved, moved).movedim(-1, axis)
        torch.testing.assert_close(r.kkt_residual(v, v), residual)
        assert torch.equal(r.active(v), last.active(moved).movedim(-1, axis))


def test_neighbours_are_fused_exactly_and_active_says_so():
    v = torch.tensor([[0.0, 0.1, 5.0, 5.1, -3.0]], dtype=torch.float64)
    r = pm.TotalVariation(0.5)
    x, _ = r.prox(v, 1.0)
    assert x[0, 0] == x[0, 1]
    assert x[0, 2] == x[0, 3]
    assert r.active(x).tolist() == [[False, False, False, False, True]]
    both = pm.FusedLasso(1.0, 0.5)
    y, _ = both.prox(v, 1.0)
    assert y[0, :2].tolist() == [0.0, 0.0]
    assert both.active(y).tolist() == [[False, False, False, False, True]]


def test_l1_and_total_variation_merge_and_the_sum_by_its_dual_agrees():
    terms = (pm.L1(0.4), pm.TotalVariation(0.9))
    merged = add([*terms, pm.L1(0.2)])
    assert isinstance(merged, pm.FusedLasso)
    assert merged.exact_prox
    v = normal(3, 6, seed=2)
    assert float(merged.value(v)) == pytest.approx(
        0.6 * float(v.abs().sum()) + 0.9 * float(v.diff(dim=1).abs().sum())
    )
    fused = add(terms)
    x, _ = fused.prox(v, 0.8)
    y, _ = Sum(terms).prox(v, 0.8)
    torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-6)
    assert add([pm.L1(0.0), pm.TotalVariation(0.9)]) == pm.TotalVariation(0.9)
    assert add([pm.L1(0.4), pm.TotalVariation(0.0)]) == pm.L1(0.4)


def test_the_maps_are_adjoint_and_their_norms_bounds():
    for r in (pm.TotalVariation(1.0), pm.GraphFused(EDGES, 1.0, RATES, SIGNS)):
        W = normal(3, 6 if isinstance(r, pm.TotalVariation) else 5, seed=3)
        image = r.forward(W)
        Z = normal(*image.shape, seed=4)
        assert float((image * Z).sum()) == pytest.approx(float((W * r.transposed(Z, W)).sum()))
        eye = torch.eye(W.shape[1], dtype=torch.float64)
        exact = float(torch.linalg.matrix_norm(r.forward(eye), 2)) ** 2
        assert exact <= r.squared_operator_norm(W) <= 4 * exact


def test_signs_and_weights_of_edges_against_clarabel():
    r, v = pm.GraphFused(EDGES, 0.7, RATES, SIGNS), 2 * normal(2, 5, seed=5)
    x = cp.Variable((2, 5))
    solve(cp.Problem(cp.Minimize(cp.sum_squares(x - v.numpy()) / 2 + 0.9 * edges_of(x, r))))
    np.testing.assert_allclose(r.prox(v, 0.9)[0].numpy(), x.value, atol=1e-5)


@pytest.mark.parametrize("smoothness", [1e-3, 0.1, 2.0])
def test_smoothed_fusion_lies_within_its_bound_and_is_smooth(smoothness):
    r = pm.GraphFused(EDGES, 1.3, RATES, SIGNS)
    f, W, V = r.smoothed(smoothness), normal(3, 5, seed=6), normal(3, 5, seed=7)
    value, norm = float(f.value(W)), float(r.value(W))
    assert norm - f.error_bound(W) <= value <= norm
    assert f.error_bound(W) == pytest.approx(smoothness * 3 * len(EDGES) / 2)
    expected = finite_difference(lambda x: float(f.value(x)), W)
    torch.testing.assert_close(f.grad(W), expected, rtol=1e-5, atol=1e-6)
    change = f.grad(W) - f.grad(V)
    assert float(change.norm()) <= f.lipschitz * float((W - V).norm())


def problem(terms):
    X, Y = classification(60, 4, 5, seed=3)
    return pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), pm.Targets.from_labels(Y), terms), X, Y


def test_fused_lasso_of_the_tasks_reaches_the_optimum_of_clarabel():
    made, X, Y = problem([pm.L1(0.5), pm.TotalVariation(1.5)])
    result = pm.minimize(
        made, solver=pm.FISTA(), stop=pm.RelativeGap(1e-9) | pm.MaxIterations(3000)
    )
    labels = Y.numpy()
    best, *_ = optimum(
        X.numpy(),
        labels,
        np.ones_like(labels),
        lambda W: 0.5 * cp.sum(cp.abs(W)) + 1.5 * cp.sum(cp.abs(W[:, 1:] - W[:, :-1])),
    )
    assert result.status.ok
    assert result.certificate.objective == pytest.approx(best, rel=1e-8)


def test_smoothing_solves_fusion_along_a_graph_within_its_bound():
    r = pm.GraphFused(EDGES, 1.5, RATES, SIGNS)
    made, X, Y = problem([r, pm.SquaredFrobenius(0.1)])
    labels = Y.numpy()
    best, *_ = optimum(
        X.numpy(),
        labels,
        np.ones_like(labels),
        lambda W: edges_of(W, r) + 0.1 * cp.sum_squares(W),
    )
    spgd = pm.SPGD(smoothness="accuracy", accuracy=1e-3)
    smooth = pm.minimize(made, solver=spgd, stop=pm.MaxIterations(2000))
    assert best - 1e-9 <= smooth.certificate.objective <= best + 1e-3
    exact = pm.minimize(made, solver=pm.FISTA(), stop=pm.RelativeGap(1e-8) | pm.MaxIterations(500))
    assert exact.certificate.objective == pytest.approx(best, rel=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": []}, "edges: got"),
        ({"edges": [(1, 1)]}, "edges: an edge joins two different items"),
        ({"edges": [(0, -1)]}, "edges: an edge joins two different items"),
        ({"weights": [1.0, 2.0]}, "give one of each per edge"),
        ({"weights": [-1.0]}, "weights: must be finite"),
        ({"signs": [0]}, "signs: must be -1 or 1"),
        ({"strength": -1.0}, "strength: got"),
    ],
)
def test_bad_graphs_raise(change, message):
    with pytest.raises(ValueError, match=message):
        pm.GraphFused(**{"edges": [(0, 1)], "strength": 1.0, **change})


def test_shapes_that_do_not_fit_raise():
    with pytest.raises(ValueError, match="does not have 5 items on axis -1"):
        pm.GraphFused(EDGES, 1.0).value(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="has no axis 2"):
        pm.TotalVariation(1.0, axis=2).prox(torch.zeros(3, 4), 1.0)
    with pytest.raises(ValueError, match="l1_ratio: got"):
        pm.FusedLasso(1.0, 1.5)
