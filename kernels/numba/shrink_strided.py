"""Groups along an axis that isn't the last: vector instructions run across the fibres."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .extremes import is_lost, magnitude, mended_columns
from .jit import compiled, inlined
from .lanes import STREAM
from .runs import scale_run_past
from .tiles import softened

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Fibres taken side by side: their sums and factors stay in the first-level cache, and pieces of
# rows are long enough for the processor to fetch them ahead.
_WIDTH = 2048


@compiled
def shrink_strided(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    inner: int,
    bounds: NDArray[np.int64],
    members: NDArray[np.int64],
    n_groups: int,
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    l1: float,
    first: int,
    last: int,
    begin: int,
    end: int,
) -> float:
    """Shrink the (block, group) pairs first to last of memory (outer, n, inner); their penalty.

    Pairs are counted in memory order, and of each the fibres begin to end are done. Groups from
    ``n_groups`` on hold the items in none. ``phase`` as in `copy_out`.
    """
    sums = np.empty(_WIDTH, x.dtype)
    constants = np.empty(3, x.dtype)
    constants[0], constants[1], constants[2] = 0.0, 1.0, step * l1
    threshold = np.empty(1, x.dtype)
    value = 0.0
    n_all = bounds.shape[0] - 1
    for pair in range(first, last):
        block = pair // n_all
        group = pair - block * n_all
        weight = weights[group * stride] if group < n_groups else 0.0
        threshold[0] = step * weight
        for left in range(begin, end, _WIDTH):
            width = min(_WIDTH, end - left)
            base = block * bounds[n_all] * inner + left
            if group < n_groups:
                for i in range(width):
                    sums[i] = constants[0]
                for j in range(bounds[group], bounds[group + 1]):
                    _add_squares(x, base + members[j] * inner, width, constants, sums)
                part = weight * _column_factors(sums, width, threshold[0], constants)
                # a norm below the range matters where the threshold is below it too
                if not part < np.inf or is_lost(0.0, step * weight, weight, x.itemsize):
                    group_members = members[bounds[group] : bounds[group + 1]]
                    part = mended_columns(
                        x, base, inner, group_members, width, weight, step, constants, sums
                    )
                value += part
            else:
                for i in range(width):
                    sums[i] = constants[1]
            # backwards: what was read last is likeliest to be in a cache
            for j in range(bounds[group + 1] - 1, bounds[group] - 1, -1):
                position = base + members[j] * inner
                fits = (position + phase) % STREAM == 0 and width % STREAM == 0
                if fits and phase >= 0 and l1 == 0:
                    scale_run_past(x, out, position, width, sums, None)
                else:
                    value += l1 * _scale_row(x, out, position, width, constants, sums, l1 > 0)
    return value


@inlined
def _add_squares(
    x: NDArray[Any], start: int, width: int, constants: NDArray[Any], sums: NDArray[Any]
) -> None:
    soft = constants[2]
    row = x[start : start + width]
    for i in range(width):
        entry = softened(row[i], soft)
        sums[i] += entry * entry


@inlined
def _column_factors(
    sums: NDArray[Any], width: int, threshold: Any, constants: NDArray[Any]
) -> float:
    """Turn sums of squares into factors, in place; the sum of the norms of the results."""
    zero, one = constants[0], constants[1]
    total = 0.0
    for i in range(width):
        norm = np.sqrt(sums[i])
        factor = one - threshold / norm
        factor = max(factor, zero)
        factor = one if threshold == zero else factor
        sums[i] = factor
        total += factor * norm
    return total


@inlined
def _scale_row(
    x: NDArray[Any],
    out: NDArray[Any],
    start: int,
    width: int,
    constants: NDArray[Any],
    factors: NDArray[Any],
    sparse: bool,
) -> float:
    soft = constants[2]
    source, target = x[start : start + width], out[start : start + width]
    total = constants[0]
    if not sparse:
        for i in range(width):
            target[i] = source[i] * factors[i]
    else:
        for i in range(width):
            entry = softened(source[i], soft) * factors[i]
            target[i] = entry
            total += abs(entry)
    return float(total) if total < np.inf else magnitude(target, None, 0, width)
