"""One accelerated proximal gradient step on GPUs: one read of each operand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxmtl.kernels.fibres import accumulation_dtype
from proxmtl.kernels.prox_args import ApgStep

from .apg_kernels import entry_step_kernel, group_step_kernel
from .launch import blocks, dense, gpu_floats, partial_sums, short_groups
from .prox_config import ENTRY_WARPS, STEP_BLOCK, longest_step, tile_config

if TYPE_CHECKING:
    from proxmtl.kernels.prox_args import ApgStepArgs


def supports(args: ApgStepArgs) -> tuple[bool, str]:
    """CUDA tensors, or CPU tensors under Triton's interpreter; groups that fit a program."""
    ok, reason = gpu_floats(args.Z)
    if not ok or args.layout is None:
        return ok, reason
    return short_groups(args.layout, longest_step(accumulation_dtype(args.Z).itemsize))


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
        layout = args.layout.filled(new.n)
        tiled = layout.tiles(new.n)
        n_pairs = new.outer * layout.n_groups
        config = tile_config(layout.max_size, accumulation_dtype(args.Z).itemsize, 3)
        programs = blocks(n_pairs, config.rows)
        partial = partial_sums(programs, 5, args.Z)
        indptr, indices, _ = layout.on(args.device)
        group_step_kernel[(programs,)](
            *operands,
            indptr,
            indices,
            args.weights,
            partial,
            n_pairs,
            layout.n_groups,
            args.layout.n_groups,
            new.n,
            *numbers,
            SHARED=args.weights.numel() == 1,
            SPARSE=args.l1 > 0,
            SIZE=layout.uniform_size if tiled else 0,
            TILED=tiled,
            R=config.rows,
            P=config.width,
            num_warps=config.warps,
        )
    return ApgStep(new.finish(), following.finish(), partial.sum(0))


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
