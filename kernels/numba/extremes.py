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
def member_norm(x: NDArray[Any], members: NDArray[np.int64] | None, start: int, stop: int) -> float:
    """Norm of the entries at members start to stop, or of entries start to stop themselves."""
    buffer = np.empty(stop - start)
    for j in range(stop - start):
        buffer[j] = x[start + j] if members is None else x[members[start + j]]
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
def softened(entry: Any, threshold: Any) -> Any:
    """An entry after a soft threshold; NaN stays."""
    return entry - min(max(entry, -threshold), threshold)


@inlined
def _factor(norm: float, threshold: float) -> float:
    """What a group of this norm is multiplied by."""
    factor = 1.0 if threshold == 0.0 else 1.0 - threshold / norm
    return max(factor, 0.0)  # max keeps its first argument where a comparison is false: NaN stays


@inlined
def shrink_factors(
    sizes: NDArray[np.float64],
    count: Any,
    weights: NDArray[np.float64],
    stride: int,
    shift: int,
    step: float,
) -> float:
    """Turn the first sums of squares into factors, in place; the weighted norms that are left.

    The weight of group k is ``weights[shift + k * stride]``. Not finite where one of the norms must
    be taken again.
    """
    value, lost = 0.0, 0
    for k in range(count):
        weight, norm = weights[shift + k * stride], np.sqrt(sizes[k])
        threshold = step * weight
        sizes[k] = _factor(norm, threshold)
        value += weight * (sizes[k] * norm)
        lost |= (norm > _HIGH8) | ((norm < _LOW8) & (threshold < _LOW8) & (weight > 0.0))
    return np.inf if lost else value


@compiled_exactly
def mended_factors(
    x: NDArray[Any],
    groups: tuple[NDArray[np.int64] | None, NDArray[np.int64], NDArray[np.int64]],
    count: int,
    weights: NDArray[np.float64],
    stride: int,
    shift: int,
    step: float,
    factors: NDArray[np.float64],
) -> float:
    """`shrink_factors` of a fibre's groups, members, starts and stops, each norm taken again."""
    members, starts, stops = groups
    value = 0.0
    for k in range(count):
        weight = weights[shift + k * stride]
        norm = member_norm(x, members, starts[k], stops[k])
        factors[k] = _factor(norm, step * weight)
        value += weight * (factors[k] * norm)
    return value


@compiled_exactly
def mended_columns(
    x: NDArray[Any],
    base: int,
    inner: int,
    members: NDArray[np.int64],
    width: Any,
    weight: float,
    step: float,
    factors: NDArray[np.float64],
) -> float:
    """Factors of one group of ``width`` fibres side by side, and their penalty."""
    value = 0.0
    buffer = np.empty(members.shape[0])
    for i in range(width):
        for j in range(members.shape[0]):
            buffer[j] = x[base + members[j] * inner + i]
        norm = _scaled_norm(buffer)
        factors[i] = _factor(norm, step * weight)
        value += weight * (factors[i] * norm)
    return value
