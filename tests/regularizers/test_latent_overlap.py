"""The latent group norm: duplicated columns as the oracle, equivalences, certificates."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import latent_norm
from strategies import classification, disjoint_groups, examples, matrices, overlapping_groups

import proxmtl as pm
from proxmtl.regularizers.latent_interior import decompose

CHAIN = pm.Groups.from_lists([[0, 1, 2], [2, 3], [3, 4], [4, 5, 0]], weights=[1.0, 0.5, 2.0, 1.0])
positive = {"covering": True, "zeros": False}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def duplicated_prox(v, groups, threshold, sweeps=4000):
    """Proximal gradient on one copy of each item a group, disjoint groups on the copies."""
    copies = torch.zeros(len(groups.indices), dtype=v.dtype)
    weights = threshold * groups.weights
    step = 1 / groups.max_overlap
    for _ in range(sweeps):
        missing = v - torch.zeros_like(v).index_add(0, groups.indices, copies)
        moved = copies + step * missing[groups.indices]
        norms = torch.zeros_like(weights).index_add(0, groups.group_of, moved.square()).sqrt()
        factor = (1 - step * weights / norms.clamp_min(1e-300)).clamp_min(0)
        copies = moved * factor[groups.group_of]
    return torch.zeros_like(v).index_add(0, groups.indices, copies)


@pytest.mark.parametrize("threshold", [0.2, 0.7, 1.5])
def test_prox_is_that_of_disjoint_groups_on_duplicated_columns(threshold):
    v = normal(2, 6, seed=1)
    x, _ = pm.LatentOverlapGroupL2(CHAIN, 1.0).prox(v, threshold)
    expected = torch.stack([duplicated_prox(row, CHAIN, threshold) for row in v])
    torch.testing.assert_close(x, expected, rtol=1e-6, atol=1e-6)


@given(
    groups=overlapping_groups(6, **positive),
    v=matrices((2, 6), extreme=False),
    step=st.sampled_from([0.1, 1.0]),
)
@examples(30)
def test_prox_is_what_the_projection_on_the_dual_ball_leaves(groups, v, step):
    r = pm.LatentOverlapGroupL2(groups, 1.0)
    x, value = r.prox(v, step)
    u = v - x
    assert r.dual_norm(u) <= step * (1 + 1e-6)
    bound = r.prox_gap(v, step) + 1e-14 * float(v.square().sum())
    # no other feasible point is nearer: <x, w - u> <= 0 for all w, up to the gap
    support = step * float(value)
    assert support - float((x * u).sum()) <= 2 * bound + 1e-12 * (1 + support)


@given(groups=disjoint_groups(5, covering=True, zeros=False), v=matrices((2, 5), extreme=False))
@examples(30)
def test_disjoint_groups_are_those_of_the_closed_form(groups, v):
    v = torch.where(v.abs() < 1e-3, 0.0, v)  # what is below the gap has no certain subgradient
    latent, plain = pm.LatentOverlapGroupL2(groups, 0.7), pm.GroupL2(groups, 0.7)
    torch.testing.assert_close(latent.prox(v, 0.9)[0], plain.prox(v, 0.9)[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(latent.value(v), plain.value(v), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        latent.kkt_residual(v, -v), plain.kkt_residual(v, -v), rtol=1e-5, atol=1e-5
    )


@given(v=matrices((2, 5), extreme=False))
@examples(20)
def test_groups_of_one_are_l1_and_one_group_is_the_block_norm(v):
    single, whole = pm.Groups.singletons(5), pm.Groups.single(5)
    for groups, other in ((single, pm.L1(0.7)), (whole, pm.GroupL2(whole, 0.7))):
        r = pm.LatentOverlapGroupL2(groups, 0.7)
        torch.testing.assert_close(r.prox(v, 0.9)[0], other.prox(v, 0.9)[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(r.value(v), other.value(v), rtol=1e-9, atol=1e-12)


@given(groups=overlapping_groups(5, **positive), v=matrices((2, 5), extreme=False))
@examples(30)
def test_it_lies_below_the_overlapping_norm_and_above_a_multiple_of_its_dual(groups, v):
    latent, overlap = pm.LatentOverlapGroupL2(groups, 1.0), pm.OverlappingGroupL2(groups, 1.0)
    assert float(latent.value(v)) <= float(overlap.value(v)) * (1 + 1e-9) + 1e-12
    # Cauchy-Schwarz of the norm and its dual
    u = v.flip(0)
    sizes = sum(float(latent.value(row[None])) * latent.dual_norm(u) for row in v)
    assert float((u * v).sum()) <= sizes * (1 + 1e-9) + 1e-12


def test_supports_are_unions_of_groups():
    v = torch.tensor([[3.0, 3.0, 0.3, 0.2, 0.1, 0.1]], dtype=torch.float64)
    groups = pm.Groups.from_lists([[0, 1, 2], [2, 3], [3, 4], [4, 5]])
    x, _ = pm.LatentOverlapGroupL2(groups, 1.0).prox(v, 1.0)
    assert (x != 0).tolist() == [[True, True, True, False, False, False]]


def test_value_is_certified_from_both_sides():
    groups, v = CHAIN, normal(6, seed=3).numpy()
    found = decompose(
        v,
        groups.group_of.numpy(),
        groups.indices.numpy(),
        groups.weights.numpy(),
        curvature=0.0,
        tolerance=1e-12,
    )
    sums = np.bincount(groups.indices.numpy(), weights=found.parts, minlength=6)
    np.testing.assert_allclose(sums, v, rtol=1e-12)
    bounds = groups.indptr.tolist()
    pieces = [found.parts[bounds[g] : bounds[g + 1]] for g in range(len(groups))]
    upper = sum(
        float(w) * np.linalg.norm(piece) for w, piece in zip(groups.weights, pieces, strict=True)
    )
    for g in range(len(groups)):
        assert np.linalg.norm(found.dual[groups.members(g)]) <= float(groups.weights[g])
    assert 0 <= upper - found.dual @ v <= 1e-12
    assert upper == pytest.approx(latent_norm(v, groups), rel=1e-8)


def test_the_gap_of_a_prox_is_measured_and_nothing_without_a_step():
    v = normal(40, 6, seed=5)
    exact, rough = (pm.LatentOverlapGroupL2(CHAIN, 0.7, gap=gap) for gap in (1e-14, 1e-2))
    assert rough.prox_gap(v, 0.0) == rough.with_strength(0.0).prox_gap(v, 1.0) == 0
    assert exact.prox_gap(v, 1.0) < 1e-3 * rough.prox_gap(v, 1.0)
    missed = float((exact.prox(v, 1.0)[0] - rough.prox(v, 1.0)[0]).square().sum())
    assert 0 < missed <= 2 * rough.prox_gap(v, 1.0) * (1 + 1e-6)


def test_many_slices_are_solved_together():
    r, v = pm.LatentOverlapGroupL2(CHAIN, 1.0), normal(300, 6, seed=4)
    v[7] = 0
    v[8] *= 1e-8
    x, _ = r.prox(v, 0.6)
    for k in (0, 7, 8, 299):
        alone, _ = r.prox(v[k : k + 1], 0.6)
        torch.testing.assert_close(x[k : k + 1], alone, rtol=1e-6, atol=1e-6)
    assert r.prox_gap(v, 0.6) <= 1e-14 * float(v.square().sum())


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_any_axis(axis):
    groups, v = pm.Groups.from_lists([[0, 2], [1, 2, 3]]), normal(4, 4, 4, seed=7)
    r, last = pm.LatentOverlapGroupL2(groups, 0.8, axis=axis), pm.LatentOverlapGroupL2(groups, 0.8)
    moved = v.movedim(axis, -1)
    x, value = r.prox(v, 0.5)
    torch.testing.assert_close(x, last.prox(moved, 0.5)[0].movedim(-1, axis))
    torch.testing.assert_close(value, last.prox(moved, 0.5)[1])


def test_what_it_does_not_take_raises():
    with pytest.raises(ValueError, match=r"items \[2\] are in no group"):
        pm.LatentOverlapGroupL2(pm.Groups.from_lists([[0, 1]], n_items=3), 1.0)
    with pytest.raises(ValueError, match="a weight is zero"):
        pm.LatentOverlapGroupL2(pm.Groups.from_lists([[0, 1], [1]], weights=[1.0, 0.0]), 1.0)
    with pytest.raises(ValueError, match="gap: got 0"):
        pm.LatentOverlapGroupL2(CHAIN, 1.0, gap=0)
    with pytest.raises(ValueError, match="of 6 tasks, and there are 5"):
        pm.LatentOverlapGroupL2(CHAIN, 1.0).prox(torch.zeros(2, 5), 1.0)


def test_points_where_the_path_is_lost_are_solved_all_the_same():
    """A point with a tiny share of one group: the predictor hangs at the boundary there."""
    r = pm.LatentOverlapGroupL2(pm.Groups.from_lists([[0, 1, 2], [2, 3, 4], [4, 5]]), 3.0)
    x = torch.tensor([[0.2129, -0.3703, -0.6863, -0.0057, 0.0, 0.0]], dtype=torch.float64)
    exact = latent_norm(x[0].numpy(), r.groups) * 3.0
    assert float(r.value(x)) == pytest.approx(exact, rel=1e-8)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):  # the value at a prox point is that of the prox's own decomposition
        v = torch.randn(4, 6, generator=generator, dtype=torch.float64)
        point, value = r.prox(v - v.clamp(-0.6, 0.6), 0.2)
        assert float(r.value(point)) == pytest.approx(float(value), rel=1e-10, abs=1e-12)


def test_beside_an_l1_norm_it_converges():
    X, Y = classification(60, 8, 6, seed=1)
    terms = [
        pm.LatentOverlapGroupL2(pm.Groups.from_lists([[0, 1, 2], [2, 3, 4], [4, 5]]), 2.0),
        pm.L1(0.5),
    ]
    problem = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), pm.Targets.from_labels(Y), terms)
    result = pm.minimize(problem, stop=pm.RelativeGap(1e-8) | pm.MaxIterations(500))
    assert result.status is pm.Status.CONVERGED
    assert result.certificate.relative_kkt <= 1e-4
