"""Nesterov smoothing of group norms: bounds, gradient, Lipschitz constant."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import finite_difference, group_norm
from strategies import examples, matrices, overlapping_groups

from proxmtl import GroupL2, Groups, OverlappingGroupL2
from proxmtl.regularizers import SmoothedGroupNorm

SHAPE = (3, 5)
GROUPS = Groups.from_lists([[0, 1, 2], [2, 3], [3, 4]], weights=[1.0, 2.0, 0.5])
smoothings = st.sampled_from([1e-3, 0.1, 1.0, 20.0])


def smooth(groups, smoothness, strength=1.3):
    return OverlappingGroupL2(groups, strength).smoothed(smoothness)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(groups=overlapping_groups(5), W=matrices(SHAPE), smoothness=smoothings)
@examples(50)
def test_value_lies_between_the_norm_and_the_norm_minus_its_error(groups, W, smoothness):
    f = smooth(groups, smoothness)
    norm = 1.3 * group_norm(W, groups)
    value = float(f.value(W))
    assert value <= norm * (1 + 1e-12)
    assert value >= norm - f.error_bound(W) - 1e-12 * norm
    assert f.error_bound(W) == pytest.approx(smoothness * SHAPE[0] * len(groups) / 2)


def test_the_error_bound_is_attained():
    f = smooth(GROUPS, 1e-3)
    W = normal(*SHAPE) + 10
    lost = 1.3 * group_norm(W, GROUPS) - float(f.value(W))
    assert lost == pytest.approx(f.error_bound(W), rel=1e-9)


@pytest.mark.parametrize("smoothness", [0.05, 1.0, 30.0])
def test_gradient_is_that_of_the_value(smoothness):
    f, W = smooth(GROUPS, smoothness), normal(*SHAPE)
    expected = finite_difference(lambda x: float(f.value(x)), W)
    torch.testing.assert_close(f.grad(W), expected, rtol=1e-6, atol=1e-7)
    value, gradient = f.value_and_grad(W)
    assert torch.equal(gradient, f.grad(W))
    assert float(value) == float(f.value(W))


@given(
    groups=overlapping_groups(5),
    a=matrices(SHAPE, extreme=False),
    b=matrices(SHAPE, extreme=False),
    smoothness=smoothings,
)
@examples(50)
def test_lipschitz_constant_and_convexity_hold_on_pairs(groups, a, b, smoothness):
    f = smooth(groups, smoothness)
    change = f.grad(a) - f.grad(b)
    assert float(change.norm()) <= f.lipschitz * float((a - b).norm()) * (1 + 1e-9) + 1e-12
    assert float((change * (a - b)).sum()) >= -1e-9
    assert float(f.value((a + b) / 2)) <= float(f.value(a) + f.value(b)) / 2 + 1e-9


def test_lipschitz_constant_is_attained():
    f = smooth(GROUPS, 1.0)
    # the item of largest sum of squared weights, inside the smoothing of all its groups
    item = max(
        range(5),
        key=lambda i: float((GROUPS.weights[GROUPS.group_of][GROUPS.indices == i]).square().sum()),
    )
    a = torch.zeros(1, 5, dtype=torch.float64)
    b = a.clone()
    b[0, item] = 1e-3
    assert float((f.grad(a) - f.grad(b)).norm()) == pytest.approx(f.lipschitz * 1e-3, rel=1e-9)


def test_disjoint_smoothing_is_a_group_huber():
    f = GroupL2(Groups.single(2), 2.0).smoothed(0.5)
    small = torch.tensor([[0.06, 0.08]], dtype=torch.float64)  # strength * norm = 0.2 < 0.5
    large = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    assert float(f.value(small)) == pytest.approx(0.2**2 / (2 * 0.5))
    assert float(f.value(large)) == pytest.approx(10 - 0.25)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("smoothness", [1e-3, 1e-12])
def test_zero_blocks_give_no_nan(dtype, smoothness):
    f = smooth(GROUPS, smoothness)
    W = torch.zeros(SHAPE, dtype=dtype)
    value, gradient = f.value_and_grad(W)
    assert float(value) == 0
    assert torch.equal(gradient, W)
    assert gradient.dtype == value.dtype == dtype


def test_nan_is_not_swallowed():
    W = normal(*SHAPE)
    W[0, 0] = math.nan
    value, gradient = smooth(GROUPS, 0.1).value_and_grad(W)
    assert math.isnan(float(value))
    assert bool(torch.isnan(gradient[0]).any())


def test_input_is_kept():
    W = normal(*SHAPE)
    before = W.clone()
    smooth(GROUPS, 0.1).value_and_grad(W)
    assert torch.equal(W, before)


@pytest.mark.parametrize("smoothness", [0.0, -1.0, math.nan, math.inf])
def test_bad_smoothness_raises(smoothness):
    with pytest.raises(ValueError, match="smoothness: got"):
        SmoothedGroupNorm(GROUPS, 1.0, smoothness)
    with pytest.raises(ValueError, match="smoothness: got"):
        GroupL2(Groups.single(3), 1.0).smoothed(smoothness)
