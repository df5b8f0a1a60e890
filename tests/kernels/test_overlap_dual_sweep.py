"""overlap_dual_sweep: every backend against float64 loops, and its limit against the prox."""

import pytest
import torch
from arithmetic import gamma
from hypothesis import given, settings
from hypothesis import strategies as st
from prox_cases import (
    BACKENDS,
    EXAMPLES,
    NUMBA_DTYPES,
    close,
    from_lists,
    overlapping_groups,
    strided,
    sums_close,
    tensors,
    tiles,
    weights_for,
)

from proxmtl import kernels

WINDOWS = from_lists([list(range(k, k + 4)) for k in range(0, 9, 2)], 12)


def start(V, groups, axis):
    shape = list(V.shape)
    shape[axis] = groups.n_members
    return V.clone(), torch.zeros(shape, dtype=V.dtype)


@st.composite
def calls(draw):
    groups = draw(overlapping_groups())
    V, axis = draw(tensors(groups.n_items))
    sweeps = draw(st.integers(0, 3))
    tolerance = draw(st.sampled_from([0.0, 0.5]))
    return V, axis, groups, weights_for(draw, groups.n_groups), sweeps, tolerance


@pytest.mark.parametrize("backend", BACKENDS)
@given(call=calls())
@settings(deadline=None, max_examples=EXAMPLES)
def test_agrees_with_the_loops(backend, call):
    V, axis, groups, weights, sweeps, tolerance = call
    if backend == "numba" and V.dtype not in NUMBA_DTYPES:
        V = V.float()
    if V.dtype in (torch.float16, torch.bfloat16):
        tolerance = 0.0  # rounding decides which sweep reaches it
    options = {"step": 0.7, "axis": axis, "sweeps": sweeps, "tolerance": tolerance}
    x, xi = start(V, groups, axis)
    x, xi = strided(x, "transposed"), strided(xi, "sliced")
    gap, value = kernels.overlap_dual_sweep(
        x, xi, groups.index, weights, **options, backend=backend
    )
    x_wanted, xi_wanted = start(V.double(), groups, axis)
    gap_wanted, value_wanted = kernels.overlap_dual_sweep(
        x_wanted, xi_wanted, groups.index, weights, **options, backend="naive"
    )
    assert gap.shape == V.select(axis, 0).shape if V.shape[axis] else True
    assert gap.dtype == value.dtype == torch.float64
    size = V.abs().amax().item() if V.numel() else 0.0
    close(x, x_wanted, V.dtype, size)
    close(xi, xi_wanted, V.dtype, size)
    sums_close(gap, gap_wanted, V.dtype, 20 * size * (1 + size))
    sums_close(value, value_wanted, V.dtype, 20 * size * max(V.numel(), 1))


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
@pytest.mark.parametrize("axis", [0, 1])
def test_limit_is_the_prox(backend, axis):
    V = torch.randn(12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if backend == "triton":  # the interpreter is slow
        V = V.narrow(1 - axis, 0, 2).contiguous()
    weights = torch.tensor([0.5, 1.0, 0.0, 1.5, 0.7], dtype=torch.float64)
    x, xi = start(V, WINDOWS, axis)
    exact = 1e-13 if backend != "triton" else 1e-6
    gap, value = kernels.overlap_dual_sweep(
        x,
        xi,
        WINDOWS.index,
        weights,
        step=0.8,
        axis=axis,
        sweeps=2000,
        tolerance=exact,
        backend=backend,
    )
    assert gap.max() <= exact
    # Optimality, group by group: v - x is a sum of multipliers of norm at most t, parallel to x_g
    # where x_g isn't zero.
    rows, multipliers = (x, xi) if axis == 1 else (x.T, xi.T)
    rebuilt, total, member = rows.clone(), 0.0, 0
    # the gap is a sum of one such difference a group, none of them negative but by rounding
    sizes = sum(0.8 * w * rows[:, g].norm(dim=1) for g, w in zip(WINDOWS, weights, strict=True))
    rounding = 4 * gamma(multipliers.shape[1] + len(weights), torch.float64) * sizes
    for group, weight in zip(WINDOWS, weights, strict=True):
        block, part = rows[:, group], multipliers[:, member : member + len(group)]
        rebuilt[:, group] += part
        norms = block.norm(dim=1)
        assert (part.norm(dim=1) <= 0.8 * weight + 1e-12).all()
        assert ((0.8 * weight * norms - (block * part).sum(1)).abs() <= exact + rounding).all()
        total += weight * norms.sum()
        member += len(group)
    torch.testing.assert_close(rebuilt, V if axis == 1 else V.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(value, total)


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
def test_one_sweep_is_exact_for_a_tree_and_for_disjoint_groups(backend):
    V = torch.randn(5, 8, dtype=torch.float64)
    tree = from_lists([[0, 1], [2, 3], [0, 1, 2, 3], [4, 5, 6], list(range(8))], 8)
    x, xi = start(V, tree, 1)
    gap, _ = kernels.overlap_dual_sweep(x, xi, tree.index, 0.4, backend=backend)
    assert gap.abs().max() < 1e-12
    x, xi = start(V, tiles([3, 5]), 1)
    _, value = kernels.overlap_dual_sweep(x, xi, tiles([3, 5]).index, 0.4, backend=backend)
    wanted, wanted_value = kernels.group_shrink(V, tiles([3, 5]).index, 0.4, backend="naive")
    torch.testing.assert_close(x, wanted)
    torch.testing.assert_close(value, wanted_value)


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
def test_nan_reaches_the_gap(backend):
    V = torch.ones(2, 12)
    V[0, 5] = float("nan")
    x, xi = start(V, WINDOWS, 1)
    gap, value = kernels.overlap_dual_sweep(x, xi, WINDOWS.index, 0.1, sweeps=2, backend=backend)
    assert gap.isnan().tolist() == [True, False]
    assert value.isnan()
    assert x[0, 4:8].isnan().all()  # the groups {2..5} and {4..7} hold item 5
    assert not x[1].isnan().any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dual": torch.zeros(2, 3)}, ValueError, r"dual has shape \(2, 3\).*pass \(2, 4\)"),
        ({"dual": torch.zeros(2, 4).double()}, ValueError, "dual is torch.float64"),
        ({"weights": -1.0}, ValueError, "weights is -1.0"),
        ({"sweeps": -1}, ValueError, "sweeps is -1"),
        ({"sweeps": 1.9}, ValueError, "sweeps is 1.9; it must be a whole number"),
        ({"weights": torch.ones(2, requires_grad=True)}, ValueError, "weights requires grad"),
        ({"tolerance": float("nan")}, ValueError, "tolerance is nan"),
        ({"axis": 0}, ValueError, "names item 2 but the axis"),
        ({"X": torch.zeros(2, 3, dtype=torch.int64)}, TypeError, "X has dtype torch.int64"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    arguments = {
        "X": torch.ones(2, 3),
        "dual": torch.zeros(2, 4),
        "groups": (torch.tensor([0, 2, 4]), torch.tensor([0, 1, 1, 2])),
        "weights": 1.0,
        **change,
    }
    with pytest.raises(error, match=message):
        kernels.overlap_dual_sweep(**arguments)
