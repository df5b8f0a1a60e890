"""Block coordinate ascent on the dual of the overlapping prox: a fibre stays in cache."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .arrays import cpu_floats, scalar, weighted_groups
from .extremes import is_lost, member_norm, shifted_norm
from .jit import compiled
from .pool import cuts, run_pieces, shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.kernels.ops.overlap_dual_sweep import OverlapSweepArgs

    from .arrays import WeightedGroups


def supports(args: OverlapSweepArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.X)


def run(args: OverlapSweepArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Sweep every fibre; its gaps and the penalty at the new points."""
    points = args.X.movedim(args.axis, -1)
    duals = args.dual.movedim(args.axis, -1)
    x, xi = points.contiguous(), duals.contiguous()
    shape = points.shape[:-1]
    n_fibres = shape.numel()
    gaps = torch.empty(shape, dtype=torch.float64)
    work = n_fibres * args.groups.n_members * (args.sweeps + 1)
    rows = x.numpy().reshape(n_fibres, points.shape[-1])
    dual_rows = xi.numpy().reshape(n_fibres, duals.shape[-1])
    fibre_gaps = gaps.numpy().reshape(-1)
    groups = weighted_groups(args)
    calls = [
        (rows, dual_rows, groups, args.step, args.sweeps, args.tolerance, fibre_gaps, *cut)
        for cut in cuts(n_fibres, max(1, min(n_fibres, shares(work))))
    ]
    value = float(sum(run_pieces(_sweep_fibres, calls)))
    if x is not points:
        points.copy_(x)
    if xi is not duals:
        duals.copy_(xi)
    return gaps, scalar(value)


@compiled
def _sweep_fibres(
    rows: NDArray[Any],
    dual_rows: NDArray[Any],
    groups: WeightedGroups,
    step: float,
    sweeps: int,
    tolerance: float,
    gaps: NDArray[np.float64],
    first: int,
    last: int,
) -> float:
    value = 0.0
    for fibre in range(first, last):
        point, dual = rows[fibre], dual_rows[fibre]
        gap, penalty = _gap(point, dual, groups, step)
        for _ in range(sweeps):
            _sweep(point, dual, groups, step)
            gap, penalty = _gap(point, dual, groups, step)
            if gap <= tolerance:
                break
        gaps[fibre] = gap
        value += penalty
    return value


@compiled
def _sweep(
    point: NDArray[Any],
    dual: NDArray[Any],
    groups: WeightedGroups,
    step: float,
) -> None:
    bounds, members, weights, stride = groups
    factor = np.empty(1, point.dtype)
    for group in range(bounds.shape[0] - 1):
        square = 0.0
        for j in range(bounds[group], bounds[group + 1]):
            target = point[members[j]] + dual[j]
            square += np.float64(target * target)
        norm = np.sqrt(square)
        weight = weights[group * stride]
        radius = step * weight
        if is_lost(norm, radius, weight, point.itemsize):
            norm = shifted_norm(point, dual, members, bounds[group], bounds[group + 1])
        if norm <= radius:
            for j in range(bounds[group], bounds[group + 1]):
                dual[j] += point[members[j]]
                point[members[j]] = 0
        else:  # NaN too
            factor[0] = radius / norm
            for j in range(bounds[group], bounds[group + 1]):
                target = point[members[j]] + dual[j]
                kept = target * factor[0]
                dual[j] = kept
                point[members[j]] = target - kept


@compiled
def _gap(
    point: NDArray[Any],
    dual: NDArray[Any],
    groups: WeightedGroups,
    step: float,
) -> tuple[float, float]:
    bounds, members, weights, stride = groups
    inner, penalty = 0.0, 0.0
    for group in range(bounds.shape[0] - 1):
        square = 0.0
        for j in range(bounds[group], bounds[group + 1]):
            entry = np.float64(point[members[j]])
            square += entry * entry
            inner += entry * np.float64(dual[j])
        norm, weight = np.sqrt(square), weights[group * stride]
        if is_lost(norm, 0.0, weight, 8):
            norm = member_norm(point, members, bounds[group], bounds[group + 1])
        penalty += weight * norm
    return step * penalty - inner, penalty
