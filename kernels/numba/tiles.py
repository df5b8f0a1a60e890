"""Blocks of groups that lie side by side in memory.

Rows of equal groups, rows of ragged groups and one long vector are the same thing here, a sequence
of consecutive pieces of memory. They are taken in blocks that stay in the first-level cache, and
each block in three sweeps: sums of squares, square roots and divisions eight groups at a time, and
the product with the factors, in stores of full width. What the first store of a group leaves beyond
it, the next group's overwrites; the further stores of a longer group end where it ends.
"""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .jit import compiled
from .lanes import MASKS, ROW, STREAM, more_squares, paint, row_totals, scaled, squares, stream

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
def workspace(
    like: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.uint32]]:
    """What `square_sums` needs: partial sums of each group, masks, and two lists of groups."""
    masks = np.zeros(MASKS, np.int64)
    masks[: MASKS // 2] = -1
    rows = np.empty((BLOCK_GROUPS + WIDEST) * ROW, like.dtype)
    return rows, masks, np.empty(2 * BLOCK_GROUPS, np.uint32)


@compiled
def square_sums(
    source: NDArray[Any],
    start: int,
    bounds: NDArray[np.int64],
    group: int,
    count: int,
    work: tuple[NDArray[Any], NDArray[np.int64], NDArray[np.uint32]],
    totals: NDArray[Any],
    tag: tuple[int, ...],
) -> int:
    """Sum of squares of each of ``count`` groups; may read `WIDEST` entries beyond the last.

    All groups are taken with as many lanes as ``tag`` has, then those that are longer, again and
    again: the lists of these, written without a branch, replace a loop of unpredictable length for
    each group. Returns the number of groups in the first list, which the last part of ``work``
    holds afterwards for `scale_groups` and `paint_groups`.
    """
    rows, masks, queue = work
    firsts, stops = bounds[group : group + count], bounds[group + 1 : group + count + 1]
    base = start - bounds[group]
    width = len(tag)
    here, following = queue[:BLOCK_GROUPS], queue[BLOCK_GROUPS:]
    longer = 0
    for k in range(count):
        size = stops[k] - firsts[k]
        squares(source, base + firsts[k], masks, min(size, width), rows, k, tag)
        here[longer] = k
        longer += size > width
    waiting, done = longer, width
    beyond = waiting
    while waiting:
        longer = 0
        for j in range(waiting):
            which = here[j]
            first = firsts[which] + done
            left = stops[which] - first
            more_squares(source, base + first, masks, min(left, width), rows, which, tag)
            following[longer] = which
            longer += left > width
        waiting, here = longer, following
        done += width
    for k in range(0, count, ROW):
        row_totals(rows, k, totals)
    return beyond


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
    queue: NDArray[np.uint32],
    waiting: int,
    tag: tuple[int, ...],
) -> None:
    """Write each group's factor over its members; may write `WIDEST` entries beyond the last."""
    firsts, stops = bounds[group : group + count], bounds[group + 1 : group + count + 1]
    base = bounds[group]
    width = len(tag)
    for k in range(count):
        paint(scale, firsts[k] - base, factors[k], tag)
    here, following = queue[:BLOCK_GROUPS], queue[BLOCK_GROUPS:]
    done = width
    while waiting:
        longer = 0
        for j in range(waiting):
            which = here[j]
            first, stop = firsts[which] - base, stops[which] - base
            paint(scale, min(first + done, stop - width), factors[which], tag)
            following[longer] = which
            longer += stop - first > done + width
        waiting, here = longer, following
        done += width


@compiled
def scale_groups(
    source: NDArray[Any],
    start: int,
    factors: NDArray[Any],
    bounds: NDArray[np.int64],
    group: int,
    count: int,
    result: NDArray[Any],
    queue: NDArray[np.uint32],
    waiting: int,
    tag: tuple[int, ...],
) -> None:
    """Write each group times its factor; may write `WIDEST` entries beyond the last."""
    firsts, stops = bounds[group : group + count], bounds[group + 1 : group + count + 1]
    base = bounds[group]
    width = len(tag)
    for k in range(count):
        scaled(source, start + firsts[k] - base, result, firsts[k] - base, factors[k], tag)
    here, following = queue[:BLOCK_GROUPS], queue[BLOCK_GROUPS:]
    done = width
    while waiting:
        longer = 0
        for j in range(waiting):
            which = here[j]
            first, stop = firsts[which] - base, stops[which] - base
            place = min(first + done, stop - width)
            scaled(source, start + place, result, place, factors[which], tag)
            following[longer] = which
            longer += stop - first > done + width
        waiting, here = longer, following
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
