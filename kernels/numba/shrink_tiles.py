"""`group_shrink` where groups tile the fibres: one read, one write, in cache-sized blocks."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .jit import compiled
from .lanes import LANES
from .tiles import BLOCK, BLOCK_GROUPS, fitting, paint_groups, shrink_factors, square_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONG_SUM = 1024


@compiled
def shrink_tiles(
    x: NDArray[Any],
    out: NDArray[Any],
    same: bool,
    bounds: NDArray[np.int64],
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    l1: float,
    first: int,
    last: int,
) -> float:
    """Shrink the (fibre, group) pairs first to last, counted in memory order; their penalty.

    ``same`` says that out is x: the compiler must not be asked to find out.
    """
    scale = np.empty(BLOCK + LANES, x.dtype)
    staged = np.empty(BLOCK + LANES, x.dtype)
    factors = np.empty(BLOCK_GROUPS, x.dtype)
    thresholds = np.empty(BLOCK_GROUPS, x.dtype)
    constants = np.empty(3, x.dtype)
    constants[0], constants[1], constants[2] = 0.0, 1.0, step * l1
    n_groups = bounds.shape[0] - 1
    n = bounds[n_groups]
    value = 0.0
    pair = first
    fibre = pair // n_groups
    group = pair - fibre * n_groups
    while pair < last:
        start = fibre * n + bounds[group]
        count = fitting(bounds, group, min(n_groups - group, last - pair, BLOCK_GROUPS))
        if count == 0:
            stop = fibre * n + bounds[group + 1]
            weight = weights[group * stride]
            value += _shrink_long(x, out, start, stop, weight, step, l1, constants, staged)
            count = 1
        else:
            size = bounds[group + count] - bounds[group]
            for k in range(count):
                thresholds[k] = step * weights[(group + k) * stride]
            # Whole vectors are read: near the end of the tensor they come from a padded copy.
            if l1 > 0 or start + size + LANES > x.shape[0]:
                _stage(x, start, size, constants, staged)
                square_sums(staged, 0, bounds, group, count, factors)
            else:
                square_sums(x, start, bounds, group, count, factors)
            value += shrink_factors(factors, thresholds, weights, stride, group, count, constants)
            paint_groups(factors, bounds, group, count, scale)
            if l1 > 0:
                value += l1 * _multiply_total(staged, scale, size, constants)
                _copy(staged, out, start, size)
            elif same:
                _multiply(x, start, scale, scale, 0, size)
                _copy(scale, out, start, size)
            else:
                _multiply(x, start, scale, out, start, size)
        pair += count
        group += count
        if group == n_groups:
            group = 0
            fibre += 1
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
def _multiply(
    x: NDArray[Any], start: int, scale: NDArray[Any], out: NDArray[Any], to: int, size: int
) -> None:
    source, target = x[start : start + size], out[to : to + size]
    for i in range(size):
        target[i] = source[i] * scale[i]


@compiled
def _multiply_total(
    staged: NDArray[Any], scale: NDArray[Any], size: int, constants: NDArray[Any]
) -> float:
    """Multiply in place; the sum of magnitudes."""
    total = constants[0]
    for i in range(size):
        entry = staged[i] * scale[i]
        staged[i] = entry
        total += abs(entry)
    return float(total)


@compiled
def _copy(source: NDArray[Any], out: NDArray[Any], start: int, size: int) -> None:
    target = out[start : start + size]
    for i in range(size):
        target[i] = source[i]


@compiled
def _shrink_long(
    x: NDArray[Any],
    out: NDArray[Any],
    start: int,
    stop: int,
    weight: float,
    step: float,
    l1: float,
    constants: NDArray[Any],
    staged: NDArray[Any],
) -> float:
    """Shrink one group that is longer than a block: it is read twice."""
    zero = constants[0]
    squares, magnitudes = 0.0, 0.0
    for first in range(start, stop, _LONG_SUM):
        size = min(_LONG_SUM, stop - first)
        _stage(x, first, size, constants, staged)
        square, magnitude = zero, zero
        for i in range(size):
            square += staged[i] * staged[i]
            magnitude += abs(staged[i])
        squares += square
        magnitudes += magnitude
    norm = np.sqrt(squares)
    threshold = step * weight
    wide = 1.0 if threshold == 0.0 else 1.0 - threshold / norm
    wide = max(wide, 0.0)
    narrow = np.empty(1, x.dtype)
    narrow[0] = wide
    factor = narrow[0]
    for first in range(start, stop, _LONG_SUM):
        size = min(_LONG_SUM, stop - first)
        _stage(x, first, size, constants, staged)
        for i in range(size):
            staged[i] *= factor
        _copy(staged, out, first, size)
    value: float = weight * wide * norm
    if l1 > 0:
        value += l1 * wide * magnitudes
    return value
