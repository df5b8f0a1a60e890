"""Blocks of groups that lie side by side in memory.

Rows of equal groups, rows of ragged groups and one long vector are the same thing here, a sequence
of consecutive pieces of memory. They are taken in blocks that stay in the first-level cache, and
each block in three sweeps: sums of squares group by group, square roots and divisions eight groups
at a time, and a product with the factors, which were first painted over a buffer with stores of
full width: what a store leaves beyond its group, the next group's store overwrites.
"""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .jit import compiled
from .lanes import STREAM, masked_square_sum, paint, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 2048
BLOCK_GROUPS = 512
WIDEST = 32  # lanes of the masked primitives, at most


@compiled
def fitting(bounds: NDArray[np.int64], group: int, most: int) -> int:
    """Number of groups from this one on that fit into a block."""
    limit = bounds[group] + BLOCK
    if bounds[group + most] <= limit:
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        if bounds[group + middle] <= limit:
            low = middle
        else:
            high = middle
    return low


@compiled
def load_weights(
    weights: NDArray[np.float64],
    stride: int,
    group: int,
    count: int,
    step: float,
    table: NDArray[Any],
) -> None:
    """Weights and thresholds of ``count`` groups as the two rows of a table in x's dtype."""
    if stride == 0:
        table[0, :count] = weights[0]
        table[1, :count] = step * weights[0]
    else:
        given = weights[group : group + count]
        for k in range(count):
            table[0, k] = given[k]
        for k in range(count):
            table[1, k] = step * given[k]


@compiled
def square_sums(
    source: NDArray[Any],
    start: int,
    bounds: NDArray[np.int64],
    group: int,
    count: int,
    sums: NDArray[Any],
    tag: tuple[int, ...],
) -> None:
    """Sum of squares of each of ``count`` groups; may read `WIDEST` entries beyond the last."""
    base = start - bounds[group]
    width = len(tag)
    for k in range(count):
        position = base + bounds[group + k]
        size = bounds[group + k + 1] - bounds[group + k]
        total = masked_square_sum(source, position, size, tag)
        done = width
        while done < size:
            total += masked_square_sum(source, position + done, size - done, tag)
            done += width
        sums[k] = total


@compiled
def shrink_factors(
    sums: NDArray[Any], table: NDArray[Any], count: int, constants: NDArray[Any]
) -> float:
    """Turn sums of squares into factors, in place; the weighted norms of the results."""
    zero, one = constants[0], constants[1]
    weights, thresholds = table[0], table[1]
    value = zero
    for k in range(count):
        norm = np.sqrt(sums[k])
        factor = one - thresholds[k] / norm
        # max keeps its first argument where a comparison is false: NaN stays.
        factor = max(factor, zero)
        factor = one if thresholds[k] == zero else factor
        sums[k] = factor
        value += weights[k] * (factor * norm)
    return float(value)


@compiled
def paint_groups(
    factors: NDArray[Any],
    bounds: NDArray[np.int64],
    group: int,
    count: int,
    scale: NDArray[Any],
    tag: tuple[int, ...],
) -> None:
    """Write each group's factor over its members; may write `WIDEST` entries beyond the last."""
    width = len(tag)
    for k in range(count):
        position = bounds[group + k] - bounds[group]
        size = bounds[group + k + 1] - bounds[group + k]
        paint(scale, position, factors[k], tag)
        done = width
        while done < size:
            paint(scale, position + done, factors[k], tag)
            done += width


@compiled
def copy_out(buffer: NDArray[Any], out: NDArray[Any], start: int, size: int, phase: int) -> None:
    """Write a block to the result; past the caches when ``phase`` isn't negative.

    ``phase`` is where the result's memory stands, in entries, within a streaming store's alignment.
    """
    if phase < 0:
        target = out[start : start + size]
        for i in range(size):
            target[i] = buffer[i]
        return
    done = min(-(start + phase) % STREAM, size)
    for i in range(done):
        out[start + i] = buffer[i]
    while done + STREAM <= size:
        stream(buffer, done, out, start + done)
        done += STREAM
    for i in range(done, size):
        out[start + i] = buffer[i]
