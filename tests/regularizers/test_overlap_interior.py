"""Where sweeps crawl: the interior-point prox, alone and behind the regularizer."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import finite_difference, group_norm, group_prox
from strategies import classification, examples, matrices, overlapping_groups, tree_groups

import proxmtl as pm
from proxmtl.regularizers import memberships
from proxmtl.regularizers.group_layout import GroupLayout
from proxmtl.regularizers.overlap_interior import interior_prox
from proxmtl.regularizers.overlap_zeros import zero_vanishing_groups

CHAIN = pm.Groups.from_lists([[0, 1, 2], [2, 3], [3, 4], [4, 5, 0]], weights=[1.0, 0.5, 2.0, 1.0])
STEPS = st.sampled_from([0.2, 1.0])


def windows(n, size, step):
    return pm.Groups.from_lists([range(k, k + size) for k in range(0, n - size + 1, step)], n)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def solved(v, groups, threshold, tolerance):
    v = np.asarray(v, dtype=np.float64)
    radius = threshold * groups.weights.numpy()
    found = interior_prox(
        v, groups.indptr.numpy(), groups.indices.numpy(), radius, tolerance=tolerance
    )
    return found, v, radius


def gap_by_definition(found, v, groups, radius):
    """Primal minus dual objective, the dual point checked to be feasible."""
    pushed, bounds = np.zeros_like(v), groups.indptr.tolist()
    for g in range(len(groups)):
        part = found.dual[bounds[g] : bounds[g + 1]]
        assert np.linalg.norm(part) <= radius[g] * (1 + 1e-14)
        pushed[groups.members(g)] += part
    scaled = pm.Groups(
        groups.indptr, groups.indices, torch.from_numpy(radius), len(v), groups.names
    )
    primal = ((found.primal - v) ** 2).sum() / 2 + group_norm(found.primal[None], scaled)
    return primal - ((v**2).sum() - ((v - pushed) ** 2).sum()) / 2


@given(
    groups=overlapping_groups(6), v=matrices((1, 6)), threshold=st.sampled_from([0.01, 0.6, 2.0])
)
@examples(60)
def test_the_gap_is_reached_and_is_the_one_of_the_definition(groups, v, threshold):
    size = float(v.square().sum())
    found, row, radius = solved(v[0], groups, threshold, 1e-11 * size)
    assert 0 <= found.gap <= 1e-11 * size
    assert gap_by_definition(found, row, groups, radius) <= found.gap + 1e-14 * size


@pytest.mark.parametrize("threshold", [0.1, 0.6, 1.5])
def test_prox_is_the_one_of_cvxpy(threshold):
    for row in normal(3, 6, seed=1):
        found, v, _ = solved(row, CHAIN, threshold, 1e-13)
        np.testing.assert_allclose(found.primal, group_prox(v, CHAIN, threshold), atol=1e-4)


@pytest.mark.parametrize("threshold", [1.3, 1.6, 1.9])
@pytest.mark.parametrize("widest", [64, 0])
def test_few_steps_where_the_sweeps_crawl(threshold, widest, monkeypatch):
    # of pure noise near the critical radius most groups sit on the edge of vanishing
    monkeypatch.setattr(memberships, "WIDEST_BAND", widest)  # 0: conjugate gradients
    groups, v = windows(400, 10, 5), normal(400, seed=2)
    found, row, radius = solved(v, groups, threshold, 1e-12 * float(v @ v))
    assert found.steps <= 25
    assert gap_by_definition(found, row, groups, radius) <= 1.1e-12 * float(v @ v)


def test_zeros_are_exact():
    groups, v = windows(400, 10, 5), normal(400, seed=2)
    x, _ = pm.OverlappingGroupL2(groups, 1.0, gap=1e-10).prox(v, 1.6)
    norms = torch.stack([x[groups.members(g)].norm() for g in range(len(groups))])
    assert 0.1 < float((norms == 0).double().mean()) < 0.9
    assert float(norms[norms > 0].min()) > 1e-6


LOOP = pm.Groups.from_lists([[0, 1, 2], [2, 3], [1, 3]])


def test_zeros_of_the_sweeps_are_exact_and_those_of_the_interior_point():
    r = pm.OverlappingGroupL2(LOOP, 0.5)
    v = torch.cat(
        [normal(300, 4, seed=6), torch.tensor([[-1.712066, 0.405081, 0.300917, 0.493728]])]
    )
    x, _ = r.prox(v, 1.0)
    assert (x[-1] != 0).tolist() == [True, False, False, False]
    partly = 0
    for row, point in zip(v, x, strict=True):
        found, *_ = solved(row, LOOP, 0.5, 1e-14 * float(row.square().sum()))
        assert (point != 0).tolist() == (found.primal != 0).tolist()
        assert float(r.kkt_residual(point[None], (point - row)[None]).norm()) <= 1e-5
        partly += 0 < int((point != 0).sum()) < 4
    assert partly > 30


def test_a_solved_problem_has_a_small_kkt_residual_where_groups_vanish():
    smallest = 1.0
    for seed in range(8):
        X, Y = classification(30, 8, 4, seed=seed)
        problem = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), pm.Targets.from_labels(Y))
        r = pm.OverlappingGroupL2(LOOP, 1.0)
        r = r.with_strength(0.4 * problem.with_regularizers(r).critical_strength())
        result = pm.minimize(
            problem.with_regularizers([r, pm.SquaredFrobenius(0.1)]),
            stop=pm.RelativeGap(1e-12) | pm.MaxIterations(2000),
        )
        assert result.status.ok
        assert result.certificate.kkt <= 1e-4 * result.certificate.scale
        smallest = min(smallest, float((result.solution != 0).double().mean()))
    assert smallest < 0.8


def test_of_groups_that_vanish_as_many_are_zeroed_as_the_gap_allows():
    groups = pm.Groups.from_lists([[0], [1], [0, 1, 2]])
    layout, radius = GroupLayout(groups, -1), torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    start = torch.tensor([[0.09, 0.1, 0.1]], dtype=torch.float64)
    xi = torch.cat([torch.tensor([[0.94, 0.94]]).double(), start / start.norm()], dim=1)
    v = start + layout.scatter(xi, 3)

    def gap_of(x):
        value = (radius * layout.norms(x)).sum()
        return float((x - v).square().sum() / 2 + value - (v.square() - start.square()).sum() / 2)

    for room, zeros in ((0.0, 0), (0.03, 1), (0.1, 2)):
        x, gaps = start.clone(), torch.tensor([gap_of(start)], dtype=torch.float64)
        target = gaps + room
        zero_vanishing_groups(layout, v, x, xi, radius=radius, gaps=gaps, target=target)
        assert (x[0] == 0).tolist() == [k < zeros for k in range(3)]
        assert float(gaps) == pytest.approx(gap_of(x), rel=1e-12)
        assert float(gaps) <= float(target)


@pytest.mark.parametrize(("size", "zero"), [(2e-16, True), (1e-12, False)])
def test_on_the_sphere_a_group_is_zero_within_the_rounding(size, zero):
    layout, one = GroupLayout(pm.Groups.single(2), -1), torch.ones(1, dtype=torch.float64)
    x, xi = torch.tensor([[size, 0.0]]).double(), torch.tensor([[1.0, 0.0]]).double()
    gaps = torch.zeros(1, dtype=torch.float64)
    zero_vanishing_groups(layout, x + xi, x, xi, radius=one, gaps=gaps, target=1e-15 * one)
    assert (float(x.abs().sum()) == 0) == zero


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_regularizer_reaches_its_gap_where_the_sweeps_crawl(slices, dtype):
    r = pm.OverlappingGroupL2(windows(400, 10, 5), 1.0, gap=1e-10, max_sweeps=8)
    v = normal(slices, 400, seed=3).to(dtype)
    assert r.prox_gap(v, 1.6) <= 1e-10 / 2 * float(v.double().square().sum())
    x, value = r.prox(v, 1.6)
    assert x.dtype == dtype
    assert float(value) == pytest.approx(float(r.value(x)), rel=1e-6)


def test_no_group_no_item_and_no_weight_are_left_alone():
    groups = pm.Groups.from_lists([[0, 1], [1, 2]], n_items=4, weights=[1.0, 0.0])
    found, v, _ = solved([0.0, 0.0, 3.0, -2.0], groups, 1.0, 1e-12)
    assert found.primal.tolist() == v.tolist()
    assert found.gap == 0.0
    found, *_ = solved([3.0, 4.0, 5.0, -2.0], groups, 1.0, 1e-14)
    np.testing.assert_allclose(found.primal, [2.4, 3.2, 5.0, -2.0], atol=1e-6)


# ------------------------------------------------------------------ what else the regularizer says


@given(groups=overlapping_groups(6), v=matrices((2, 6), extreme=False), step=STEPS)
@examples(30)
def test_a_near_point_changes_nothing_but_the_way(groups, v, step):
    r = pm.OverlappingGroupL2(groups, 1.0)
    x, _ = r.prox(v, step)
    for near in (x, v, torch.zeros_like(v), -v):
        again, _ = r.prox(v, step, warm_start=near)
        torch.testing.assert_close(again, x, rtol=1e-6, atol=1e-6)


@given(groups=tree_groups(6), v=matrices((2, 6)), step=STEPS)
@examples(30)
def test_trees_need_one_sweep_and_the_general_solver_agrees(groups, v, step):
    r = pm.OverlappingGroupL2(groups, 1.0)
    assert r.exact_prox
    x, _ = r.prox(v, step)
    assert r.prox_gap(v, step) == 0.0
    for row, point in zip(v, x, strict=True):
        size = float(row.square().sum())
        found, *_ = solved(row, groups, step, 1e-12 * size)
        assert (
            float((torch.from_numpy(found.primal) - point).square().sum()) <= 4e-12 * size + 1e-15
        )


def test_a_deep_tree_is_quick_to_recognise_and_to_shrink():
    levels = [
        pm.Groups.from_labels([i // size for i in range(4096)]) for size in (4096, 512, 64, 8, 1)
    ]
    lists = [level.members(g) for level in levels for g in range(len(level))]
    r = pm.OverlappingGroupL2(pm.Groups.from_lists(lists), 0.1)
    assert r.exact_prox
    v = normal(2, 4096, seed=4)
    x, _ = r.prox(v, 1.0)
    assert float(r.kkt_residual(x, x - v).norm()) <= 1e-12 * float(v.norm())


@given(groups=overlapping_groups(6), v=matrices((2, 6), extreme=False))
@examples(30)
def test_curvature_is_the_derivative_of_the_gradient_in_the_active_coordinates(groups, v):
    r = pm.OverlappingGroupL2(groups, 0.7)
    x = torch.where(v.abs() < 1, 0.0, v)
    active = r.active(x)
    in_zero_group = torch.zeros_like(active)
    for g in range(len(groups)):
        members, weight = groups.members(g), float(groups.weights[g])
        for k in range(len(x)):
            if weight > 0 and not bool(x[k, members].any()):
                in_zero_group[k, members] = True
    assert torch.equal(active, ~in_zero_group)
    direction = torch.where(active, normal(2, 6, seed=5), 0.0)
    product = r.curvature_product(x, direction)

    def slope(point):
        moved = point.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(r.value(moved), moved)
        return float((gradient * direction).sum())

    expected = torch.where(active, finite_difference(slope, x, 1e-5), 0.0)
    torch.testing.assert_close(product, expected, rtol=1e-5, atol=1e-6)
