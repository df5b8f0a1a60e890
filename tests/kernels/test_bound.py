"""Bound calls: what a fresh call gives, on what the tensors hold at the time."""

import pytest
import torch
from prox_cases import from_lists, tiles

from proxmtl import kernels

GROUPS = [tiles([5, 1, 0, 6]), from_lists([[3, 0], [1, 4, 11]], 12), tiles([12])]


@pytest.mark.parametrize("backend", ["naive", "torch", "numba"])
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("stride", [1, 2])
def test_group_shrink_sees_new_entries_and_new_steps(backend, groups, axis, stride):
    V = torch.randn(12, 12 * stride, dtype=torch.float64)[:, ::stride]
    out = torch.full_like(V, float("nan"))
    weights = torch.rand(groups.n_groups, dtype=torch.float64)
    options = {"l1": 0.1, "axis": axis, "backend": backend}
    call = kernels.bind("group_shrink", V, *groups.both, weights, step=0.5, out=out, **options)
    assert call.backend == backend
    for step in (None, 0.5, 2.0, 0.0):
        V.copy_(torch.randn(12, 12))
        seen, value = call(step)
        wanted, penalty = kernels.group_shrink(
            V, *groups.both, weights, step=0.5 if step is None else step, **options
        )
        assert seen is out
        assert torch.equal(seen, wanted)
        assert value == penalty


def test_in_place_and_other_operations():
    V = torch.randn(40, 7)
    call = kernels.bind("soft_threshold", V, 0.1, out=V)
    before = V.clone()
    call()
    call(step=2.0)
    torch.testing.assert_close(V, kernels.soft_threshold(before, 0.3)[0])
    X, W, Y = torch.randn(2, 9, 4), torch.randn(4, 2), torch.randn(2, 9).sign()
    hinge = kernels.bind("hinge_value_and_grad", X, W, Y)
    X.mul_(2)
    torch.testing.assert_close(hinge().grad, kernels.hinge_value_and_grad(X, W, Y).grad)
    with pytest.raises(ValueError, match="this operation has none"):
        hinge(step=1.0)


@pytest.mark.parametrize("kind", ["one row", "many fibres", "fibres longer than a block"])
@pytest.mark.parametrize("each", [False, True])
def test_groups_of_several_fibres_fill_a_block(kind, each):
    rows, sizes = {
        "one row": (1, [3, 0, 17, 40]),
        "many fibres": (701, [11, 6, 4, 2]),
        "fibres longer than a block": (9, [7] * 300 + [33, 1, 19] * 40),
    }[kind]
    groups = tiles(sizes)
    V = torch.randn(rows, groups.n_items, dtype=torch.float64)
    weights = torch.rand(len(sizes), dtype=torch.float64) if each else 0.7
    seen, value = kernels.group_shrink(V, *groups.both, weights, step=2.0, backend="numba")
    wanted, penalty = kernels.group_shrink(V, *groups.both, weights, step=2.0, backend="torch")
    torch.testing.assert_close(seen, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(value, penalty)


def test_bad_calls_are_refused():
    groups = tiles([2, 3])
    V = torch.ones(4, 5)
    with pytest.raises(ValueError, match="operation 'shrink' doesn't exist"):
        kernels.bind("shrink", V)
    with pytest.raises(ValueError, match="requires grad"):
        kernels.bind("group_shrink", V.clone().requires_grad_(), *groups.both, 1.0)
    X = [torch.ones(3, 2, requires_grad=True)]
    with pytest.raises(ValueError, match="requires grad"):
        kernels.bind("hinge_value_and_grad", X, torch.ones(2, 1), [torch.ones(3)])
    call = kernels.bind("group_shrink", V, *groups.both, 1.0)
    with pytest.raises(ValueError, match=r"step is -1\.0"):
        call(step=-1.0)
    with pytest.raises(kernels.BackendError, match="It serves CUDA tensors"):
        kernels.bind("group_shrink", V, *groups.both, 1.0, backend="triton")


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_other_memory_is_refused(backend):
    V, out = torch.randn(3, 8), torch.empty(3, 8)
    call = kernels.bind("group_shrink", V, *tiles([5, 3]).both, 0.1, out=out, backend=backend)
    call()
    V.data = torch.randn(3, 8)
    with pytest.raises(ValueError, match="bind again"):
        call()
