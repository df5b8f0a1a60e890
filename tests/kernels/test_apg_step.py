"""apg_step: every backend against float64 loops, and against the composition it fuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prox_cases import (
    BACKENDS,
    EXAMPLES,
    NUMBA_DTYPES,
    close,
    disjoint_groups,
    from_lists,
    sums_close,
    tensors,
    tiles,
    weights_for,
)

from proxmtl import kernels


@st.composite
def calls(draw):
    groups = draw(disjoint_groups())
    Z, axis = draw(tensors(groups.n_items))
    options = {
        "step": draw(st.sampled_from([0.0, 0.3])),
        "momentum": draw(st.sampled_from([0.0, 0.9])),
        "l1": draw(st.sampled_from([0.0, 0.4])),
        "ridge": draw(st.sampled_from([0.0, 0.5])),
    }
    if not draw(st.booleans()):
        return Z, None, options
    options["axis"] = axis
    return Z, (*groups.both, weights_for(draw, groups.n_groups)), options


@pytest.mark.parametrize("backend", BACKENDS)
@given(call=calls())
@settings(deadline=None, max_examples=EXAMPLES)
def test_agrees_with_the_loops(backend, call):
    Z, groups, options = call
    if backend == "numba" and Z.dtype not in NUMBA_DTYPES:
        Z = Z.float()
    random = torch.Generator().manual_seed(3)
    grad = torch.randn(Z.shape, generator=random).to(Z.dtype)
    X = (Z + torch.randn(Z.shape, generator=random)).to(Z.dtype)
    before = Z.clone(), grad.clone(), X.clone()
    seen = kernels.apg_step(Z, grad, X, groups, **options, backend=backend)
    wide = Z.double(), grad.double(), X.double()
    wanted = kernels.apg_step(*wide, groups, **options, backend="naive")
    assert all(torch.equal(a, b) for a, b in zip((Z, grad, X), before, strict=True))
    assert seen.x.dtype == seen.z.dtype == Z.dtype
    assert (seen.sums.shape, seen.sums.dtype) == ((5,), torch.float64)
    size = 1 + max((t.abs().amax().item() for t in wide if t.numel()), default=0.0)
    close(seen.x, wanted.x, Z.dtype, 2 * size)
    close(seen.z, wanted.z, Z.dtype, 4 * size)
    # The sums are taken in accumulation precision, before the results are rounded for storage.
    sums_close(seen.sums, wanted.sums, Z.dtype, 8 * size**2 * max(Z.numel(), 1))


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
@pytest.mark.parametrize("groups", [None, tiles([3, 4]), from_lists([[6, 1], [2, 0]], 7)])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("transposed", [False, True])
def test_in_place_gives_the_same(backend, groups, axis, transposed):
    Z, grad, X = torch.randn(3, 7, 7, dtype=torch.float64).unbind()
    if transposed:
        Z, X = Z.t(), X.t()
    parts = None if groups is None else (*groups.both, 0.6)
    options = {"step": 0.5, "momentum": 0.7, "l1": 0.1, "ridge": 0.2, "axis": axis}
    fresh = kernels.apg_step(Z, grad, X, parts, **options, backend=backend)
    there = kernels.apg_step(Z, grad, X, parts, **options, out=(X, Z), backend=backend)
    assert there.x is X
    assert there.z is Z
    torch.testing.assert_close(X, fresh.x)
    torch.testing.assert_close(Z, fresh.z)
    torch.testing.assert_close(there.sums, fresh.sums)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sizes", [None, [4000], [7] * 700, [1, 4000, 99]])
def test_threads_and_blocks(backend, sizes):
    n = 5000 if sizes is None else sum(sizes)
    rows = 1 if backend == "triton" else 40
    Z, grad, X = torch.randn(3, rows, n, dtype=torch.float64).unbind()
    parts = None if sizes is None else (*tiles(sizes).both, 2.0)
    seen = kernels.apg_step(
        Z, grad, X, parts, step=0.5, momentum=0.7, l1=0.3, ridge=0.1, backend=backend
    )
    moved = Z - 0.5 * grad
    if sizes is None:
        x, value = kernels.soft_threshold(moved, 0.3, step=0.5, backend="torch")
    else:
        x, value = kernels.group_shrink(moved, *parts, step=0.5, l1=0.3, backend="torch")
    x, value = x / 1.1, value / 1.1
    torch.testing.assert_close(seen.x, x)
    torch.testing.assert_close(seen.z, x + 0.7 * (x - X))
    sums = [
        value + 0.1 * (x * x).sum(),
        ((Z - x) * (x - X)).sum(),
        ((x - X) ** 2).sum(),
        (grad * (x - Z)).sum(),
        ((x - Z) ** 2).sum(),
    ]
    torch.testing.assert_close(seen.sums, torch.stack(sums))


@pytest.mark.parametrize("shape", [(3, 30, 70), (1, 12, 2100)])
def test_threads_change_no_bit_across_memory(monkeypatch, shape):
    from proxmtl.kernels.numba import pool

    monkeypatch.setattr(pool, "WORTH_A_THREAD", 500)
    Z, grad, X = torch.randn(3, *shape).unbind()
    parts = (*from_lists([[5, 1], [], [2, 7, 8]], shape[1]).both, torch.tensor([0.5, 1.0, 2.0]))
    options = {"step": 0.5, "momentum": 0.7, "l1": 0.1, "ridge": 0.2, "axis": 1}
    seen = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            seen.append(kernels.apg_step(Z, grad, X, parts, **options, backend="numba"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
    wide = Z.double(), grad.double(), X.double()
    wanted = kernels.apg_step(*wide, parts, **options, backend="torch")
    for s, w in zip(seen[0], wanted, strict=True):
        torch.testing.assert_close(s.double(), w, rtol=5e-6, atol=5e-6)


@pytest.mark.skipif("triton" not in BACKENDS, reason="run by test_triton_interpreter")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("groups", [tiles([5, 70, 0, 1]), from_lists([list(range(69, 2, -1))], 76)])
@pytest.mark.parametrize("l1", [0.0, 0.1])
def test_triton_walks_groups_longer_than_a_program(monkeypatch, dtype, groups, l1):
    from proxmtl.kernels.triton import apg_step

    monkeypatch.setattr(apg_step, "longest_tile", lambda *_, **__: 32)
    monkeypatch.setattr(apg_step, "LONG_STEP_BLOCK", 128)
    Z, grad, X = torch.randn(3, 2, 76, dtype=dtype).unbind()
    Z[1, 30] = float("nan")
    parts = (*groups.both, torch.rand(groups.n_groups, dtype=torch.float64))
    options = {"step": 0.5, "momentum": 0.7, "l1": l1, "ridge": 0.2}
    wanted = kernels.apg_step(Z, grad, X, parts, **options, backend="naive")
    seen = kernels.apg_step(Z, grad, X, parts, **options, out=(X, Z), backend="triton")
    for s, w in zip(seen, wanted, strict=True):
        close(s, w.to(s.dtype), dtype, 200.0)


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
def test_zero_dimensions_and_nan(backend):
    step = kernels.apg_step(
        *torch.tensor([2.0, 1.0, 0.0]).unbind(), step=1.0, momentum=1.0, backend=backend
    )
    assert (step.x.item(), step.z.item(), step.sums.tolist()) == (1, 2, [0, 1, 1, -1, 1])
    Z = torch.tensor([1.0, float("nan")])
    step = kernels.apg_step(Z, Z, Z, step=0.1, momentum=0.0, l1=0.1, backend=backend)
    assert step.x.isnan().tolist() == step.z.isnan().tolist() == [False, True]
    assert step.sums.isnan().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grad": torch.ones(3)}, r"grad has shape \(3,\) but Z has \(2, 4\)"),
        ({"X": torch.ones(2, 4).double()}, "X has dtype torch.float64"),
        ({"out": (torch.ones(2, 4), torch.ones(2))}, r"out\[1\] has shape"),
        ({"step": -1.0}, "step is -1.0"),
        ({"momentum": float("nan")}, "momentum is nan"),
        ({"ridge": -0.5}, "ridge is -0.5"),
        ({"groups": (torch.tensor([0, 4]), torch.arange(4))}, "groups has 2 parts"),
        ({"groups": (torch.arange(5), torch.zeros(4).long(), 1.0)}, "the groups overlap"),
        (
            {"groups": (torch.arange(5), torch.arange(4), torch.ones(4, requires_grad=True))},
            "groups requires grad",
        ),
        ({"out": torch.ones(2, 4)}, "out is Tensor; pass a pair"),
        ({"out": (torch.ones(2, 4),)}, "out is of 1; pass a pair"),
        ({"out": (torch.ones(2, 4),) * 2}, r"out\[0\] overlaps the memory of out\[1\]"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    ones = torch.ones(2, 4)
    arguments = {"Z": ones, "grad": ones, "X": ones, "step": 1.0, "momentum": 0.0, **change}
    with pytest.raises(ValueError, match=message):
        kernels.apg_step(**arguments)
