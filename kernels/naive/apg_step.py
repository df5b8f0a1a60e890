"""One accelerated proximal gradient step, one entry at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from proxmtl.kernels.prox_args import ApgStep

from .loops import along, members_of, norm, shrink_factor, soft, to_float64, weights_of, written

if TYPE_CHECKING:
    from proxmtl.kernels.prox_args import ApgStepArgs


def supports(args: ApgStepArgs) -> tuple[bool, str]:
    """Every call, slowly."""
    del args
    return True, ""


def run(args: ApgStepArgs) -> ApgStep:
    """Gradient step, prox, extrapolation, and the sums that restart and line search need."""
    z, grad, x = to_float64(args.Z), to_float64(args.grad), to_float64(args.X)
    new = np.empty_like(z)
    shrink = 1 + 2 * args.step * args.ridge
    penalty = 0.0
    for position in np.ndindex(z.shape):
        new[position] = soft(float(z[position] - args.step * grad[position]), args.step * args.l1)
    if args.layout is not None and args.weights is not None:
        groups = members_of(args.layout)
        weights = weights_of(args.weights, len(groups))
        for fibre in along(new, args.axis):
            for group, weight in zip(groups, weights, strict=True):
                length = norm([float(fibre[item]) for item in group])
                factor = shrink_factor(length, args.step * weight)
                for item in group:
                    fibre[item] *= factor
                penalty += weight * norm([float(fibre[item]) / shrink for item in group])
    restart = change = slope = distance = 0.0
    extrapolated = np.empty_like(z)
    for position in np.ndindex(z.shape):
        new[position] /= shrink
        entry = float(new[position])
        moved, from_z = entry - float(x[position]), entry - float(z[position])
        extrapolated[position] = entry + args.momentum * moved
        penalty += args.l1 * abs(entry) + args.ridge * entry * entry
        restart -= from_z * moved
        change += moved * moved
        slope += float(grad[position]) * from_z
        distance += from_z * from_z
    out_x, out_z = args.out or (None, None)
    sums = torch.tensor([penalty, restart, change, slope, distance], dtype=torch.float64)
    return ApgStep(
        written(new, args.Z, out_x), written(extrapolated, args.Z, out_z), sums.to(args.device)
    )
