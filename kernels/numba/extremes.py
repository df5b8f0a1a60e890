"""Norms that a plain sum of squares loses to overflow or underflow.

The loops take plain sums, and look at what came out: a group whose norm leaves the range in which
a sum of squares keeps its digits, and on whose norm something depends, is done again here. Such
groups are rare, so these loops are plain and in float64.
"""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .jit import compiled_exactly, inlined
from .lanes import shrink_factors
from .tiles import group_factor, softened

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Norms in this range have sums of squares that keep their digits, in each storage precision.
_LOW4, _HIGH4 = 2.0**-50, 2.0**50
_LOW8, _HIGH8 = 2.0**-450, 2.0**450
# Bring any number outside into the range of float64.
_UP, _DOWN = 2.0**700, 2.0**-700


@compiled_exactly
def is_lost(norm: float, threshold: float, weight: float, size: int) -> bool:
    """Whether the norm of a group must be taken again; ``size`` is the storage precision's, bytes.

    A small norm is right enough where its group becomes zero anyway, or costs nothing.
    """
    low, high = (_LOW4, _HIGH4) if size == 4 else (_LOW8, _HIGH8)
    return norm > high or (norm < low and threshold < low and weight > 0.0)


@compiled_exactly
def _scaled_norm(entries: NDArray[np.float64]) -> float:
    """Euclidean norm of a buffer."""
    largest = 0.0
    for entry in entries:
        size = abs(entry)
        if size != size:  # noqa: PLR0124 - NaN
            return float(size)
        largest = max(largest, size)
    if largest == 0.0:
        return 0.0
    unit = _UP if largest < _LOW8 else _DOWN if largest > _HIGH8 else 1.0
    total = 0.0
    for entry in entries:
        scaled = entry * unit
        total += scaled * scaled
    return math.sqrt(total) / unit


@compiled_exactly
def magnitude(x: NDArray[Any], weights: NDArray[Any] | None, shift: int, size: int) -> float:
    """Sum of the magnitudes of the first entries, times ``weights[i + shift]`` if given."""
    total = 0.0
    for i in range(size):
        entry = abs(np.float64(x[i]))
        total += entry if weights is None else entry * np.float64(weights[i + shift])
    return total


@inlined
def norm_of_run(
    squares: float,
    threshold: float,
    weight: float,
    x: NDArray[Any],
    start: int,
    stop: int,
    soft: Any,
) -> float:
    """Norm of consecutive entries after a soft threshold, of which the sum of squares is known."""
    norm: float = np.sqrt(squares)
    if is_lost(norm, threshold, weight, x.itemsize):
        norm = _run_norm(x, start, stop, soft)
    return norm


@compiled_exactly
def _run_norm(x: NDArray[Any], start: int, stop: int, soft: Any) -> float:
    buffer = np.empty(stop - start)
    for i in range(stop - start):
        buffer[i] = softened(x[start + i], soft)
    return _scaled_norm(buffer)


@compiled_exactly
def member_norm(x: NDArray[Any], members: NDArray[np.int64], start: int, stop: int) -> float:
    """Norm of the entries at members start to stop."""
    zero = True
    for j in range(start, stop):
        zero = zero and x[members[j]] == 0
    if zero:  # as most groups that come here are
        return 0.0
    buffer = np.empty(stop - start)
    for j in range(stop - start):
        buffer[j] = x[members[start + j]]
    return _scaled_norm(buffer)


@compiled_exactly
def shifted_norm(
    x: NDArray[Any], shift: NDArray[Any], members: NDArray[np.int64], start: int, stop: int
) -> float:
    """Norm of the entries at members start to stop, each plus one of ``shift``."""
    buffer = np.empty(stop - start)
    for j in range(stop - start):
        buffer[j] = x[members[start + j]] + shift[start + j]
    return _scaled_norm(buffer)


@inlined
def group_factors(
    source: NDArray[Any],
    shift: Any,
    bounds: NDArray[Any],
    group: int,
    count: int,
    totals: NDArray[Any],
    table: NDArray[Any],
    given: tuple[NDArray[np.float64], int, float],
    factors: NDArray[Any],
    to: int,
) -> float:
    """`lanes.shrink_factors` of groups ``source[bounds[g] + shift:]``, or the same mended.

    ``given`` are the weights of all groups, the step between them and that of the prox.
    """
    value: float = shrink_factors(totals, count, table, factors, to)
    if not value < np.inf:
        value = _mended_factors(source, shift, bounds, group, count, given, factors, to)
    return value


@compiled_exactly
def _mended_factors(
    source: NDArray[Any],
    shift: Any,
    bounds: NDArray[Any],
    group: int,
    count: int,
    given: tuple[NDArray[np.float64], int, float],
    factors: NDArray[Any],
    to: int,
) -> float:
    weights, stride, step = given
    zero = np.zeros(1, source.dtype)
    value = 0.0
    for k in range(count):
        start, stop = shift + bounds[group + k], shift + bounds[group + k + 1]
        norm = _run_norm(source, start, stop, zero[0])
        factor, penalty = group_factor(norm, weights[(group + k) * stride], step)
        factors[to + k] = factor
        value += penalty
    return value


@compiled_exactly
def mended_columns(
    x: NDArray[Any],
    base: int,
    inner: int,
    members: NDArray[np.int64],
    width: int,
    weight: float,
    step: float,
    constants: NDArray[Any],
    factors: NDArray[Any],
) -> float:
    """Factors of one group of ``width`` fibres side by side, and their penalty.

    Entries are soft-thresholded with ``constants[2]``.
    """
    value = 0.0
    buffer = np.empty(members.shape[0])
    for i in range(width):
        for j in range(members.shape[0]):
            buffer[j] = softened(x[base + members[j] * inner + i], constants[2])
        factor, penalty = group_factor(_scaled_norm(buffer), weight, step)
        factors[i] = factor
        value += penalty
    return value
