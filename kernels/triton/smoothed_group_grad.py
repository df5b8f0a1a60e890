"""Nesterov's smoothing of group norms on GPUs: overlaps cost no copy of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.fibres import accumulation_dtype
from proxmtl.kernels.ops.smoothed_group_grad import SmoothedGroup

from .launch import blocks, gpu_floats, partial_sums, short_groups
from .overlap_kernels import smooth_kernel
from .prox_config import LONGEST_WALK, SMOOTH_BLOCK, walk_config

if TYPE_CHECKING:
    from proxmtl.kernels.ops.smoothed_group_grad import SmoothedGroupArgs


def supports(args: SmoothedGroupArgs) -> tuple[bool, str]:
    """CUDA tensors, or CPU tensors under Triton's interpreter; groups that fit a program."""
    ok, reason = gpu_floats(args.V)
    return short_groups(args.groups, LONGEST_WALK) if ok else (ok, reason)


def run(args: SmoothedGroupArgs) -> SmoothedGroup:
    """Σ_g w_g α^g is the input times one multiplier per entry: the groups' slopes, summed."""
    rows = args.V.movedim(args.axis, -1).contiguous()
    grad = torch.empty_like(rows)
    n_fibres, n = rows.shape[:-1].numel(), rows.shape[-1]
    groups = args.groups
    config = walk_config(groups.max_size)
    programs = blocks(n_fibres, config.rows)
    partial = partial_sums(programs, 3, rows)
    indptr, indices, _ = groups.on(args.device)
    owners = groups.owners(n, args.device)
    if programs:
        smooth_kernel[(programs,)](
            rows,
            grad,
            torch.empty(
                n_fibres, groups.n_groups, dtype=accumulation_dtype(rows), device=args.device
            ),
            partial,
            indptr,
            indices,
            owners,
            args.weights,
            n_fibres,
            groups.n_groups,
            n,
            owners.shape[0],
            args.smoothness,
            SHARED=args.weights.numel() == 1,
            R=config.rows,
            P=config.width,
            BLOCK=min(config.width, SMOOTH_BLOCK),
            num_warps=config.warps,
        )
    result = grad.movedim(-1, args.axis)
    if args.out is not None:
        result = args.out.copy_(result)
    value, penalty, squares = partial.sum(0).unbind()
    return SmoothedGroup(value, result, penalty, squares)
