"""Groups that lie side by side in memory: the case that runs at the speed of memory.

Rows of equal groups, rows of ragged groups and one long vector are the same thing here, a sequence
of consecutive pieces of memory. They are taken in blocks that stay in the first-level cache, and
each block in three sweeps: sums of squares group by group, square roots and divisions eight groups
at a time, and the product with the factors, which were first painted over a buffer with stores of
full width: what a store leaves beyond its group, the next group's store overwrites.
"""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .jit import compiled
from .lanes import LANES, masked_square_sum, paint

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 2048
_BLOCK_GROUPS = 512
_LONG_SUM = 1024


@compiled
def shrink_tiles(
    x: NDArray[Any],
    out: NDArray[Any],
    bounds: NDArray[np.int64],
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    l1: float,
    first: int,
    last: int,
) -> float:
    """Shrink the (fibre, group) pairs first to last, counted in memory order; their penalty."""
    scale = np.empty(_BLOCK + LANES, x.dtype)
    staged = np.empty(_BLOCK + LANES, x.dtype)
    factors = np.empty(_BLOCK_GROUPS, x.dtype)
    thresholds = np.empty(_BLOCK_GROUPS, x.dtype)
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
        count = _fitting(bounds, group, min(n_groups - group, last - pair, _BLOCK_GROUPS))
        if count == 0:
            stop = fibre * n + bounds[group + 1]
            weight = weights[group * stride]
            value += _shrink_long(x, out, start, stop, weight, step, l1, constants)
            count = 1
        else:
            size = bounds[group + count] - bounds[group]
            for k in range(count):
                thresholds[k] = step * weights[(group + k) * stride]
            # Whole vectors are read: near the end of the tensor they come from a padded copy.
            if l1 > 0 or start + size + LANES > x.shape[0]:
                _stage(x, start, size, constants, staged)
                _square_sums(staged, 0, bounds, group, count, factors)
            else:
                _square_sums(x, start, bounds, group, count, factors)
            value += _factors(factors, thresholds, weights, stride, group, count, constants)
            _paint_groups(factors, bounds, group, count, scale)
            if l1 > 0:
                value += l1 * _multiply_total(staged, scale, out, start, size, constants)
            else:
                _multiply(x, scale, out, start, size)
        pair += count
        group += count
        if group == n_groups:
            group = 0
            fibre += 1
    return value


@compiled
def _fitting(bounds: NDArray[np.int64], group: int, most: int) -> int:
    """Number of groups from this one on that fit into a block."""
    limit = bounds[group] + _BLOCK
    if bounds[group + most] <= limit:
        return most
    count = 0
    while bounds[group + count + 1] <= limit:
        count += 1
    return count


@compiled
def _stage(
    x: NDArray[Any], start: int, size: int, constants: NDArray[Any], staged: NDArray[Any]
) -> None:
    threshold = constants[2]
    source = x[start : start + size]
    for i in range(size):
        staged[i] = source[i] - min(max(source[i], -threshold), threshold)


@compiled
def _square_sums(
    source: NDArray[Any],
    start: int,
    bounds: NDArray[np.int64],
    group: int,
    count: int,
    sums: NDArray[Any],
) -> None:
    base = start - bounds[group]
    for k in range(count):
        position = base + bounds[group + k]
        size = bounds[group + k + 1] - bounds[group + k]
        total = masked_square_sum(source, position, size)
        done = LANES
        while done < size:
            total += masked_square_sum(source, position + done, size - done)
            done += LANES
        sums[k] = total


@compiled
def _factors(
    sums: NDArray[Any],
    thresholds: NDArray[Any],
    weights: NDArray[np.float64],
    stride: int,
    group: int,
    count: int,
    constants: NDArray[Any],
) -> float:
    """Turn sums of squares into factors, in place; the weighted norms of the results."""
    zero, one = constants[0], constants[1]
    value = 0.0
    for k in range(count):
        norm = np.sqrt(sums[k])
        factor = one - thresholds[k] / norm
        # Comparisons with NaN are false: NaN stays.
        factor = max(factor, zero)
        factor = one if thresholds[k] == zero else factor
        sums[k] = factor
        value += weights[(group + k) * stride] * (factor * norm)
    return value


@compiled
def _paint_groups(
    factors: NDArray[Any],
    bounds: NDArray[np.int64],
    group: int,
    count: int,
    scale: NDArray[Any],
) -> None:
    for k in range(count):
        position = bounds[group + k] - bounds[group]
        size = bounds[group + k + 1] - bounds[group + k]
        done = 0
        while done < size:
            paint(scale, position + done, factors[k])
            done += LANES


@compiled
def _multiply(
    x: NDArray[Any], scale: NDArray[Any], out: NDArray[Any], start: int, size: int
) -> None:
    source, target = x[start : start + size], out[start : start + size]
    for i in range(size):
        target[i] = source[i] * scale[i]


@compiled
def _multiply_total(
    staged: NDArray[Any],
    scale: NDArray[Any],
    out: NDArray[Any],
    start: int,
    size: int,
    constants: NDArray[Any],
) -> float:
    target = out[start : start + size]
    total = constants[0]
    for i in range(size):
        entry = staged[i] * scale[i]
        target[i] = entry
        total += abs(entry)
    return float(total)


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
) -> float:
    """Shrink one group that is longer than a block: it is read twice."""
    zero, soft = constants[0], constants[2]
    squares, magnitudes = 0.0, 0.0
    for first in range(start, stop, _LONG_SUM):
        piece = x[first : min(first + _LONG_SUM, stop)]
        square, magnitude = zero, zero
        for i in range(piece.shape[0]):
            entry = piece[i] - min(max(piece[i], -soft), soft)
            square += entry * entry
            magnitude += abs(entry)
        squares += square
        magnitudes += magnitude
    norm = np.sqrt(squares)
    threshold = step * weight
    wide = 1.0 if threshold == 0.0 else 1.0 - threshold / norm
    wide = max(wide, 0.0)
    narrow = np.empty(1, x.dtype)
    narrow[0] = wide
    factor = narrow[0]
    for i in range(start, stop):
        out[i] = (x[i] - min(max(x[i], -soft), soft)) * factor
    value: float = weight * wide * norm
    if l1 > 0:
        value += l1 * wide * magnitudes
    return value
