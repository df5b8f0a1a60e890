"""Every registered regularizer at the ends of the range, in half precision, without entries."""

import math

import pytest
import torch
from regularizer_cases import NORMS, OURS, UNWEIGHTED, example, normal

from proxmtl import L1, GroupL2, Groups, OverlappingGroupL2, SquaredFrobenius
from proxmtl.regularizers import (
    L21,
    MCP,
    SCAD,
    Conjugate,
    ElasticNet,
    ExclusiveL1,
    LInf,
    Masked,
    Scaled,
    Separable,
    SparseGroupL2,
    SquaredGroupL2,
    Sum,
    Thresholded,
    TotalVariation,
    WeightedL1,
    add,
)

each = pytest.mark.parametrize("name", sorted(OURS))
each_norm = pytest.mark.parametrize("name", sorted(NORMS))
each_penalty = pytest.mark.parametrize("name", sorted(set(OURS) - UNWEIGHTED))
HALF = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
PARTLY = Groups.from_lists([[4, 0], [1]], 5, weights=[1.0, 0.0])  # 1 costs nothing, 2 and 3 neither
OVERLAP = Groups.from_lists([[0, 4], [4, 1]], 5)


@each_norm
@pytest.mark.parametrize("power", [-1000, -540, -480, 480, 540, 1000])
def test_a_norm_is_homogeneous_to_the_ends_of_the_range(name, power):
    r, v, grad, c = example(name), normal(3, 5), normal(3, 5, seed=1), 2.0**power
    x, value = r.prox(v, 0.3)
    scaled, scaled_value = r.prox(v * c, 0.3 * c)
    # an iterative prox is accurate to the root of its gap
    atol = 1e-14 if r.exact_prox else 1e-6
    torch.testing.assert_close(scaled / c, x, rtol=1e-14, atol=atol)
    if math.isfinite(float(value)):
        rel = 1e-14 if r.exact_prox else 1e-6
        assert float(scaled_value) / c == pytest.approx(float(value), rel=rel)
        assert float(r.value(v.abs() * c)) / c == pytest.approx(float(r.value(v.abs())), rel=rel)
    assert r.dual_norm(v * c) / c == pytest.approx(r.dual_norm(v), rel=1e-6)
    if r.exact_kkt:
        torch.testing.assert_close(r.kkt_residual(x * c, grad), r.kkt_residual(x, grad))


@each
@pytest.mark.parametrize("power", [-1000, -540, 540, 1000])
def test_nothing_is_nan_at_the_ends_of_the_range(name, power):
    r, v = example(name), normal(3, 5) * 2.0**power
    x, value = r.prox(v, 0.3)
    assert bool(torch.isfinite(x).all())
    assert not math.isnan(float(value))
    assert not math.isnan(float(r.value(v)))
    assert not bool(torch.isnan(r.kkt_residual(v, v)).any())


@pytest.mark.parametrize("scale", [1e-310, 1e-250, 1e-160, 1e160, 1e250])
def test_groups_of_one_parameter_have_scales_of_their_own(scale):
    groups = Groups.from_lists([[0, 1], [2, 3], [4]])
    row = torch.tensor([[3.0, -4, 3.0, -4, 1.0]], dtype=torch.float64)
    W = row * torch.tensor([1, 1, scale, scale, 0.0], dtype=torch.float64)
    for r in (GroupL2(groups, scale), OverlappingGroupL2(groups, scale), L21(scale)):
        x, _ = r.prox(W, 1.0)
        if isinstance(r, L21):
            continue
        # a fifth of the second group is taken off, and next to nothing of the first, or all of it
        torch.testing.assert_close(x[0, 2:4] / scale, 0.8 * row[0, 2:4], rtol=1e-12, atol=1e-4)


@pytest.mark.parametrize("penalty", [MCP, SCAD])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("power", [-900, -540, 540, 900])
def test_folded_penalties_scale_with_their_strength(penalty, grouped, power):
    groups, c = Groups.from_lists([[0, 1], [2, 3, 4]]) if grouped else None, 2.0**power
    v = normal(4, 5) * 2
    x = penalty(0.5, groups=groups).prox(v, 1.0)[0]
    scaled = penalty(0.5 * c, groups=groups).prox(v * c, 1.0)[0]
    torch.testing.assert_close(scaled / c, x, rtol=1e-14, atol=0)


@pytest.mark.parametrize("power", [-540, -100, 100, 500])
def test_squared_norms_are_homogeneous_of_degree_one_in_their_prox(power):
    groups, c, v = Groups.from_lists([[0, 1], [2, 3, 4]]), 2.0**power, normal(4, 5)
    for r in (SquaredGroupL2(groups, 0.7), ExclusiveL1(0.7)):
        torch.testing.assert_close(r.prox(v * c, 0.5)[0] / c, r.prox(v, 0.5)[0], rtol=1e-14, atol=0)
        assert bool(torch.isfinite(r.prox(v, 1e300)[0]).all())
        assert float(r.prox(v, 1e300)[0].abs().max()) < 1e-290


@each
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_half_precision_is_the_rounding_of_float32(name, dtype, scale):
    r, v = example(name), (normal(3, 5) * scale).to(dtype)
    x, value = r.prox(v, 0.25)
    exact, exact_value = r.prox(v.double(), 0.25)
    # squares and sums in the dtype itself would overflow, or lose all digits
    eps = HALF[dtype]
    slack = 0 if r.exact_prox else 1e-3 * scale
    torch.testing.assert_close(x.double(), exact, rtol=2 * eps, atol=slack + 1e-6)
    assert x.dtype == value.dtype == dtype
    if float(exact_value) < torch.finfo(dtype).max:
        assert float(value) == pytest.approx(float(exact_value), rel=4 * eps, abs=1e-2 * scale)
    residual = r.kkt_residual(v, v)
    assert residual.dtype == dtype
    assert not bool(torch.isnan(residual).any())


@each_penalty
@pytest.mark.parametrize(
    ("dtype", "size"),
    [(torch.float64, 1e308), (torch.float32, 3e38), (torch.float16, 6e4), (torch.bfloat16, 3e38)],
    ids=str,
)
def test_at_strength_zero_even_the_largest_parameter_costs_nothing(name, dtype, size):
    r = example(name).with_strength(0.0)
    W = (normal(3, 5).sign() * size).to(dtype)
    x, value = r.prox(W, 1.0)
    assert torch.equal(x, W)
    assert float(value) == float(r.value(W)) == 0


LARGE = torch.tensor([1e8, 0.0, 1e8, 1.0, 1e39], dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("strength", [0.0, 1e-45, 1.0])
def test_weights_that_the_dtype_does_not_hold(dtype, strength):
    groups = Groups.from_lists([[0], [1], [2], [3], [4]], weights=LARGE.tolist())
    covering = Groups.from_lists([[0, 1], [1, 2], [3], [4]], weights=[1e8, 1e8, 1.0, 1e39])
    for r in (
        WeightedL1(LARGE, strength),
        GroupL2(groups, strength),
        OverlappingGroupL2(covering, strength),
        SparseGroupL2(groups, strength),
        SquaredGroupL2(groups, strength),
    ):
        for W in (torch.zeros(2, 5, dtype=dtype), torch.ones(2, 5, dtype=dtype)):
            x, value = r.prox(W, 1.0)
            assert not bool(torch.isnan(x).any())
            assert not math.isnan(float(value))
            assert not math.isnan(float(r.value(W)))
            assert not bool(torch.isnan(r.kkt_residual(W, W)).any())
            if strength == 0:
                assert torch.equal(x, W)
                assert float(r.value(W)) == 0


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_no_slices(name, dtype):
    r, empty = example(name), torch.zeros(0, 5, dtype=dtype)
    x, value = r.prox(empty, 1.0)
    assert x.shape == r.kkt_residual(empty, empty).shape == r.active(empty).shape == (0, 5)
    assert x.dtype == dtype
    assert float(value) == float(r.value(empty)) == 0
    if name in NORMS:
        assert r.dual_norm(empty) == r.dual_norm(empty, at=empty) == 0
        assert r.critical_strength(empty) == 0
    if r.has_conjugate:
        assert r.conjugate(empty) == 0
    if r.has_curvature:
        assert r.curvature_product(empty, empty).shape == (0, 5)


NO_ITEMS = [L1(1.0), L21(1.0), LInf(1.0, axis=-1), LInf(1.0), ExclusiveL1(1.0), MCP(1.0)]
NO_ITEMS += [ElasticNet(1.0), SquaredFrobenius(1.0), TotalVariation(1.0), L21(1.0, axis=0)]
NO_ITEMS += [example("FusedLasso"), example("Nuclear"), example("Box"), LInf(1.0, axis=0)]


@pytest.mark.parametrize("r", NO_ITEMS, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("shape", [(4, 0), (0, 4), (0, 0)])
def test_no_items(r, shape):
    empty = torch.zeros(shape)
    x, value = r.prox(empty, 1.0)
    assert x.shape == r.kkt_residual(empty, empty).shape == r.active(empty).shape == shape
    assert float(value) == float(r.value(empty)) == 0
    if r.is_norm:
        assert r.dual_norm(empty) == 0


@pytest.mark.parametrize(
    "inner",
    [
        GroupL2(PARTLY, 0.7),
        GroupL2(PARTLY, 0.7, axis=-1).with_strength(1e-3),
        OverlappingGroupL2(OVERLAP, 0.7),
        SparseGroupL2(PARTLY, 0.7),
        Scaled(GroupL2(PARTLY, 0.7), -3.0),
        Masked(L1(0.7), torch.tensor([True, False, False, False, True])),
        WeightedL1(torch.tensor([1.0, 0, 0, 0, 2]), 0.7),
        Separable((((0, 4), L21(1.0)),), scale=0.7),
        Thresholded(GroupL2(PARTLY, 0.7), L1(0.1)),
        Thresholded(GroupL2(PARTLY, 0.7), WeightedL1(torch.tensor([1.0, 0, 0, 0, 2]), 0.7)),
        Sum((GroupL2(PARTLY, 0.7), OverlappingGroupL2(OVERLAP, 0.2)), max_sweeps=40),
    ],
    ids=lambda r: type(r).__name__,
)
@pytest.mark.parametrize("step", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_conjugate_is_zero_where_the_penalty_is(inner, step, dtype):
    r, v = Conjugate(inner), normal(3, 5, dtype=dtype) * 3
    x, value = r.prox(v, step)
    assert float(value) == float(r.value(x)) == 0
    free = [i for i in (1, 2, 3) if inner.value(torch.eye(5)[i : i + 1]) == 0]
    assert not bool(x[:, free].any())
    assert bool(x[:, [0, 4]].all())


def soft(v, threshold):
    return v.sign() * (v.abs() - threshold).clamp_min(0)


@pytest.mark.parametrize("small", [0.0, 1e-17, 1e-200, 1e-320])
@pytest.mark.parametrize("large", [1.0, 1e17, 1e200])
def test_sums_of_strengths_that_are_orders_apart(small, large):
    groups, v = Groups.from_lists([[0, 1], [2, 3, 4]]), 3 * normal(3, 5) * large
    threshold = L1(large)
    # each of the others is too weak to be seen beside the threshold; 1e-17 of a norm of some 10
    others = [GroupL2(groups, small), SparseGroupL2(groups, small), ElasticNet(small / large)]
    others += [L21(small), TotalVariation(small), WeightedL1(torch.ones(5) * small, 1.0)]
    others += [OverlappingGroupL2(OVERLAP, small), LInf(small), L1(small)]
    for other in others:
        for terms in ([threshold, other], [other, threshold]):
            both = add(terms)
            x, value = both.prox(v, 1.0)
            torch.testing.assert_close(x, soft(v, large), rtol=0, atol=1e-15 * large)
            assert float(value) == pytest.approx(large * float(x.abs().sum()), rel=1e-14)
            assert bool(torch.isfinite(both.kkt_residual(x, x - v)).all())
    for other in (GroupL2(groups, large), L21(large), ElasticNet(1.0), TotalVariation(large)):
        x, _ = add([L1(small), other]).prox(v, 1.0)
        torch.testing.assert_close(x, other.prox(v, 1.0)[0], rtol=1e-14, atol=1e-15 * large)


def test_elastic_nets_that_are_almost_l1_norms_add_up():
    almost = ElasticNet(3.0, math.nextafter(1, 0))
    both = add([almost, ElasticNet(1e-17, 0.5)])
    v = normal(3, 5) * 5
    torch.testing.assert_close(both.prox(v, 1.0)[0], soft(v, 3.0), rtol=0, atol=1e-14)


def test_a_weak_group_norm_beside_a_threshold_keeps_its_digits():
    groups = Groups.from_lists([[0, 1], [2, 3, 4]])
    both = add([L1(1.0), GroupL2(groups, 1e-17)])
    tiny = 1e-17 * normal(3, 5)
    x, _ = both.prox(tiny.sign() + tiny, 1.0)
    expected, _ = GroupL2(groups, 1e-17).prox(soft(tiny.sign() + tiny, 1.0), 1.0)
    assert torch.equal(x, expected)
