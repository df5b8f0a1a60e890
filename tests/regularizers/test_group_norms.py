"""Group norms against cvxpy and against each other: prox, dual norm, subdifferential."""

import math

import numpy as np
import pytest
import torch
from arithmetic import gamma
from hypothesis import given
from hypothesis import strategies as st
from oracles import group_dual_norm, group_norm, group_prox, subdifferential_distance
from strategies import examples, matrices, overlapping_groups, tree_groups

import proxmtl as pm
from proxmtl import L1, GroupL2, Groups, OverlappingGroupL2, SquaredGroupL2
from proxmtl.regularizers.smoothed import SmoothedGroupNorm

CHAIN = Groups.from_lists([[0, 1, 2], [2, 3], [3, 4], [4, 5, 0]], weights=[1.0, 0.5, 2.0, 1.0])
TREE = Groups.from_lists([[0, 1, 2, 3, 4, 5], [0, 1, 2], [3, 4], [1], [5]])
NESTED_TWICE = Groups.from_lists([[0, 1, 2], [0, 1, 2], [3, 4, 5], [2, 3]])
FAMILIES = {"chain": CHAIN, "tree": TREE, "repeated": NESTED_TWICE}

each_family = pytest.mark.parametrize("groups", FAMILIES.values(), ids=FAMILIES)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each_family
@pytest.mark.parametrize("threshold", [0.1, 0.6, 1.5])
def test_prox_is_the_one_of_cvxpy(groups, threshold):
    v = normal(3, 6, seed=1)
    x, _ = OverlappingGroupL2(groups, 2.0).prox(v, threshold / 2)
    exact = np.stack([group_prox(row, groups, threshold) for row in v.numpy()])
    np.testing.assert_allclose(x.numpy(), exact, atol=1e-4)

    def objective(point):
        return ((point - v.numpy()) ** 2).sum() / 2 + threshold * group_norm(point, groups)

    assert objective(x.numpy()) <= objective(exact) + 1e-12


@each_family
def test_dual_norm_is_the_smallest_decomposition(groups):
    u = normal(2, 6, seed=2)
    exact = max(group_dual_norm(row, groups) for row in u.numpy()) / 3
    found = OverlappingGroupL2(groups, 3.0).dual_norm(u)
    assert exact * (1 - 1e-7) <= found <= exact * (1 + 1e-3)


@each_family
@pytest.mark.parametrize("threshold", [0.3, 1.0, 10.0])
def test_dual_norm_is_tight_at_subgradients_and_never_below(groups, threshold):
    r = OverlappingGroupL2(groups, 1.0)
    v = normal(2, 6, seed=3)
    x, _ = r.prox(v, threshold)
    u = (v - x) / threshold
    exact = max(group_dual_norm(row, groups) for row in u.numpy())
    bound = r.dual_norm(u, at=x)
    assert bound >= exact * (1 - 1e-7)
    if exact > 1 - 1e-6:
        assert bound == pytest.approx(exact, rel=1e-5)
    else:
        # strictly inside the ball it needs no precision, R*(u) = 0 either way: a norm of a group
        # of up to six, whose parts are differences and quotients of two roundings each
        assert bound <= 1 + gamma(6 / 2 + 2 + 4, torch.float64)


def test_dual_norm_after_repeated_screening():
    # the naive even split of what screening removed gives 1.118
    r = OverlappingGroupL2(Groups.from_lists([[0, 1], [1, 2]]), 1.0)
    u = torch.tensor([[0.0, 1.0, 1.0]], dtype=torch.float64)
    assert r.dual_norm(u, at=torch.zeros_like(u)) == pytest.approx(1.0, rel=1e-7)


def test_naive_dual_norm_of_overlaps_is_an_overestimate():
    u = normal(1, 6, seed=4)
    largest = max(
        float(u[0, CHAIN.members(g)].norm() / CHAIN.weights[g]) for g in range(len(CHAIN))
    )
    assert OverlappingGroupL2(CHAIN, 1.0).dual_norm(u) < largest * (1 - 1e-2)


@pytest.mark.parametrize("step", [1, 5])
def test_dual_norm_where_groups_tie(step):
    """Windows over equal entries: those at both ends share the fewest, and hold them alone."""
    groups = Groups.from_lists([list(range(i, i + 10)) for i in range(0, 51, step)], 60)
    u = torch.ones(1, 60, dtype=torch.float64)
    # each decomposition gives the first window its first `step` items whole
    exact = step**0.5
    found = OverlappingGroupL2(groups, 1.0).dual_norm(u)
    assert exact * (1 - gamma(60, torch.float64)) <= found <= exact * (1 + 2e-7)


def test_dual_norm_of_slices_is_the_largest_of_theirs():
    u = normal(4, 6, seed=5) * torch.tensor([[1.0], [3.0], [1e-3], [0.0]], dtype=torch.float64)
    r = OverlappingGroupL2(CHAIN, 1.0)
    each = [r.dual_norm(row[None]) for row in u]
    assert r.dual_norm(u) == pytest.approx(max(each), rel=2e-7)
    assert each[-1] == 0
    assert r.with_strength(0.0).dual_norm(u) == float("inf")


def test_dual_norm_of_many_groups_takes_no_prox(monkeypatch):
    rng = np.random.default_rng(0)
    lists = [rng.choice(2000, 10, replace=False).tolist() for _ in range(2000)]
    r = OverlappingGroupL2(Groups.from_lists([*lists, list(range(2000))], 2000), 1.0)
    monkeypatch.setattr(type(r.dual), "solve", None)
    assert 0 < r.critical_strength(normal(1, 2000, seed=6)) < math.inf


def test_dual_norm_where_a_group_weighs_nothing():
    groups = Groups.from_lists([[0, 1], [1, 2], [2]], weights=[1.0, 0.0, 1.0])
    u = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    assert OverlappingGroupL2(groups, 1.0).dual_norm(u) == pytest.approx(2.0, rel=1e-6)
    disjoint = Groups.from_lists([[0, 1], [2]], weights=[1.0, 0.0])
    assert GroupL2(disjoint, 1.0).dual_norm(u) == float("inf")
    assert GroupL2(disjoint, 1.0).dual_norm(u * torch.tensor([1.0, 1, 0])) == 1.0


@pytest.mark.parametrize("kind", [GroupL2, OverlappingGroupL2])
def test_what_is_in_no_group_is_free(kind):
    groups = Groups.from_lists([[0, 1]], n_items=3)
    r, v = kind(groups, 2.0), torch.tensor([[0.3, -0.4, 5.0]], dtype=torch.float64)
    assert r.prox(v, 1.0)[0].tolist() == [[0.0, 0.0, 5.0]]
    assert r.dual_norm(v) == float("inf")
    assert r.kkt_residual(v, torch.ones_like(v))[0, 2] == 1.0
    assert float(r.value(v)) == pytest.approx(1.0)


@each_family
@pytest.mark.parametrize("zeros", [(), (0, 1, 2), (2, 3), (0, 1, 2, 3, 4, 5)])
def test_kkt_residual_is_the_distance_to_the_subdifferential(groups, zeros):
    x, gradient = normal(2, 6, seed=5), normal(2, 6, seed=6) * 2
    x[:, list(zeros)] = 0
    residual = OverlappingGroupL2(groups, 0.7).kkt_residual(x, gradient)
    for row in range(2):
        exact = subdifferential_distance(x[row].numpy(), gradient[row].numpy(), groups, 0.7)
        assert float(residual[row].norm()) == pytest.approx(exact, rel=1e-5, abs=1e-6)


@given(groups=tree_groups(6), v=matrices((2, 6), extreme=False), step=st.sampled_from([0.1, 1.0]))
@examples(40)
def test_on_a_tree_shrinking_children_first_is_exact(groups, v, step):
    expected = v.clone()
    for g in torch.argsort(groups.sizes, stable=True).tolist():
        members = groups.members(g)
        norms = expected[:, members].norm(dim=1, keepdim=True)
        threshold = step * groups.weights[g]
        factor = torch.where(norms > threshold, 1 - threshold / norms.clamp_min(1e-300), 0.0)
        expected[:, members] *= factor
    x, _ = OverlappingGroupL2(groups, 1.0).prox(v, step)
    torch.testing.assert_close(x, expected, rtol=1e-9, atol=1e-9)


@given(groups=overlapping_groups(5), v=matrices((2, 5), extreme=False))
@examples(40)
def test_reported_gap_bounds_the_error_of_the_prox(groups, v):
    loose = OverlappingGroupL2(groups, 1.0, gap=1e-2, max_sweeps=1)
    tight = OverlappingGroupL2(groups, 1.0)
    error = float((loose.prox(v, 0.5)[0] - tight.prox(v, 0.5)[0]).norm())
    assert error**2 <= 2 * (loose.prox_gap(v, 0.5) + tight.prox_gap(v, 0.5)) * 2 + 1e-12


@given(v=matrices((3, 4), extreme=False), step=st.sampled_from([0.0, 0.2, 1.0]))
@examples(40)
def test_special_cases_agree(v, step):
    singles, whole = Groups.singletons(4), Groups.single(4)
    for kind in (GroupL2, OverlappingGroupL2):
        torch.testing.assert_close(kind(singles, 0.7).prox(v, step)[0], L1(0.7).prox(v, step)[0])
        rows = v * (1 - 0.7 * step / v.norm(dim=1, keepdim=True).clamp_min(1e-300)).clamp_min(0)
        torch.testing.assert_close(kind(whole, 0.7).prox(v, step)[0], rows)
    halves = Groups.from_labels([0, 0, 1, 1])
    exact, iterative = GroupL2(halves, 0.7), OverlappingGroupL2(halves, 0.7)
    torch.testing.assert_close(iterative.prox(v, step)[0], exact.prox(v, step)[0])
    torch.testing.assert_close(iterative.kkt_residual(v, -v), exact.kkt_residual(v, -v))
    assert iterative.dual_norm(v) == pytest.approx(exact.dual_norm(v))


@pytest.mark.parametrize("kind", [GroupL2, OverlappingGroupL2])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_any_axis_and_any_number_of_dimensions(kind, axis):
    groups, v = Groups.from_lists([[0, 2], [1, 3]]), normal(4, 4, 4, seed=7)
    r, last = kind(groups, 0.8, axis=axis), kind(groups, 0.8)
    moved = v.movedim(axis, -1)
    x, value = r.prox(v, 0.5)
    torch.testing.assert_close(x, last.prox(moved, 0.5)[0].movedim(-1, axis))
    torch.testing.assert_close(value, last.prox(moved, 0.5)[1])
    torch.testing.assert_close(r.value(v), last.value(moved))
    residual = last.kkt_residual(moved, moved).movedim(-1, axis)
    torch.testing.assert_close(r.kkt_residual(v, v), residual)


@pytest.mark.parametrize("kind", [GroupL2, OverlappingGroupL2])
@pytest.mark.parametrize("shape", [(3, 4), (), (5, 3)])
def test_a_shape_that_does_not_fit_raises(kind, shape):
    r = kind(Groups.from_lists([[0, 1], [2, 3, 4]]), 1.0)
    for method in (r.value, lambda W: r.prox(W, 0.1), r.dual_norm, lambda W: r.kkt_residual(W, W)):
        with pytest.raises(ValueError, match=r"groups: of 5 (tasks|items), and"):
            method(torch.zeros(shape))


@pytest.mark.parametrize(
    "kind",
    [
        GroupL2,
        OverlappingGroupL2,
        pm.LatentOverlapGroupL2,
        SquaredGroupL2,
        lambda groups, strength: pm.SparseGroupL2(groups, strength, 0.5),
        lambda groups, strength: pm.SharedPlusOwn(strength, 1.0, groups),
        lambda groups, strength: pm.MCP(strength, groups=groups),
        lambda groups, strength: SmoothedGroupNorm(groups, strength, 0.1),
    ],
)
def test_plain_lists_are_no_groups(kind):
    with pytest.raises(ValueError, match=r"groups: got list; build them with Groups.from_lists"):
        kind([[0, 1], [2]], 1.0)


def test_disjoint_norm_refuses_overlaps():
    with pytest.raises(ValueError, match="use OverlappingGroupL2"):
        GroupL2(CHAIN, 1.0)


def test_memory_does_not_grow_with_the_overlap_of_the_parameter():
    # duplicated columns would need (slices, memberships): the prox keeps (slices, items) primal
    groups = Groups.from_lists([range(i, 40) for i in range(20)])
    x, _ = OverlappingGroupL2(groups, 0.01).prox(normal(2, 40), 1.0)
    assert x.shape == (2, 40)
    assert float(x.norm()) < float(normal(2, 40).norm())


def test_nothing_but_a_zero_gradient_keeps_a_squared_norm_at_zero():
    term = SquaredGroupL2(Groups.from_lists([[0, 1], [2]]), 1.0)
    assert term.critical_strength(torch.zeros(2, 3)) == 0.0
    assert term.critical_strength(torch.tensor([[0.0, 0.0, 1e-9]])) == float("inf")
