"""Blocks of groups that lie side by side in memory.

Rows of equal groups, rows of ragged groups and one long vector are the same thing here, a sequence
of consecutive pieces of memory. They are taken in blocks that stay in the first-level cache: sums
of squares, square roots and divisions, eight groups at a time, and the product with the factors,
in whole vectors wherever groups begin.
"""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .jit import compiled
from .lanes import BLOCK, ROW, STREAM, group_sums, rest_sum, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Factors of a block are kept behind room for those of the groups just before it: a vector of
# entries may begin there.
LEAD = 8


@compiled
def fitting(bounds: NDArray[Any], group: int, most: int) -> int:
    """Number of groups from this one on, up to ``most``, that fit into a block; 0 if none does.

    Halved until it fits: a search would wait for memory at each of its steps.
    """
    count = most
    while bounds[group + count] - bounds[group] > BLOCK:
        count //= 2
    return count


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
    shift: Any,
    bounds: NDArray[Any],
    group: int,
    count: int,
    masks: NDArray[np.int64],
    queue: NDArray[np.uint32],
    totals: NDArray[Any],
    tag: tuple[int, ...],
) -> None:
    """Sum of squares of each of ``count`` groups, whose members are at ``bounds`` + ``shift``.

    May read `WIDEST` entries beyond the last. ``queue`` has room for `ROW` more than a block.
    """
    longer = 0
    for k in range(0, count // ROW * ROW, ROW):
        longer = group_sums(source, shift, bounds, group + k, masks, totals, k, queue, longer, tag)
    finish_sums(source, shift, bounds, group, count, masks, queue, longer, totals, tag)


@compiled
def finish_sums(
    source: NDArray[Any],
    shift: Any,
    bounds: NDArray[Any],
    group: int,
    count: int,
    masks: NDArray[np.int64],
    queue: NDArray[np.uint32],
    longer: int,
    totals: NDArray[Any],
    tag: tuple[int, ...],
) -> None:
    """What `group_sums` leaves: groups with more members than lanes, and the last few groups."""
    width = len(tag)
    firsts, stops = bounds[group : group + count], bounds[group + 1 : group + count + 1]
    for j in range(longer):
        k = queue[j]
        done, size = width, stops[k] - firsts[k]
        while done < size:
            totals[k] += rest_sum(source, shift + firsts[k] + done, masks, size - done, tag)
            done += width
    for k in range(count // ROW * ROW, count):
        done, size = width, stops[k] - firsts[k]
        totals[k] = rest_sum(source, shift + firsts[k], masks, size, tag)
        while done < size:
            totals[k] += rest_sum(source, shift + firsts[k] + done, masks, size - done, tag)
            done += width


@compiled
def shrink_factors(
    sums: NDArray[Any],
    table: NDArray[Any],
    count: int,
    constants: NDArray[Any],
    factors: NDArray[Any],
) -> float:
    """Factors of groups from their sums of squares; the weighted norms of the results."""
    zero, one = constants[0], constants[1]
    weights, thresholds = table[0], table[1]
    value = zero
    for k in range(count):
        norm = np.sqrt(sums[k])
        factor = one - thresholds[k] / norm
        # max keeps its first argument where a comparison is false: NaN stays.
        factor = max(factor, zero)
        factor = one if thresholds[k] == zero else factor
        factors[k] = factor
        value += weights[k] * (factor * norm)
    return float(value)


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
