"""Nesterov's smoothing of group norms on CPUs: overlaps cost no copy of the input."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from proxmtl.kernels.ops.smoothed_group_grad import SmoothedGroup

from .arrays import cpu_floats, scalar, weighted_groups
from .extremes import is_lost, member_norm
from .jit import compiled, compiled_exactly
from .pool import cuts, run_pieces, shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.kernels.ops.smoothed_group_grad import SmoothedGroupArgs

    from .arrays import WeightedGroups


def supports(args: SmoothedGroupArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.V)


def run(args: SmoothedGroupArgs) -> SmoothedGroup:
    """Σ_g w_g α^g is the input times one multiplier per entry: the groups' slopes, summed."""
    rows = args.V.movedim(args.axis, -1).contiguous()
    n_fibres, n = rows.shape[:-1].numel(), rows.shape[-1]
    grad = torch.empty_like(rows)
    groups = weighted_groups(args)
    table = rows.numpy().reshape(n_fibres, n), grad.numpy().reshape(n_fibres, n)
    calls = [
        (*table, groups, args.smoothness, *cut)
        for cut in cuts(n_fibres, max(1, min(n_fibres, shares(rows.numel()))))
    ]
    sums = np.sum(run_pieces(_smooth_fibres, calls), axis=0)
    result = grad.movedim(-1, args.axis)
    if args.out is not None:
        result = args.out.copy_(result)
    return SmoothedGroup(scalar(sums[0]), result, scalar(sums[1]), scalar(sums[2]))


@compiled
def _smooth_fibres(
    rows: NDArray[Any],
    grads: NDArray[Any],
    groups: WeightedGroups,
    smoothness: float,
    first: int,
    last: int,
) -> tuple[float, float, float]:
    bounds, members, weights, stride = groups
    value, penalty, squares = 0.0, 0.0, 0.0
    slope = np.empty(1, rows.dtype)
    for fibre in range(first, last):
        source, grad = rows[fibre], grads[fibre]
        grad[:] = 0
        for group in range(bounds.shape[0] - 1):
            weight = weights[group * stride]
            square = 0.0
            for j in range(bounds[group], bounds[group + 1]):
                entry = np.float64(source[members[j]])
                square += entry * entry
            norm = np.sqrt(square)
            if is_lost(norm, 0.0, weight, 8):
                norm = member_norm(source, members, bounds[group], bounds[group + 1])
            length = weight * norm
            penalty += length
            if not length <= smoothness:  # NaN too
                value += length - smoothness / 2
                squares += 1.0
                slope[0] = _times_ratio(weight, weight, length)
            else:
                value += _times_ratio(length, length, smoothness) / 2
                squares += (length / smoothness) ** 2
                slope[0] = _times_ratio(weight, weight, smoothness)
            for j in range(bounds[group], bounds[group + 1]):
                grad[members[j]] += slope[0]
        for i in range(source.shape[0]):
            grad[i] *= source[i]
    return value, penalty, squares


@compiled_exactly
def _times_ratio(a: float, b: float, c: float) -> float:
    """``a (b / c)``, in this order: the product of a and b may overflow."""
    return a * (b / c)
