"""`group_shrink` of contiguous groups that are worth a loop each."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .extremes import magnitude, norm_of_run
from .jit import compiled, inlined
from .lanes import BLOCK, STREAM, stream
from .runs import scale_run, scale_run_past, square_run
from .tiles import aligned, copy_out, group_factor, softened

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
    first: int,
    last: int,
) -> float:
    """Shrink the (fibre, group) pairs first to last, counted in memory order; their penalty.

    ``phase`` as in `copy_out`. Squares of the next group are added up in one loop with the products
    of this one, so that memory is read all the time. Entries that fill no vector of a group are
    held in ``edge`` and written with their neighbours' as one: a few by themselves, and the rest of
    their cache line past the caches, would wait for each other.
    """
    factor, edge, zero = np.empty(1, x.dtype), np.empty(STREAM, x.dtype), np.zeros(1, x.dtype)
    value, held = 0.0, 0
    start, stop = _span(bounds, first)
    squares = _squares(x, start, stop)
    for pair in range(first, last):
        weight = weights[pair % (bounds.shape[0] - 1) * stride]
        norm = norm_of_run(squares, step * weight, weight, x, start, stop, zero[0])
        wide, penalty = group_factor(norm, weight, step)
        factor[0] = wide
        value += penalty
        following, end = _span(bounds, pair + 1) if pair + 1 < last else (stop, stop)
        done, ahead, squares = aligned(start, stop, phase), following, 0.0
        for i in range(start, done):
            edge[(i + phase) % STREAM] = x[i] * factor[0]
        held += done - start
        if held > 0 and (done + phase) % STREAM == 0:
            if held == STREAM:
                stream(edge, 0, out, done - STREAM)
            else:  # another thread's before it
                for k in range(STREAM - held, STREAM):
                    out[done - STREAM + k] = edge[k]
            held = 0
        count = min(stop - done, end - ahead) // STREAM * STREAM
        while count > 0:
            size = min(count, BLOCK)
            if phase >= 0:
                squares += scale_run_past(x, out, done, size, factor[0], ahead)
            else:
                squares += scale_run(x, out, done, size, factor[0], ahead)
            done, ahead, count = done + size, ahead + size, count - size
        done = _scale(x, out, phase, done, stop, factor[0])
        if phase >= 0:
            for i in range(done, stop):
                edge[(i + phase) % STREAM] = x[i] * factor[0]
            held += stop - done
        else:
            for i in range(done, stop):
                out[i] = x[i] * factor[0]
        squares += _squares(x, ahead, end)
        start, stop = following, end
    for i in range(stop - held, stop):
        out[i] = edge[(i + phase) % STREAM]
    return value


@compiled
def shrink_long(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    start: int,
    stop: int,
    weight: float,
    step: float,
) -> float:
    """Shrink one group by itself; the second look at it comes from cache if it fits there."""
    factor = np.zeros(1, x.dtype)
    squares = _squares(x, start, stop)
    norm = norm_of_run(squares, step * weight, weight, x, start, stop, factor[0])
    wide, penalty = group_factor(norm, weight, step)
    factor[0] = wide
    done = aligned(start, stop, phase)
    for i in range(start, done):
        out[i] = x[i] * factor[0]
    for i in range(_scale(x, out, phase, done, stop, factor[0]), stop):
        out[i] = x[i] * factor[0]
    return penalty


@compiled
def shrink_sparse(
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
    """`shrink_long` after a soft threshold, ``constants[2]``, by way of ``staged``, a block."""
    zero = constants[0]
    squares, magnitudes = 0.0, 0.0
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        square, size_sum = zero, zero
        soft_staged(x, first, size, constants, staged)
        for i in range(size):
            square += staged[i] * staged[i]
            size_sum += abs(staged[i])
        squares += square
        magnitudes += size_sum if size_sum < np.inf else magnitude(staged, None, 0, size)
    norm = norm_of_run(squares, step * weight, weight, x, start, stop, constants[2])
    wide, penalty = group_factor(norm, weight, step)
    factor = np.empty(1, x.dtype)
    factor[0] = wide
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        soft_staged(x, first, size, constants, staged)
        for i in range(size):
            staged[i] *= factor[0]
        copy_out(staged, out, first, size, phase)
    return penalty + l1 * wide * magnitudes


@compiled
def shrink_each_sparse(
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
    """`shrink_each` after a soft threshold."""
    staged = np.empty(BLOCK, x.dtype)
    constants = np.empty(3, x.dtype)
    constants[0], constants[1], constants[2] = 0.0, 1.0, step * l1
    value = 0.0
    for pair in range(first, last):
        start, stop = _span(bounds, pair)
        weight = weights[pair % (bounds.shape[0] - 1) * stride]
        value += shrink_sparse(x, out, phase, start, stop, weight, step, l1, constants, staged)
    return value


@inlined
def soft_staged(
    x: NDArray[Any], start: int, size: int, constants: NDArray[Any], staged: NDArray[Any]
) -> None:
    """Copy a block, soft-thresholded."""
    threshold = constants[2]
    source = x[start : start + size]
    for i in range(size):
        staged[i] = softened(source[i], threshold)


@inlined
def _span(bounds: NDArray[np.int64], pair: int) -> tuple[int, int]:
    """Where a (fibre, group) pair begins and ends."""
    n_groups = bounds.shape[0] - 1
    fibre = pair // n_groups
    group = pair - fibre * n_groups
    origin = fibre * bounds[n_groups]
    return origin + bounds[group], origin + bounds[group + 1]


@inlined
def _squares(x: NDArray[Any], start: int, stop: int) -> float:
    """Sum of squares; a block at a time in the storage precision."""
    total = 0.0
    while start + STREAM <= stop:
        size = min(BLOCK, (stop - start) // STREAM * STREAM)
        total += square_run(x, start, size)
        start += size
    for i in range(start, stop):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@inlined
def _scale(
    x: NDArray[Any], out: NDArray[Any], phase: int, start: int, stop: int, factor: Any
) -> int:
    """Write the whole vectors from an aligned entry on; where they end."""
    count = max(stop - start, 0) // STREAM * STREAM
    if phase >= 0:
        scale_run_past(x, out, start, count, factor, None)
    else:
        scale_run(x, out, start, count, factor, None)
    return start + count
