"""smoothed_group_grad: every backend against float64 loops, and the bounds of the smoothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prox_cases import (
    BACKENDS,
    EXAMPLES,
    NUMBA_DTYPES,
    close,
    from_lists,
    overlapping_groups,
    sums_close,
    tensors,
    weights_for,
)

from proxmtl import kernels

WINDOWS = from_lists([[0, 1, 2], [2, 3], [3, 4, 0], [5]], 7)


@st.composite
def calls(draw):
    groups = draw(overlapping_groups())
    V, axis = draw(tensors(groups.n_items))
    return V, axis, groups, weights_for(draw, groups.n_groups), draw(st.sampled_from([0.1, 5.0]))


@pytest.mark.parametrize("backend", BACKENDS)
@given(call=calls())
@settings(deadline=None, max_examples=EXAMPLES)
def test_agrees_with_the_loops(backend, call):
    V, axis, groups, weights, smoothness = call
    if backend == "numba" and V.dtype not in NUMBA_DTYPES:
        V = V.float()
    before = V.clone()
    seen = kernels.smoothed_group_grad(
        V, groups.index, weights, smoothness, axis=axis, backend=backend
    )
    wanted = kernels.smoothed_group_grad(
        V.double(), groups.index, weights, smoothness, axis=axis, backend="naive"
    )
    assert torch.equal(V, before)
    assert (seen.grad.shape, seen.grad.dtype) == (V.shape, V.dtype)
    close(seen.grad, wanted.grad, V.dtype, wanted.grad.abs().max().item() if V.numel() else 0.0)
    for name in ("value", "penalty", "dual_sqnorm"):
        number = getattr(seen, name)
        assert (number.shape, number.dtype) == ((), torch.float64)
        sums_close(number, getattr(wanted, name), V.dtype)


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
@pytest.mark.parametrize("axis", [0, 1])
def test_gradient_bounds_and_limit(backend, axis):
    V = torch.randn(7, 7, dtype=torch.float64, requires_grad=True)
    rows = V if axis == 1 else V.T
    weights = torch.tensor([0.5, 1.0, 2.0, 0.0], dtype=torch.float64)
    penalty = sum(
        weight * rows[:, group].norm(dim=1).sum()
        for group, weight in zip(WINDOWS, weights, strict=True)
    )
    arguments = (V.detach(), WINDOWS.index, weights)
    rough = kernels.smoothed_group_grad(*arguments, 0.8, axis=axis, backend=backend)
    torch.testing.assert_close(rough.penalty, penalty.detach())
    assert penalty - 0.8 * 7 * 4 / 2 <= rough.value <= penalty
    assert rough.value + 0.4 * rough.dual_sqnorm == pytest.approx(
        (rough.grad * V.detach()).sum().item()
    )  # <Cᵀα, v> = <α, C v>
    fine = kernels.smoothed_group_grad(*arguments, 1e-9, axis=axis, backend=backend)
    torch.testing.assert_close(fine.grad, torch.autograd.grad(penalty, V)[0])


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
@pytest.mark.parametrize("axis", [0, 1])
def test_out_in_place_and_nan(backend, axis):
    V = torch.randn(7, 7)
    V[4, 4] = V[0, 6] = V[6, 0] = float("nan")
    wanted = kernels.smoothed_group_grad(V, WINDOWS.index, 1.0, 0.5, axis=axis, backend=backend)
    out = torch.full((7, 14), float("nan"))[:, ::2]
    seen = kernels.smoothed_group_grad(
        V, WINDOWS.index, 1.0, 0.5, axis=axis, out=out, backend=backend
    )
    assert seen.grad is out
    torch.testing.assert_close(out, wanted.grad, equal_nan=True, rtol=0, atol=0)
    fibres = out if axis == 1 else out.T
    # Items 3 and 0 share a group with item 4; item 6 is in no group.
    assert fibres[4].isnan().tolist() == [True, False, False, True, True, False, False]
    assert fibres[0].isnan().tolist() == [False] * 6 + [True]
    assert seen.value.isnan()
    assert seen.penalty.isnan()
    kernels.smoothed_group_grad(V, WINDOWS.index, 1.0, 0.5, axis=axis, out=V, backend=backend)
    torch.testing.assert_close(V, wanted.grad, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("smoothness", [0.0, -1.0, float("nan"), float("inf")])
def test_smoothness_must_be_positive(smoothness):
    with pytest.raises(ValueError, match="smoothness is"):
        kernels.smoothed_group_grad(torch.ones(7), WINDOWS.index, 1.0, smoothness)


def test_weights_have_no_derivative():
    weights = torch.ones(4, requires_grad=True)
    with pytest.raises(ValueError, match="weights requires grad and has no derivative"):
        kernels.smoothed_group_grad(torch.ones(7), WINDOWS.index, weights, 0.5)
