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

from .jit import inlined
from .lanes import BLOCK, BLOCK_GROUPS, ROW, STREAM, group_sums, rest_sum, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .tables import Tables

# Factors of a block are kept behind room for those of the groups just before it: a vector of
# entries may begin there.
LEAD = 8
# In place of a weight: these items are in no group, and stay as they are.
NO_GROUP = -1.0


@inlined
def fitting(bounds: NDArray[Any], group: int, most: int) -> int:
    """Number of groups from this one on, up to ``most``, that fit into a block; 0 if none does.

    Halved until it fits: a search would wait for memory at each of its steps.
    """
    count = most
    while bounds[group + count] - bounds[group] > BLOCK:
        count //= 2
    return count


@inlined
def first_longer(tables: Tables, group: int) -> int:
    """Place in ``tables.longer`` of the first group that isn't before this one."""
    low, high = 0, tables.longer.shape[0] - 1
    while low < high:
        middle = (low + high) // 2
        if tables.longer[middle] < group:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def load_weights(
    weights: NDArray[np.float64],
    stride: int,
    group: int,
    count: int,
    step: float,
    table: NDArray[Any],
) -> None:
    """Weights and thresholds of ``count`` groups as the two halves of a table in x's dtype.

    The threshold of `NO_GROUP` is 0.
    """
    first, second = table[:BLOCK_GROUPS], table[BLOCK_GROUPS:]
    if stride == 0:
        first[:count] = weights[0]
        second[:count] = step * weights[0]
    else:
        given = weights[group : group + count]
        for k in range(count):
            first[k] = given[k]
        for k in range(count):
            second[k] = step * max(given[k], 0.0)


@inlined
def square_sums(
    source: NDArray[Any],
    shift: Any,
    tables: Tables,
    group: int,
    count: int,
    at: int,
    totals: NDArray[Any],
    tag: tuple[int, ...],
) -> int:
    """Sum of squares of each of ``count`` groups, whose members are at their bounds + ``shift``.

    May read `WIDEST` entries beyond the last. ``at`` and the result as in `finish_sums`.
    """
    for k in range(0, count // ROW * ROW, ROW):
        group_sums(source, shift, tables.bounds, group + k, tables.masks, totals, k, tag)
    return finish_sums(source, shift, tables, group, count, at, totals, tag)


@inlined
def finish_sums(
    source: NDArray[Any],
    shift: Any,
    tables: Tables,
    group: int,
    count: int,
    at: int,
    totals: NDArray[Any],
    tag: tuple[int, ...],
) -> int:
    """What `group_sums` leaves: groups with more members than lanes, and the last few groups.

    ``at`` is the place in ``tables.longer`` where they begin, or where groups before them that were
    taken otherwise do; returns the place for the groups that follow.
    """
    width = len(tag)
    masks, longer = tables.masks, tables.longer
    firsts, stops = tables.bounds[group : group + count], tables.bounds[group + 1 :]
    for k in range(count // ROW * ROW, count):
        totals[k] = rest_sum(source, shift + firsts[k], masks, stops[k] - firsts[k], tag)
    while longer[at] < group:
        at += 1
    while longer[at] < group + count:
        place = np.uint64(longer[at] - group)
        done, size = width, stops[place] - firsts[place]
        while done < size:
            rest = rest_sum(source, shift + firsts[place] + done, masks, size - done, tag)
            totals[place] += rest
            done += width
        at += 1
    return at


@inlined
def softened(entry: Any, threshold: Any) -> Any:
    """An entry after a soft threshold; NaN stays."""
    return entry - min(max(entry, -threshold), threshold)


@inlined
def group_factor(norm: float, weight: float, step: float) -> tuple[float, float]:
    """What a group of this norm is multiplied by, and its weighted norm then.

    A negative weight is `NO_GROUP`.
    """
    if weight < 0.0:
        return 1.0, 0.0
    factor = 1.0 if step * weight == 0.0 else 1.0 - step * weight / norm
    # max keeps its first argument where a comparison is false: NaN stays.
    factor = max(factor, 0.0)
    return factor, weight * (factor * norm)


@inlined
def aligned(start: int, stop: int, phase: int) -> int:
    """First entry that streaming stores may write, where ``phase`` isn't negative."""
    return min(start + (-(start + phase)) % STREAM, stop) if phase >= 0 else start


@inlined
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
