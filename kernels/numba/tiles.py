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
from .lanes import LANES, masked_square_sum, paint

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 2048
BLOCK_GROUPS = 512


@compiled
def fitting(bounds: NDArray[np.int64], group: int, most: int) -> int:
    """Number of groups from this one on that fit into a block."""
    limit = bounds[group] + BLOCK
    if bounds[group + most] <= limit:
        return most
    count = 0
    while bounds[group + count + 1] <= limit:
        count += 1
    return count


@compiled
def square_sums(
    source: NDArray[Any],
    start: int,
    bounds: NDArray[np.int64],
    group: int,
    count: int,
    sums: NDArray[Any],
) -> None:
    """Sum of squares of each of ``count`` groups; may read `LANES` entries beyond the last."""
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
def shrink_factors(
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
def paint_groups(
    factors: NDArray[Any],
    bounds: NDArray[np.int64],
    group: int,
    count: int,
    scale: NDArray[Any],
) -> None:
    """Write each group's factor over its members; may write `LANES` entries beyond the last."""
    for k in range(count):
        position = bounds[group + k] - bounds[group]
        size = bounds[group + k + 1] - bounds[group + k]
        done = 0
        while done < size:
            paint(scale, position + done, factors[k])
            done += LANES
