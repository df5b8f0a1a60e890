"""Group prox on CPUs: one read, one write, no temporary as large as the tensor."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .arrays import cpu_floats, group_weights, paired, scalar
from .order import ordered
from .parts import group_parts, parts_across
from .pool import cuts, run_pieces, shares
from .shrink_flow import shrink_flow
from .shrink_gather import shrink_gathered
from .shrink_long import shrink_each, shrink_each_sparse
from .shrink_strided import shrink_strided
from .shrink_tiles import shrink_staged
from .tables import VECTORS, tiles

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from proxmtl.kernels.layout import GroupLayout
    from proxmtl.kernels.prox_args import GroupShrinkArgs

    from .arrays import Pair

    Pieces = tuple[Callable[..., float], list[tuple[Any, ...]]]


# From this mean size on, groups are taken one by one.
_LONG = 64


def supports(args: GroupShrinkArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.V)


def run(args: GroupShrinkArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft-threshold every entry, then shrink every group; value of the penalty there."""
    return _planned(args)()


def prepare(args: GroupShrinkArgs) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    """`run` on these tensors, as often as it is called."""
    V = args.V
    read_in_place = V.is_contiguous() or (V.dim() == 2 and V.t().is_contiguous())
    return _planned(args) if read_in_place else partial(run, args)


def _planned(args: GroupShrinkArgs) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    pair = paired(args.V, args.axis, args.out)
    weights, stride = group_weights(args.weights)
    numbers = (weights, stride, args.step, args.l1)
    kernel: Callable[..., float]
    calls: list[tuple[Any, ...]]
    if not pair.x.shape[0]:
        kernel, calls = shrink_gathered, []
    elif pair.inner > 1:
        kernel, calls = _strided(args, pair, numbers)
    else:
        groups = ordered(args.layout, pair.n)
        if groups is None:
            kernel, calls = _gathered(args, pair, numbers)
        else:
            numbers = *groups.weights(weights, stride), args.step, args.l1
            kernel, calls = _tiles(groups.layout, pair, numbers)

    def call() -> tuple[torch.Tensor, torch.Tensor]:
        value = float(sum(run_pieces(kernel, calls))) if calls else 0.0
        return pair.finish(), scalar(value)

    return call


def _tiles(layout: GroupLayout, pair: Pair, numbers: tuple[Any, ...]) -> Pieces:
    entries, n_pieces, l1 = pair.x.shape[0], shares(pair.x.shape[0]), numbers[3]
    arrays, phase = (pair.x, pair.out), pair.phase
    if pair.n >= _LONG * layout.n_groups:
        bounds = layout.arrays[0]
        edges = group_parts(bounds, pair.outer, n_pieces)
        if l1 > 0:
            return shrink_each_sparse, [(*arrays, phase, bounds, *numbers, *part) for part in edges]
        return shrink_each, [(*arrays, phase, bounds, *numbers[:3], *part) for part in edges]
    groups = tiles(layout, pair.outer)
    tables = groups.tables(pair.x.itemsize), groups.most
    weights = groups.weights(numbers[:2]), *numbers[1:3]
    tags = groups.tag, VECTORS[pair.x.itemsize]
    parts = groups.cuts(entries, n_pieces)
    if l1 > 0:
        operands = *arrays, phase, *tables, *weights, l1, *tags
        return shrink_staged, [(*operands, *part) for part in parts]
    operands = *arrays, pair.alignment, phase >= 0, *tables, *weights, *tags
    return shrink_flow, [(*operands, *part) for part in parts]


def _gathered(args: GroupShrinkArgs, pair: Pair, numbers: tuple[Any, ...]) -> Pieces:
    bounds, members = args.layout.arrays
    operands = pair.x, pair.out, pair.n, bounds, members, *numbers
    parts = cuts(pair.outer, min(pair.outer, shares(pair.x.shape[0])))
    return shrink_gathered, [(*operands, *part) for part in parts]


def _strided(args: GroupShrinkArgs, pair: Pair, numbers: tuple[Any, ...]) -> Pieces:
    # Items in no group are taken along in further groups.
    layout = args.layout.filled(pair.n)
    groups = *layout.arrays, args.layout.n_groups
    operands = pair.x, pair.out, pair.phase, pair.inner, *groups, *numbers
    parts = parts_across(groups[0], pair.outer, pair.inner, shares(pair.x.shape[0]))
    return shrink_strided, [(*operands, *part) for part in parts]
