"""What the GPU launchers hand to a kernel: grids within the chip's limits, tables that live on.

Nothing is launched: the kernels are replaced, and tensors without memory stand for large ones.
"""

import gc
import weakref

import pytest
import torch
from hinge_cases import random_call
from prox_cases import tiles

pytest.importorskip("triton")
from proxmtl.kernels import capture
from proxmtl.kernels.chunks import split
from proxmtl.kernels.ops import hinge_args
from proxmtl.kernels.ops.group_shrink import bind as bind_group_shrink
from proxmtl.kernels.triton import group_shrink, hinge

LIMITS = (2**31 - 1, 65535, 65535)  # programs on each axis of a grid


class Recorder:
    """A kernel that notes its grids."""

    def __init__(self):
        self.grids = []

    def __getitem__(self, grid):
        self.grids.append(grid)
        return lambda *_, **__: None


def replaced(monkeypatch, module, name):
    kernel = Recorder()
    monkeypatch.setattr(module, name, kernel)
    return kernel


def fits(grid):
    return all(0 < programs <= limit for programs, limit in zip(grid, LIMITS, strict=False))


@pytest.mark.parametrize(
    ("shape", "axis", "sizes", "programs"),
    [
        ((2, 4, 9_000_000), 1, [1, 3], 4 * 70313),
        ((70_000, 256), 0, [1] * 70_000, 70_000 * 2),
        ((3, 20_000), 1, [1, 19_999], 3 * 2),
    ],
)
def test_grids_of_groups_across_memory(monkeypatch, shape, axis, sizes, programs):
    kernel = replaced(monkeypatch, group_shrink, "shrink_across_kernel")
    V = torch.empty(shape, device="meta")
    groups = tiles(sizes)
    group_shrink.run(bind_group_shrink(V, groups.index, 1.0, axis=axis))
    assert kernel.grids == [(programs,)]
    assert fits(kernel.grids[0])


def test_grids_of_many_samples(monkeypatch):
    kernel = replaced(monkeypatch, hinge, "epilogue_kernel")
    n = 70_000_000
    X, W, Y = (torch.empty(shape, device="meta") for shape in [(n, 1), (1, 3), (n, 3)])
    hinge.run(hinge_args.bind(X, W, Y))
    assert kernel.grids == [(3 * 68360,)]
    assert fits(kernel.grids[0])


def test_grids_of_many_features(monkeypatch):
    rows = replaced(monkeypatch, hinge, "wide_kernel")
    reduction = replaced(monkeypatch, hinge, "reduce_kernel")
    d = 40_000_000
    X, W, Y = (torch.empty(shape, device="meta") for shape in [(1, 1, d), (d, 1), (1, 1)])
    hinge.run(hinge_args.bind(X, W, Y))
    assert rows.grids == [(1,)]
    assert reduction.grids == [(78125,)]
    assert fits(reduction.grids[0])


def spied_tables(monkeypatch):
    made = []
    original = hinge._device_tables

    def spy(*key):
        tables = original(*key)
        made.extend(map(weakref.ref, tables))
        return tables

    monkeypatch.setattr(hinge, "_device_tables", spy)
    return made, original


def forget(tables):
    """As calls of enough other shapes would."""
    tables.cache_clear()
    split.cache_clear()  # on the CPU, a copy for the device is no copy
    gc.collect()


def test_tables_of_a_captured_call_are_never_freed(monkeypatch):
    monkeypatch.setattr(capture, "_kept", {})
    groups = tiles([3, 2]).index
    tables = [weakref.ref(t) for t in groups.on(torch.device("cpu"))]
    owners = weakref.ref(groups.owners(5, torch.device("cpu")))
    made, cached = spied_tables(monkeypatch)
    replaced(monkeypatch, hinge, "rows_kernel")
    replaced(monkeypatch, hinge, "reduce_kernel")
    with monkeypatch.context() as capturing:
        capturing.setattr(capture, "capturing", lambda _: True)
        groups.on(torch.device("cpu"))
        groups.owners(5, torch.device("cpu"))
        hinge.run(hinge_args.bind(**random_call("dense", [7, 7], 16)))
    del groups
    forget(cached)
    assert all(table() is not None for table in (*tables, owners, *made))
    capture._kept.clear()
    gc.collect()
    assert all(table() is None for table in (*tables, owners, *made))
