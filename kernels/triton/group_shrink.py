"""Group prox on GPUs: one read, one write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.fibres import accumulation_dtype

from .launch import blocks, dense, gpu_floats, partial_sums, short_groups
from .prox_config import COLUMN_BLOCK, LONGEST_GROUP, ROW_BLOCK, tile_config
from .prox_kernels import shrink_across_kernel, shrink_kernel

if TYPE_CHECKING:
    from proxmtl.kernels.prox_args import GroupShrinkArgs

    from .launch import Dense


def supports(args: GroupShrinkArgs) -> tuple[bool, str]:
    """CUDA tensors, or CPU tensors under Triton's interpreter; groups that fit a program."""
    ok, reason = gpu_floats(args.V)
    along = not args.V.shape[args.axis + 1 :].numel() > 1
    return short_groups(args.layout, LONGEST_GROUP) if ok and along else (ok, reason)


def run(args: GroupShrinkArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft-threshold every entry, then shrink every group; value of the penalty there."""
    pair = dense(args.V, args.axis, args.out)
    if not args.V.numel():
        return pair.finish(), pair.x.new_zeros((), dtype=torch.float64)
    value = _across(args, pair) if pair.inner > 1 else _along(args, pair)
    return pair.finish(), value


def _along(args: GroupShrinkArgs, pair: Dense) -> torch.Tensor:
    # Items in no group are taken along in groups of weight 0: nothing is read or written twice.
    layout = args.layout.filled(pair.n)
    n_pairs = pair.outer * layout.n_groups
    tiled = layout.tiles(pair.n)
    config = tile_config(layout.max_size, accumulation_dtype(args.V).itemsize)
    programs = blocks(n_pairs, config.rows)
    partial = partial_sums(programs, 1, pair.x)
    indptr, indices, _ = layout.on(args.device)
    shrink_kernel[(programs,)](
        pair.x,
        pair.out,
        indptr,
        indices,
        args.weights,
        partial,
        n_pairs,
        layout.n_groups,
        args.layout.n_groups,
        pair.n,
        args.step,
        args.l1,
        SHARED=args.weights.numel() == 1,
        SPARSE=args.l1 > 0,
        SIZE=layout.uniform_size if tiled else 0,
        TILED=tiled,
        R=config.rows,
        P=config.width,
        num_warps=config.warps,
    )
    return partial.sum()


def _across(args: GroupShrinkArgs, pair: Dense) -> torch.Tensor:
    layout = args.layout.filled(pair.n)
    grid = (pair.outer * layout.n_groups, blocks(pair.inner, COLUMN_BLOCK))
    partial = partial_sums(grid[0] * grid[1], 1, pair.x)
    indptr, indices, _ = layout.on(args.device)
    shrink_across_kernel[grid](
        pair.x,
        pair.out,
        indptr,
        indices,
        args.weights,
        partial,
        layout.n_groups,
        args.layout.n_groups,
        pair.n,
        pair.inner,
        args.step,
        args.l1,
        SHARED=args.weights.numel() == 1,
        SPARSE=args.l1 > 0,
        ONCE=layout.max_size <= ROW_BLOCK,
        BLOCK_N=ROW_BLOCK,
        BLOCK_C=COLUMN_BLOCK,
        num_warps=4,
    )
    return partial.sum()
