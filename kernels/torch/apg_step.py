"""One accelerated proximal gradient step in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.fibres import accumulation_dtype
from proxmtl.kernels.prox_args import ApgStep

from .segments import (
    column,
    delivered,
    group_norms,
    shrink_factors,
    spread,
    weighted_total,
    wide,
)
from .soft_threshold import soft

if TYPE_CHECKING:
    from proxmtl.kernels.prox_args import ApgStepArgs


def supports(args: ApgStepArgs) -> tuple[bool, str]:
    """Every call."""
    del args
    return True, ""


def run(args: ApgStepArgs) -> ApgStep:
    """Gradient step, prox, extrapolation, and the sums that restart and line search need."""
    dtype = accumulation_dtype(args.Z)
    z, grad, x = args.Z.to(dtype), args.grad.to(dtype), args.X.to(dtype)
    new = z - args.step * grad
    if args.l1:
        new = soft(new, args.step * args.l1)
    shrink = 1 + 2 * args.step * args.ridge
    penalty = torch.zeros((), dtype=torch.float64, device=args.device)
    if args.layout is not None and args.weights is not None:
        blocks = wide(new, args.axis)
        weights = column(args.weights)
        norms = group_norms(blocks, args.layout)
        factors = shrink_factors(norms, (args.step * weights).to(norms.dtype))
        new = spread(factors, blocks, args.layout).reshape(new.shape)
        penalty += weighted_total(norms * factors, weights) / shrink
    new = new / shrink
    moved, from_z = new - x, new - z
    penalty += args.l1 * new.abs().sum(dtype=torch.float64)
    penalty += args.ridge * _inner(new, new)
    sums = [
        penalty,
        -_inner(from_z, moved),
        _inner(moved, moved),
        _inner(grad, from_z),
        _inner(from_z, from_z),
    ]
    extrapolated = new + args.momentum * moved
    out_x, out_z = args.out or (None, None)
    return ApgStep(
        delivered(new, args.Z, out_x), delivered(extrapolated, args.Z, out_z), torch.stack(sums)
    )


def _inner(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left.to(torch.float64) * right.to(torch.float64)).sum()
