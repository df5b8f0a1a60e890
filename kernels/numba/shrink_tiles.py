"""`group_shrink` where groups tile the fibres: one read, one write, in cache-sized blocks."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .jit import compiled
from .lanes import scaled, square_sum
from .tiles import (
    BLOCK,
    BLOCK_GROUPS,
    WIDEST,
    copy_out,
    fitting,
    load_weights,
    scale_groups,
    shrink_factors,
    square_sums,
    workspace,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def shrink_tiles(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    bounds: NDArray[np.int64],
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    l1: float,
    long: bool,
    tag: tuple[int, ...],
    first: int,
    last: int,
) -> float:
    """Shrink the (fibre, group) pairs first to last, counted in memory order; their penalty.

    ``phase`` as in `copy_out`; ``long`` takes every group by itself; ``tag`` are the lanes for
    groups that are taken together.
    """
    buffer = np.empty(BLOCK + WIDEST, x.dtype)
    staged = np.empty(BLOCK + WIDEST, x.dtype)
    factors = np.empty(BLOCK_GROUPS + WIDEST, x.dtype)
    work = workspace(factors)
    table = np.empty((2, BLOCK_GROUPS), x.dtype)
    constants = np.empty(3, x.dtype)
    constants[0], constants[1], constants[2] = 0.0, 1.0, step * l1
    if stride == 0:
        load_weights(weights, 0, 0, BLOCK_GROUPS, step, table)
    n_groups = bounds.shape[0] - 1
    n = bounds[n_groups]
    value = 0.0
    pair = first
    fibre = pair // n_groups
    group = pair - fibre * n_groups
    while pair < last:
        start = fibre * n + bounds[group]
        count = fitting(bounds, group, min(n_groups - group, last - pair, BLOCK_GROUPS))
        if long or count == 0:
            stop = fibre * n + bounds[group + 1]
            weight = weights[group * stride]
            value += _shrink_long(x, out, phase, start, stop, weight, step, l1, constants, staged)
            count = 1
        else:
            size = bounds[group + count] - bounds[group]
            if stride != 0:
                load_weights(weights, stride, group, count, step, table)
            # Whole vectors are read: near the end of the tensor they come from a padded copy.
            source, place = x, start
            if l1 > 0 or start + size + WIDEST > x.shape[0]:
                _stage(x, start, size, constants, staged)
                source, place = staged, 0
            longer = square_sums(source, place, bounds, group, count, work, factors, tag)
            value += shrink_factors(factors, table, count, constants)
            scale_groups(source, place, factors, bounds, group, count, buffer, work[2], longer, tag)
            if l1 > 0:
                value += l1 * _magnitude(buffer, size, constants)
            copy_out(buffer, out, start, size, phase)
        pair += count
        group += count
        if group == n_groups:
            group = 0
            fibre += 1
    return value


@compiled
def shrink_equal(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    n_groups: int,
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    tag: tuple[int, ...],
    first: int,
    last: int,
) -> float:
    """Shrink pairs first to last of groups whose size, ``len(tag)``, is known when compiling."""
    width = len(tag)
    buffer = np.empty(BLOCK + WIDEST, x.dtype)
    factors = np.empty(BLOCK_GROUPS, x.dtype)
    table = np.empty((2, BLOCK_GROUPS), x.dtype)
    constants = np.empty(2, x.dtype)
    constants[0], constants[1] = 0.0, 1.0
    if stride == 0:
        load_weights(weights, 0, 0, BLOCK_GROUPS, step, table)
    most = min(BLOCK // width, BLOCK_GROUPS)
    value = 0.0
    pair = first
    while pair < last:
        group = pair % n_groups
        count = min(most, last - pair)
        if stride != 0:
            count = min(count, n_groups - group)
            load_weights(weights, stride, group, count, step, table)
        start = pair * width
        for k in range(count):
            factors[k] = square_sum(x, start + k * width, tag)
        value += shrink_factors(factors, table, count, constants)
        for k in range(count):
            scaled(x, start + k * width, buffer, k * width, factors[k], tag)
        copy_out(buffer, out, start, count * width, phase)
        pair += count
    return value


@compiled
def _stage(
    x: NDArray[Any], start: int, size: int, constants: NDArray[Any], staged: NDArray[Any]
) -> None:
    threshold = constants[2]
    source = x[start : start + size]
    for i in range(size):
        staged[i] = source[i] - min(max(source[i], -threshold), threshold)


@compiled
def _magnitude(buffer: NDArray[Any], size: int, constants: NDArray[Any]) -> float:
    total = constants[0]
    for i in range(size):
        total += abs(buffer[i])
    return float(total)


@compiled
def _shrink_long(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    start: int,
    stop: int,
    weight: float,
    step: float,
    l1: float,
    constants: NDArray[Any],
    staged: NDArray[Any],
) -> float:
    """Shrink one group by itself; the second look at it comes from cache if it fits there."""
    zero = constants[0]
    squares, magnitudes = 0.0, 0.0
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        square, magnitude = zero, zero
        if l1 > 0:
            _stage(x, first, size, constants, staged)
            for i in range(size):
                square += staged[i] * staged[i]
                magnitude += abs(staged[i])
        else:
            source = x[first : first + size]
            for i in range(size):
                square += source[i] * source[i]
        squares += square
        magnitudes += magnitude
    norm = np.sqrt(squares)
    threshold = step * weight
    wide = 1.0 if threshold == 0.0 else 1.0 - threshold / norm
    wide = max(wide, 0.0)
    narrow = np.empty(1, x.dtype)
    narrow[0] = wide
    factor = narrow[0]
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        if l1 > 0:
            _stage(x, first, size, constants, staged)
            for i in range(size):
                staged[i] *= factor
        else:
            source = x[first : first + size]
            for i in range(size):
                staged[i] = source[i] * factor
        copy_out(staged, out, first, size, phase)
    value: float = weight * wide * norm
    if l1 > 0:
        value += l1 * wide * magnitudes
    return value
