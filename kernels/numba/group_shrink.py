"""Group prox on CPUs: one read, one write, no temporary as large as the tensor."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays import cpu_floats, group_weights, paired, scalar
from .extremes import mended_columns, mended_factors, shrink_factors, softened
from .jit import compiled
from .pool import cuts, run_pieces, shares

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

    from proxmtl.kernels.group_index import GroupIndex
    from proxmtl.kernels.ops.group_shrink import GroupShrinkArgs

# Groups of a fibre, and fibres side by side across memory, that are taken together: their norms and
# factors stay in the first-level cache.
_GROUPS, _WIDTH = 512, 2048


class _Plan(NamedTuple):
    """Which loop shrinks tensors of one shape, and its arguments that depend on shape and groups.

    ``parts`` are shares of the work, each a first unit and the one after its last.
    """

    loop: Callable[..., float]
    layout: tuple[Any, ...]
    parts: Sequence[tuple[int, int]]


def supports(args: GroupShrinkArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.V)


def run(args: GroupShrinkArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft-threshold every entry, then shrink every group; value of the penalty there."""
    pair = paired(args.V, args.out)
    if not pair.x.size:
        return pair.finish(), scalar(0.0)
    axis = 1 - args.axis if pair.swapped else args.axis
    loop, layout, parts = args.groups.derived(_plan, pair.target.shape, axis)
    length, members, starts, stops = layout
    groups = (starts, stops, args.groups.n_groups, *group_weights(args.weights))
    l1 = args.l1 if args.l1 > 0 else None
    operands = pair.x, pair.out, length, members, groups, args.step, l1
    value = sum(run_pieces(loop, [(*operands, *part) for part in parts]))
    return pair.finish(), scalar(value)


def _plan(groups: GroupIndex, shape: torch.Size, axis: int) -> _Plan:
    outer, n, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    # Items in no group are taken along in further groups, so that every entry is written.
    bounds, members = groups.filled(n).arrays
    starts, stops = bounds[:-1], bounds[1:]
    if inner > 1:
        units = outer * starts.size * -(-inner // _WIDTH)
        return _Plan(_shrink_across, (inner, members, starts, stops), _cut(units, math.prod(shape)))
    starts, stops, places = groups.derived(_runs, n)
    units = outer * -(-starts.size // _GROUPS)
    return _Plan(_shrink_along, (n, places, starts, stops), _cut(units, outer * n))


def _runs(
    groups: GroupIndex, n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None]:
    """Arguments of `_shrink_along`: without ``members`` where each group's are neighbours."""
    bounds, members = groups.filled(n).arrays
    starts, stops = bounds[:-1], bounds[1:]
    if groups.tiles(n):
        return starts, stops, None
    breaks = np.flatnonzero(np.diff(members) != 1) + 1
    if not np.isin(breaks, bounds).all():
        return starts, stops, members
    first = members[np.minimum(starts, members.size - 1)]
    return _read_only(first), _read_only(first + stops - starts), None


def _cut(units: int, n_entries: int) -> list[tuple[int, int]]:
    return cuts(units, min(units, shares(n_entries)))


def _read_only(array: NDArray[np.int64]) -> NDArray[np.int64]:
    """As the arrays of an index are: a loop is compiled anew for arrays that aren't."""
    array.flags.writeable = False
    return array


@compiled
def _shrink_along(
    x: NDArray[Any],
    out: NDArray[Any],
    n: int,
    members: NDArray[np.int64] | None,
    groups: Any,
    step: float,
    l1: float | None,
    first: int,
    last: int,
) -> float:
    """Shrink units first to last of memory (outer, n), `_GROUPS` groups of a fibre each.

    ``groups`` are starts, stops, n_groups, weights and the step between weights. Group g
    has the items ``members[starts[g]:stops[g]]`` or, where ``members`` is None,
    ``starts[g]`` to ``stops[g]``; those from ``n_groups`` on hold the items in no group. Where
    ``l1`` is given, entries are first soft-thresholded on their way to the result.
    """
    starts, stops, n_groups, weights, stride = groups
    sizes = np.empty(_GROUPS)
    soft = x.dtype.type(0.0 if l1 is None else step * l1)
    source = x if l1 is None else out
    value, magnitude = 0.0, 0.0
    n_all = starts.shape[0]
    n_blocks = (n_all + _GROUPS - 1) // _GROUPS
    fibre = first // n_blocks
    begin = (first - fibre * n_blocks) * _GROUPS
    for _ in range(first, last):
        count = min(_GROUPS, n_all - begin)
        base = np.uint64(fibre * n)  # unsigned: indices that may be negative cost a test each
        for k in range(count):
            square = 0.0
            for j in range(np.uint64(starts[begin + k]), np.uint64(stops[begin + k])):
                i = base + (j if members is None else np.uint64(members[j]))
                if l1 is not None:
                    out[i] = softened(x[i], soft)
                entry = np.float64(source[i])
                square += entry * entry
            sizes[k] = square
        weighted = max(0, min(count, n_groups - begin))
        part = shrink_factors(sizes, weighted, weights, stride, begin * stride, step)
        if not part < np.inf:
            items = source[fibre * n : (fibre + 1) * n]
            table = members, starts[begin:], stops[begin:]
            part = mended_factors(
                items, table, weighted, weights, stride, begin * stride, step, sizes
            )
        value += part
        for k in range(weighted, count):
            sizes[k] = 1.0
        for k in range(count):
            factor = x.dtype.type(sizes[k])
            for j in range(np.uint64(starts[begin + k]), np.uint64(stops[begin + k])):
                i = base + (j if members is None else np.uint64(members[j]))
                out[i] = source[i] * factor
                if l1 is not None:
                    magnitude += np.float64(abs(out[i]))
        begin += count
        if begin == n_all:
            fibre, begin = fibre + 1, 0
    return value if l1 is None else value + l1 * magnitude


@compiled
def _shrink_across(
    x: NDArray[Any],
    out: NDArray[Any],
    inner: int,
    members: NDArray[np.int64],
    groups: Any,
    step: float,
    l1: float | None,
    first: int,
    last: int,
) -> float:
    """Shrink units first to last of memory (outer, n, inner): a group of `_WIDTH` fibres each.

    Vector instructions run across the fibres. Otherwise as `_shrink_along`.
    """
    starts, stops, n_groups, weights, stride = groups
    sizes = np.empty(_WIDTH)
    soft = x.dtype.type(0.0 if l1 is None else step * l1)
    source = x if l1 is None else out
    value, magnitude = 0.0, 0.0
    n_all, columns = starts.shape[0], (inner + _WIDTH - 1) // _WIDTH
    n = stops[n_all - 1]
    for unit in range(first, last):
        block = unit // (n_all * columns)
        group = unit // columns - block * n_all
        left = (unit % columns) * _WIDTH
        width = np.uint64(min(_WIDTH, inner - left))
        base = block * n * inner + left
        sizes[:width] = 0.0
        for j in range(starts[group], stops[group]):
            row = np.uint64(base + members[j] * inner)
            if l1 is not None:
                for i in range(width):
                    out[row + i] = softened(x[row + i], soft)
            for i in range(width):
                entry = np.float64(source[row + i])
                sizes[i] += entry * entry
        if group < n_groups:
            part = shrink_factors(sizes, width, weights, 0, group * stride, step)
            if not part < np.inf:
                items = members[starts[group] : stops[group]]
                weight = weights[group * stride]
                part = mended_columns(source, base, inner, items, width, weight, step, sizes)
            value += part
        else:
            sizes[:width] = 1.0
        # backwards: what was read last is likeliest to be in a cache
        for j in range(stops[group] - 1, starts[group] - 1, -1):
            row = np.uint64(base + members[j] * inner)
            for i in range(width):
                out[row + i] = source[row + i] * sizes[i]
            if l1 is not None:
                for i in range(width):
                    magnitude += np.float64(abs(out[row + i]))
    return value if l1 is None else value + l1 * magnitude
