"""`apg_step` along an axis that isn't the last: vector instructions run across the fibres."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .apg_loops import finish, stage
from .extremes import is_lost, mended_columns
from .jit import compiled
from .shrink_strided import WIDTH, column_factors

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def across_steps(
    operands: tuple[NDArray[Any], ...],
    phases: tuple[int, int],
    constants: NDArray[Any],
    inner: int,
    bounds: NDArray[np.int64],
    members: NDArray[np.int64],
    n_groups: int,
    weights: NDArray[np.float64],
    stride: int,
    step: float,
    first: int,
    last: int,
    begin: int,
    end: int,
) -> NDArray[np.float64]:
    """Step (block, group) pairs of memory (outer, n, inner), as in `shrink_strided`."""
    staged = np.empty(WIDTH, constants.dtype)
    scale = np.empty(WIDTH, constants.dtype)
    factors = np.empty(WIDTH, constants.dtype)
    threshold = np.empty(1, constants.dtype)
    sums = np.zeros(7)
    n_all = bounds.shape[0] - 1
    for pair in range(first, last):
        block = pair // n_all
        group = pair - block * n_all
        weight = weights[group * stride] if group < n_groups else 0.0
        threshold[0] = step * weight
        for left in range(begin, end, WIDTH):
            width = min(WIDTH, end - left)
            base = block * bounds[n_all] * inner + left
            start = constants[0] if group < n_groups else constants[1]
            for i in range(width):
                factors[i] = start
            if group < n_groups:
                for j in range(bounds[group], bounds[group + 1]):
                    position = base + members[j] * inner
                    stage(operands[0], operands[1], position, width, constants, staged)
                    for i in range(width):
                        factors[i] += staged[i] * staged[i]
                part = weight * column_factors(factors, width, threshold[0], constants)
                # a norm below the range matters where the threshold is below it too
                if not part < np.inf or is_lost(0.0, step * weight, weight, staged.itemsize):
                    z, grad = operands[0], operands[1]
                    own = members[bounds[group] : bounds[group + 1]]
                    part = mended_columns(
                        z, grad, base, inner, own, width, weight, step, constants, factors
                    )
                sums[0] += part
            # backwards: what was read last is likeliest to be in a cache
            for j in range(bounds[group + 1] - 1, bounds[group] - 1, -1):
                position = base + members[j] * inner
                stage(operands[0], operands[1], position, width, constants, staged)
                for i in range(width):
                    scale[i] = factors[i]
                finish(operands, phases, position, width, constants, staged, scale, sums)
    return sums
