"""`group_shrink` after a soft threshold, where groups tile the fibres: in cache-sized blocks."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .extremes import group_factors, magnitude
from .jit import compiled, inlined
from .lanes import BLOCK, BLOCK_GROUPS, ROW, WIDEST
from .shrink_long import shrink_sparse, soft_staged
from .spread import FOUR, RUN, multiply
from .tiles import LEAD, copy_out, first_longer, fitting, load_weights, square_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .tables import Tables


@compiled
def shrink_staged(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    tables: Tables,
    most: int,
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    l1: float,
    tag: tuple[int, ...],
    vector: tuple[int, ...],
    first: int,
    last: int,
) -> float:
    """Shrink the (fibre, group) pairs first to last, counted in memory order; their penalty.

    ``phase`` as in `copy_out`; ``most`` and ``tag`` as in `tables.Tiles`.
    """
    buffer = np.empty(BLOCK + WIDEST, x.dtype)
    staged = np.empty(BLOCK + WIDEST, x.dtype)
    factors = np.empty(LEAD + BLOCK_GROUPS + WIDEST + LEAD, x.dtype)
    totals = np.empty(BLOCK_GROUPS + ROW, x.dtype)
    table = np.empty(2 * BLOCK_GROUPS, x.dtype)
    constants = np.empty(3, x.dtype)
    constants[0], constants[1], constants[2] = 0.0, 1.0, step * l1
    load_weights(weights, 0, 0, BLOCK_GROUPS, step, table)
    width = len(vector)
    bounds, bits, codes = tables.bounds, tables.bits, tables.codes
    n_groups = bounds.shape[0] - 1
    n = np.int64(bounds[n_groups])
    value = 0.0
    pair = first
    fibre = pair // n_groups
    group = pair - fibre * n_groups
    at = first_longer(tables, group)
    while pair < last:
        begin = np.int64(bounds[group])
        start = fibre * n + begin
        count = fitting(bounds, group, min(n_groups - group, last - pair, most))
        if count == 0:
            stop = fibre * n + bounds[group + 1]
            weight = weights[group * stride]
            value += shrink_sparse(x, out, phase, start, stop, weight, step, l1, constants, staged)
            count = 1
        else:
            size = bounds[group + count] - begin
            if stride != 0:
                load_weights(weights, stride, group, count, step, table)
            soft_staged(x, start, size, constants, staged)
            at = square_sums(staged, -begin, tables, group, count, at, totals, tag)
            given = weights, stride, step
            value += group_factors(
                staged, -begin, bounds, group, count, totals, table, given, factors, LEAD
            )
            place = LEAD
            for i in range(0, size, RUN * width):
                bit = begin + i
                place += multiply(staged, i, buffer, i, factors, place, bits, bit, codes, FOUR)
            value += l1 * _magnitude(buffer, size, constants)
            copy_out(buffer, out, start, size, phase)
        pair += count
        group += count
        if group == n_groups:
            group, at = 0, 0
            fibre += 1
    return value


@inlined
def _magnitude(buffer: NDArray[Any], size: int, constants: NDArray[Any]) -> float:
    total = constants[0]
    for i in range(size):
        total += abs(buffer[i])
    return float(total) if total < np.inf else magnitude(buffer, None, 0, size)
