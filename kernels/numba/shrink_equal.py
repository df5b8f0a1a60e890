"""`group_shrink` where all groups have one size, known when compiling."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .jit import compiled
from .lanes import BLOCK, WIDEST, scaled, square_sum
from .tables import BLOCK_GROUPS
from .tiles import copy_out, load_weights, shrink_factors

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def shrink_equal(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    n_groups: int,
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    tag: tuple[int, ...],
    first: int,
    last: int,
) -> float:
    """Shrink pairs first to last of groups whose size, ``len(tag)``, is known when compiling."""
    width = len(tag)
    buffer = np.empty(BLOCK + WIDEST, x.dtype)
    totals = np.empty(BLOCK_GROUPS, x.dtype)
    factors = np.empty(BLOCK_GROUPS, x.dtype)
    table = np.empty((2, BLOCK_GROUPS), x.dtype)
    constants = np.empty(2, x.dtype)
    constants[0], constants[1] = 0.0, 1.0
    if stride == 0:
        load_weights(weights, 0, 0, BLOCK_GROUPS, step, table)
    most = min(BLOCK // width, BLOCK_GROUPS)
    value = 0.0
    pair = first
    while pair < last:
        group = pair % n_groups
        count = min(most, last - pair)
        if stride != 0:
            count = min(count, n_groups - group)
            load_weights(weights, stride, group, count, step, table)
        start = pair * width
        for k in range(count):
            totals[k] = square_sum(x, start + k * width, tag)
        value += shrink_factors(totals, table, count, constants, factors)
        for k in range(count):
            scaled(x, start + k * width, buffer, k * width, factors[k], tag)
        copy_out(buffer, out, start, count * width, phase)
        pair += count
    return value
