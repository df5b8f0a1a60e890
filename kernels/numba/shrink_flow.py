"""`group_shrink` where short groups tile the fibres: one read, one write, two blocks at a time.

Sums of squares of the next block are taken in one loop with the products of this block, so that
memory is read while either is computed. Products go to the result directly, in aligned vectors.
"""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .extremes import group_factors
from .jit import compiled, inlined
from .lanes import BLOCK, BLOCK_GROUPS, ROW, WIDEST, fetch_ahead, group_sums
from .shrink_long import shrink_long
from .spread import FOUR, ONE, RUN, multiply, multiply_past
from .tiles import LEAD, finish_sums, first_longer, fitting, load_weights, square_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .tables import Tables


# Entries between what is read and what memory is asked for.
_AHEAD = 2048
_ROOM = LEAD + BLOCK_GROUPS + WIDEST


@compiled
def shrink_flow(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    past: bool,
    tables: Tables,
    most: int,
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    tag: tuple[int, ...],
    vector: tuple[int, ...],
    first: int,
    last: int,
) -> float:
    """Shrink the (fibre, group) pairs first to last, counted in memory order; their penalty.

    Entry i of the result is aligned to a vector, as long as the tuple ``vector``, where
    ``i + phase`` is a multiple of its lanes; ``past`` writes past the caches; ``most`` and ``tag``
    as in `tables.Tiles`.
    """
    staged = np.empty(BLOCK + WIDEST, x.dtype)
    factors = np.empty(2 * _ROOM, x.dtype)
    totals = np.empty(BLOCK_GROUPS + ROW, x.dtype)
    table = np.empty(2 * BLOCK_GROUPS, x.dtype)
    load_weights(weights, 0, 0, BLOCK_GROUPS, step, table)
    width = len(vector)
    bounds, bits = tables.bounds, tables.bits
    n_groups = bounds.shape[0] - 1
    n = np.int64(bounds[n_groups])
    value = 0.0
    pair = first
    fibre = pair // n_groups
    group = pair - fibre * n_groups
    # This block: its factors stand at ``base`` and end at ``known``; its table begins at entry
    # ``origin``. Entries are written up to ``done``, the factor of the next one is at ``place``.
    base, known, place, origin = LEAD, LEAD, LEAD, fibre * n
    at = first_longer(tables, group)
    done = origin + np.int64(bounds[group])
    while known > base or pair < last:
        # The next block: ``count`` groups from ``start``, where this one ends.
        begin = np.int64(bounds[group])
        start = fibre * n + begin
        most_here = min(n_groups - group, last - pair, most)
        count = fitting(bounds, group, most_here) if pair < last else 0
        size = np.int64(bounds[group + count]) - begin
        # Whole vectors are read: at the end of the tensor they come from a padded copy.
        padded = start + size + len(tag) > x.shape[0]
        rows = 0 if padded else count // ROW
        bit, aligned = done - origin, done + (-(done + phase)) % width
        if bit < 0:  # in the table before
            bit, aligned = bit + n, done + width
        aligned = min(aligned, start)
        place = _one_by_one(x, out, factors, place, bits, bit, done, aligned)
        done = aligned
        vectors = (start - done) // width
        place = _both(
            x,
            out,
            past,
            (fibre * n, group, rows),
            (done, done - origin, vectors),
            tables,
            totals,
            factors,
            place,
            tag,
            vector,
        )
        done += vectors * width
        if count == 0:
            bit = done - origin
            place = _one_by_one(
                x, out, factors, place, bits, bit if bit >= 0 else bit + n, done, start
            )
            done = start
        # The next block becomes this one; groups that entries may still be in come along.
        following = _ROOM + 2 * LEAD - base
        for k in range(LEAD):
            factors[following - LEAD + k] = factors[known - LEAD + k]
        place += following - known
        base, known, origin = following, following + count, fibre * n
        if count > 0:
            if padded:
                staged[:size] = x[start : start + size]
                at = square_sums(staged, -begin, tables, group, count, at, totals, tag)
            else:
                at = finish_sums(x, fibre * n, tables, group, count, at, totals, tag)
            if stride != 0:
                load_weights(weights, stride, group, count, step, table)
            given = weights, stride, step
            value += group_factors(
                x, fibre * n, bounds, group, count, totals, table, given, factors, base
            )
        elif pair < last:
            done = fibre * n + bounds[group + 1]
            weight, how = weights[group * stride], phase if past else -1
            value += shrink_long(x, out, how, start, done, weight, step)
            count = 1
        pair, group = pair + count, group + count
        if group == n_groups:
            fibre, group, at = fibre + 1, 0, 0
    return value


@inlined
def _both(
    x: NDArray[Any],
    out: NDArray[Any],
    past: bool,
    ahead: tuple[int, int, int],
    here: tuple[int, int, int],
    tables: Tables,
    totals: NDArray[Any],
    factors: NDArray[Any],
    place: int,
    tag: tuple[int, ...],
    vector: tuple[int, ...],
) -> int:
    """Sums of the next block's groups, `ROW` at a time, and products of this block, in turns.

    ``ahead`` is where the next block's table begins, its first group and its rows; ``here`` the
    first entry to write, its bit and the number of vectors. Returns the place of the next factor.
    """
    shift, group, rows = ahead
    done, bit, left = here
    bounds, bits, masks, codes = tables.bounds, tables.bits, tables.masks, tables.codes
    width = len(vector)
    share = -(-left // (max(rows, 1) * RUN))
    for row in range(rows + 1):
        if row < rows:
            k = row * ROW
            fetch_ahead(x, shift + bounds[group + k] + _AHEAD, tag)
            group_sums(x, shift, bounds, group + k, masks, totals, k, tag)
        now = min(share, left // RUN)
        left -= now * RUN
        if past:
            for _ in range(now):
                place += multiply_past(x, done, out, done, factors, place, bits, bit, codes, FOUR)
                done += RUN * width
                bit += RUN * width
        else:
            for _ in range(now):
                place += multiply(x, done, out, done, factors, place, bits, bit, codes, FOUR)
                done += RUN * width
                bit += RUN * width
    for _ in range(left):
        if past:
            place += multiply_past(x, done, out, done, factors, place, bits, bit, codes, ONE)
        else:
            place += multiply(x, done, out, done, factors, place, bits, bit, codes, ONE)
        done += width
        bit += width
    return place


@inlined
def _one_by_one(
    x: NDArray[Any],
    out: NDArray[Any],
    factors: NDArray[Any],
    place: int,
    bits: NDArray[np.uint8],
    bit: int,
    first: int,
    last: int,
) -> int:
    """Write entries first to last, less than a vector; the place of the next one's factor."""
    for i in range(first, last):
        out[i] = x[i] * factors[place]
        place += (bits[bit >> 3] >> (bit & 7)) & 1
        bit += 1
    return place
