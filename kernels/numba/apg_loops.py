"""Loops of `apg_step`: a block is staged, shrunk and finished while it is in cache."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .extremes import LOW, group_factors, is_lost, member_norm, scaled_norm
from .jit import compiled, inlined
from .lanes import BLOCK, BLOCK_GROUPS, ROW, WIDEST
from .spread import FOUR, RUN, spread
from .tiles import (
    LEAD,
    copy_out,
    first_longer,
    fitting,
    group_factor,
    load_weights,
    softened,
    square_sums,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .tables import Tables

# Smallest sum of float32 squares none of which may have been lost.
_LEAST = LOW[4] ** 2


@compiled
def entry_steps(
    operands: tuple[NDArray[Any], ...],
    phases: tuple[int, int],
    constants: NDArray[Any],
    first: int,
    last: int,
) -> NDArray[np.float64]:
    """Step entries first to last, without groups."""
    staged = np.empty(BLOCK, constants.dtype)
    scale = np.empty(BLOCK, constants.dtype)
    sums = np.zeros(7)
    for start in range(first, last, BLOCK):
        size = min(BLOCK, last - start)
        stage(operands[0], operands[1], start, size, constants, staged)
        scale[:] = constants[1]
        finish(operands, phases, start, size, constants, staged, scale, sums)
    return sums


@compiled
def tile_steps(
    operands: tuple[NDArray[Any], ...],
    phases: tuple[int, int],
    constants: NDArray[Any],
    tables: Tables,
    most: int,
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    tag: tuple[int, ...],
    vector: tuple[int, ...],
    first: int,
    last: int,
) -> NDArray[np.float64]:
    """Step the (fibre, group) pairs first to last of groups that tile the fibres.

    ``most`` and ``tag`` as in `tables.Tiles`.
    """
    staged = np.empty(BLOCK + WIDEST, constants.dtype)
    scale = np.empty(BLOCK + WIDEST, constants.dtype)
    factors = np.empty(LEAD + BLOCK_GROUPS + WIDEST + LEAD, constants.dtype)
    totals = np.empty(BLOCK_GROUPS + ROW, constants.dtype)
    width = len(vector)
    table = np.empty(2 * BLOCK_GROUPS, constants.dtype)
    load_weights(weights, 0, 0, BLOCK_GROUPS, step, table)
    sums = np.zeros(7)
    bounds, bits, codes = tables.bounds, tables.bits, tables.codes
    n_groups = bounds.shape[0] - 1
    n = np.int64(bounds[n_groups])
    pair = first
    fibre = pair // n_groups
    group = pair - fibre * n_groups
    at = first_longer(tables, group)
    while pair < last:
        begin = np.int64(bounds[group])
        start = fibre * n + begin
        count = fitting(bounds, group, min(n_groups - group, last - pair, most))
        if count == 0:
            stop = fibre * n + bounds[group + 1]
            weight = weights[group * stride]
            _long_group(operands, phases, start, stop, weight, step, constants, staged, scale, sums)
            count = 1
        else:
            size = bounds[group + count] - begin
            if stride != 0:
                load_weights(weights, stride, group, count, step, table)
            stage(operands[0], operands[1], start, size, constants, staged)
            at = square_sums(staged, -begin, tables, group, count, at, totals, tag)
            given = weights, stride, step
            sums[0] += group_factors(
                staged, -begin, bounds, group, count, totals, table, given, factors, LEAD
            )
            place = LEAD
            for i in range(0, size, RUN * width):
                place += spread(scale, i, factors, place, bits, begin + i, codes, FOUR)
            finish(operands, phases, start, size, constants, staged, scale, sums)
        pair += count
        group += count
        if group == n_groups:
            group, at = 0, 0
            fibre += 1
    return sums


@compiled
def row_steps(
    operands: tuple[NDArray[Any], ...],
    phases: tuple[int, int],
    constants: NDArray[Any],
    n: int,
    bounds: NDArray[np.int64],
    members: NDArray[np.int64],
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    first: int,
    last: int,
) -> NDArray[np.float64]:
    """Step fibres first to last of memory (outer, n), for members scattered along a fibre."""
    staged = np.empty(n, constants.dtype)
    scale = np.empty(n, constants.dtype)
    factor = np.empty(1, constants.dtype)
    sums = np.zeros(7)
    for fibre in range(first, last):
        stage(operands[0], operands[1], fibre * n, n, constants, staged)
        scale[:] = constants[1]
        for group in range(bounds.shape[0] - 1):
            square = 0.0
            for j in range(bounds[group], bounds[group + 1]):
                entry = np.float64(staged[members[j]])
                square += entry * entry
            weight, norm = weights[group * stride], np.sqrt(square)
            if is_lost(norm, step * weight, weight, staged.itemsize):
                norm = member_norm(staged, members, bounds[group], bounds[group + 1])
            wide, penalty = group_factor(norm, weight, step)
            factor[0] = wide
            sums[0] += penalty
            for j in range(bounds[group], bounds[group + 1]):
                scale[members[j]] = factor[0]
        for start in range(0, n, BLOCK):
            stop = min(start + BLOCK, n)
            finish(
                operands,
                phases,
                fibre * n + start,
                stop - start,
                constants,
                staged[start:stop],
                scale[start:stop],
                sums,
            )
    return sums


@compiled
def _long_group(
    operands: tuple[NDArray[Any], ...],
    phases: tuple[int, int],
    start: int,
    stop: int,
    weight: float,
    step: float,
    constants: NDArray[Any],
    staged: NDArray[Any],
    scale: NDArray[Any],
    sums: NDArray[np.float64],
) -> None:
    """Step one group that is longer than a block: its operands are read twice."""
    squares = 0.0
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        stage(operands[0], operands[1], first, size, constants, staged)
        square = constants[0]
        for i in range(size):
            square += staged[i] * staged[i]
        squares += square
    norm = np.sqrt(squares)
    if is_lost(norm, step * weight, weight, staged.itemsize):
        whole = np.empty(stop - start)
        for first in range(start, stop, BLOCK):
            size = min(BLOCK, stop - first)
            stage(operands[0], operands[1], first, size, constants, staged)
            whole[first - start : first - start + size] = staged[:size]
        norm = scaled_norm(whole)
    factor, penalty = group_factor(norm, weight, step)
    sums[0] += penalty
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        stage(operands[0], operands[1], first, size, constants, staged)
        scale[:] = factor
        finish(operands, phases, first, size, constants, staged, scale, sums)


@inlined
def stage(
    z: NDArray[Any],
    grad: NDArray[Any],
    start: int,
    size: int,
    constants: NDArray[Any],
    staged: NDArray[Any],
) -> None:
    """Gradient step and soft threshold."""
    threshold, step = constants[2], constants[3]
    point, slope = z[start : start + size], grad[start : start + size]
    for i in range(size):
        staged[i] = softened(point[i] - step * slope[i], threshold)


@inlined
def finish(
    operands: tuple[NDArray[Any], ...],
    phases: tuple[int, int],
    start: int,
    size: int,
    constants: NDArray[Any],
    staged: NDArray[Any],
    scale: NDArray[Any],
    sums: NDArray[np.float64],
) -> None:
    """Apply the factors, extrapolate, add up, and write both results.

    The results are built in the two buffers: more arrays in one loop and the compiler gives up
    proving that they don't overlap.
    """
    z, grad, x, new, extrapolated = operands
    stop = start + size
    point, slope, last = z[start:stop], grad[start:stop], x[start:stop]
    momentum, shrink = constants[4], constants[5]
    magnitude = square = restart = change = descent = distance = constants[0]
    for i in range(size):
        entry = staged[i] * scale[i] * shrink
        moved = entry - last[i]
        from_z = entry - point[i]
        staged[i] = entry
        scale[i] = entry + momentum * moved
        magnitude += abs(entry)
        square += entry * entry
        restart -= from_z * moved
        change += moved * moved
        descent += slope[i] * from_z
        distance += from_z * from_z
    least = min(square, change, distance)
    if staged.itemsize == 4 and not (least >= _LEAST and square + change + distance < np.inf):
        _add_wide_sums(staged, point, slope, last, size, sums)
    else:
        sums[1] += magnitude
        sums[2] += square
        sums[3] += restart
        sums[4] += change
        sums[5] += descent
        sums[6] += distance
    copy_out(staged, new, start, size, phases[0])
    copy_out(scale, extrapolated, start, size, phases[1])


@compiled
def _add_wide_sums(
    new: NDArray[Any],
    point: NDArray[Any],
    slope: NDArray[Any],
    last: NDArray[Any],
    size: int,
    sums: NDArray[np.float64],
) -> None:
    """Add up a block in float64: in float32 a square has left the range, or all are zero."""
    for i in range(size):
        entry = np.float64(new[i])
        moved, from_z = entry - np.float64(last[i]), entry - np.float64(point[i])
        sums[1] += abs(entry)
        sums[2] += entry * entry
        sums[3] -= from_z * moved
        sums[4] += moved * moved
        sums[5] += np.float64(slope[i]) * from_z
        sums[6] += from_z * from_z
