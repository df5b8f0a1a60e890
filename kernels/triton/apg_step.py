"""One accelerated proximal gradient step on GPUs: one read of each operand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxmtl.kernels.fibres import accumulation_dtype
from proxmtl.kernels.prox_args import ApgStep

from .apg_kernels import entry_step_kernel, group_step_kernel, long_step_kernel
from .launch import blocks, dense, gpu_floats, partial_sums
from .prox_config import (
    ENTRY_WARPS,
    LONG_STEP_BLOCK,
    LONG_WARPS,
    STEP_BLOCK,
    longest_tile,
    tile_config,
)

if TYPE_CHECKING:
    from typing import Any

    import torch

    from proxmtl.kernels.prox_args import ApgStepArgs

    from .launch import Dense


def supports(args: ApgStepArgs) -> tuple[bool, str]:
    """CUDA tensors, or CPU tensors under Triton's interpreter."""
    return gpu_floats(args.Z)


def run(args: ApgStepArgs) -> ApgStep:
    """Gradient step, prox, extrapolation, and the sums that restart and line search need."""
    out_x, out_z = args.out or (None, None)
    axis = 0 if args.layout is None else args.axis
    if not args.Z.dim():
        step = run(_reshaped(args))
        return step._replace(x=step.x.reshape(()), z=step.z.reshape(()))
    new = dense(args.Z, axis, out_x)
    if args.layout is not None and new.inner > 1:
        return _across(args)
    following = dense(args.Z, axis, out_z)
    operands = (new.x, new.aligned(args.grad), new.aligned(args.X), new.out, following.out)
    count = args.Z.numel()
    numbers = (args.step, args.momentum, args.l1, args.ridge)
    if not count:
        partial = partial_sums(0, 5, args.Z)
    elif args.layout is None or args.weights is None:
        programs = blocks(count, STEP_BLOCK)
        partial = partial_sums(programs, 5, args.Z)
        entry_step_kernel[(programs,)](
            *operands,
            partial,
            count,
            *numbers,
            SPARSE=args.l1 > 0,
            BLOCK=STEP_BLOCK,
            num_warps=ENTRY_WARPS,
        )
    else:
        partial = _groups(args, new, operands, numbers)
    return ApgStep(new.finish(), following.finish(), partial.sum(0))


def _groups(
    args: ApgStepArgs, new: Dense, operands: tuple[Any, ...], numbers: tuple[float, ...]
) -> torch.Tensor:
    """Launch on the groups of contiguous fibres; the sums of each program."""
    assert args.layout is not None
    assert args.weights is not None
    layout = args.layout.filled(new.n)
    tiled = layout.tiles(new.n)
    n_pairs = new.outer * layout.n_groups
    indptr, indices, _ = layout.on(args.device)
    tables = (indptr, indices, args.weights)
    groups = (layout.n_groups, args.layout.n_groups, new.n)
    shared, sparse = args.weights.numel() == 1, args.l1 > 0
    accumulation = accumulation_dtype(args.Z).itemsize
    size = layout.uniform_size if tiled else 0
    if layout.max_size > longest_tile(accumulation, 3, uniform=size > 0):
        partial = partial_sums(n_pairs, 5, args.Z)
        long_step_kernel[(n_pairs,)](
            *operands,
            *tables,
            partial,
            *groups,
            *numbers,
            SHARED=shared,
            SPARSE=sparse,
            TILED=tiled,
            BLOCK=LONG_STEP_BLOCK // accumulation,
            num_warps=LONG_WARPS,
        )
        return partial
    config = tile_config(layout.max_size, accumulation, 3)
    programs = blocks(n_pairs, config.rows)
    partial = partial_sums(programs, 5, args.Z)
    group_step_kernel[(programs,)](
        *operands,
        *tables,
        partial,
        n_pairs,
        *groups,
        *numbers,
        SHARED=shared,
        SPARSE=sparse,
        SIZE=size,
        TILED=tiled,
        R=config.rows,
        P=config.width,
        num_warps=config.warps,
    )
    return partial


def _across(args: ApgStepArgs) -> ApgStep:
    """Groups that run across memory: stepped on copies that have them along it."""
    moved = [tensor.movedim(args.axis, -1).contiguous() for tensor in (args.Z, args.grad, args.X)]
    step = run(
        replace(args, Z=moved[0], grad=moved[1], X=moved[2], axis=args.Z.dim() - 1, out=None)
    )
    x, z = step.x.movedim(-1, args.axis), step.z.movedim(-1, args.axis)
    if args.out is not None:
        x, z = args.out[0].copy_(x), args.out[1].copy_(z)
    return ApgStep(x, z, step.sums)


def _reshaped(args: ApgStepArgs) -> ApgStepArgs:
    out = None if args.out is None else (args.out[0].reshape(1), args.out[1].reshape(1))
    return replace(
        args, Z=args.Z.reshape(1), grad=args.grad.reshape(1), X=args.X.reshape(1), out=out
    )
