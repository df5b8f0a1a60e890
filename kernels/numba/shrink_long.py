"""`group_shrink` of contiguous groups that are worth a loop each."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .jit import compiled
from .lanes import BLOCK
from .tiles import copy_out

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def shrink_each(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    bounds: NDArray[np.int64],
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    l1: float,
    first: int,
    last: int,
) -> float:
    """Shrink the (fibre, group) pairs first to last, counted in memory order; their penalty.

    ``phase`` as in `copy_out`.
    """
    staged = np.empty(BLOCK, x.dtype)
    constants = np.empty(3, x.dtype)
    constants[0], constants[1], constants[2] = 0.0, 1.0, step * l1
    n_groups = bounds.shape[0] - 1
    n = bounds[n_groups]
    value = 0.0
    for pair in range(first, last):
        fibre = pair // n_groups
        group = pair - fibre * n_groups
        start, stop = fibre * n + bounds[group], fibre * n + bounds[group + 1]
        weight = weights[group * stride]
        value += shrink_long(x, out, phase, start, stop, weight, step, l1, constants, staged)
    return value


@compiled
def soft_staged(
    x: NDArray[Any], start: int, size: int, constants: NDArray[Any], staged: NDArray[Any]
) -> None:
    """Copy a block, soft-thresholded."""
    threshold = constants[2]
    source = x[start : start + size]
    for i in range(size):
        staged[i] = source[i] - min(max(source[i], -threshold), threshold)


@compiled
def shrink_long(
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
            soft_staged(x, first, size, constants, staged)
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
            soft_staged(x, first, size, constants, staged)
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
