"""Block coordinate ascent on the dual of the overlapping prox, one group at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always

from .loops import along, members_of, norm, number, to_float64, weights_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from proxmtl.kernels.ops.overlap_dual_sweep import OverlapSweepArgs

supports = always


def run(args: OverlapSweepArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Sweep every fibre; its gaps and the penalty at the new points."""
    points, duals = to_float64(args.X), to_float64(args.dual)
    groups = members_of(args.groups)
    weights = weights_of(args.weights, len(groups))
    radii = [args.step * weight for weight in weights]
    gaps: list[float] = []
    value = 0.0
    for point, dual in zip(along(points, args.axis), along(duals, args.axis), strict=True):
        for _ in range(args.sweeps):
            _sweep(point, dual, groups, radii)
            if _gap(point, dual, groups, radii) <= args.tolerance:
                break
        gaps.append(_gap(point, dual, groups, radii))
        for group, weight in zip(groups, weights, strict=True):
            value += weight * norm([float(point[item]) for item in group])
    args.X.copy_(torch.from_numpy(points))
    args.dual.copy_(torch.from_numpy(duals))
    shape = (*args.X.shape[: args.axis], *args.X.shape[args.axis + 1 :])
    gap = torch.tensor(gaps, dtype=torch.float64, device=args.X.device).reshape(shape)
    return gap, number(value, args.X)


def _sweep(
    point: NDArray[np.float64],
    dual: NDArray[np.float64],
    groups: list[list[int]],
    radii: list[float],
) -> None:
    member = 0
    for group, radius in zip(groups, radii, strict=True):
        target = [float(point[item]) + float(dual[member + j]) for j, item in enumerate(group)]
        length = norm(target)
        for j, item in enumerate(group):
            # A length of NaN makes the whole group NaN.
            kept = target[j] if length <= radius else target[j] * (radius / length)
            dual[member + j] = kept
            point[item] = target[j] - kept
        member += len(group)


def _gap(
    point: NDArray[np.float64],
    dual: NDArray[np.float64],
    groups: list[list[int]],
    radii: list[float],
) -> float:
    gap, member = 0.0, 0
    for group, radius in zip(groups, radii, strict=True):
        gap += radius * norm([float(point[item]) for item in group])
        for j, item in enumerate(group):
            gap -= float(point[item]) * float(dual[member + j])
        member += len(group)
    return gap
