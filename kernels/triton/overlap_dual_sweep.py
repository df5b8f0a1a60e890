"""Block coordinate ascent on the dual of the overlapping prox on GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.fibres import accumulation_dtype

from .launch import blocks, gpu_floats, short_groups
from .overlap_kernels import sweep_kernel
from .prox_config import LONGEST_WALK, walk_config

if TYPE_CHECKING:
    from proxmtl.kernels.ops.overlap_dual_sweep import OverlapSweepArgs


def supports(args: OverlapSweepArgs) -> tuple[bool, str]:
    """CUDA tensors, or CPU tensors under Triton's interpreter; groups that fit a program."""
    ok, reason = gpu_floats(args.X)
    return short_groups(args.groups, LONGEST_WALK) if ok else (ok, reason)


def run(args: OverlapSweepArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Sweep every fibre; its gaps and the penalty at the new points."""
    points, duals = args.X.movedim(args.axis, -1), args.dual.movedim(args.axis, -1)
    # Storage of 16 bits would lose the dual's small steps from one group to the next.
    dtype = accumulation_dtype(args.X)
    x, xi = points.to(dtype).contiguous(), duals.to(dtype).contiguous()
    shape, n = points.shape[:-1], points.shape[-1]
    n_fibres = shape.numel()
    sums = torch.empty(2, n_fibres, dtype=torch.float64, device=args.device)
    config = walk_config(args.groups.max_size)
    indptr, indices, _ = args.groups.on(args.device)
    if n_fibres:
        sweep_kernel[(blocks(n_fibres, config.rows),)](
            x,
            xi,
            sums[0],
            sums[1],
            indptr,
            indices,
            args.weights,
            n_fibres,
            args.groups.n_groups,
            n,
            args.groups.n_members,
            args.sweeps,
            args.step,
            args.tolerance,
            SHARED=args.weights.numel() == 1,
            R=config.rows,
            P=config.width,
            num_warps=config.warps,
        )
    if x is not points:
        points.copy_(x)
    if xi is not duals:
        duals.copy_(xi)
    return sums[0].reshape(shape).clone(), sums[1].sum()
