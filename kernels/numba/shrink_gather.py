"""Groups whose members are scattered along contiguous fibres."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .extremes import is_lost, magnitude, member_norm
from .jit import compiled
from .tiles import group_factor, softened

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def shrink_gathered(
    x: NDArray[Any],
    out: NDArray[Any],
    n: int,
    bounds: NDArray[np.int64],
    members: NDArray[np.int64],
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    l1: float,
    first: int,
    last: int,
) -> float:
    """Shrink fibres first to last of memory (outer, n); their penalty.

    A fibre is first copied to the result, soft-thresholded on the way, and its groups are then
    shrunk there, while it is in cache.
    """
    constants = np.empty(2, x.dtype)
    constants[0], constants[1] = 0.0, step * l1
    zero, soft = constants[0], constants[1]
    factor = np.empty(1, x.dtype)
    value = 0.0
    for fibre in range(first, last):
        source, target = x[fibre * n : (fibre + 1) * n], out[fibre * n : (fibre + 1) * n]
        for i in range(n):
            target[i] = softened(source[i], soft) if l1 > 0 else source[i]
        for group in range(bounds.shape[0] - 1):
            square = 0.0
            for j in range(bounds[group], bounds[group + 1]):
                entry = target[members[j]]
                square += np.float64(entry * entry)
            norm, weight = np.sqrt(square), weights[group * stride]
            if is_lost(norm, step * weight, weight, x.itemsize):
                norm = member_norm(target, members, bounds[group], bounds[group + 1])
            wide, penalty = group_factor(norm, weight, step)
            value += penalty
            factor[0] = wide
            if wide != 1.0:
                for j in range(bounds[group], bounds[group + 1]):
                    target[members[j]] *= factor[0]
        if l1 > 0:
            total = zero
            for i in range(n):
                total += abs(target[i])
            value += l1 * (total if total < np.inf else magnitude(target, None, 0, n))
    return value
