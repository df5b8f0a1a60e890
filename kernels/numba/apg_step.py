"""One accelerated proximal gradient step on CPUs: one read of each operand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from proxmtl.kernels.prox_args import ApgStep

from .apg_loops import entry_steps, row_steps, tile_steps
from .arrays import cpu_floats, group_weights, paired
from .order import ordered
from .pool import cuts, run_pieces, shares
from .tables import VECTORS, tiles

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from proxmtl.kernels.prox_args import ApgStepArgs

    from .arrays import Pair


def supports(args: ApgStepArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.Z)


def run(args: ApgStepArgs) -> ApgStep:
    """Gradient step, prox, extrapolation, and the sums that restart and line search need."""
    if not args.Z.dim():
        step = run(_reshaped(args))
        return step._replace(x=step.x.reshape(()), z=step.z.reshape(()))
    out_x, out_z = args.out or (None, None)
    axis = args.axis if args.layout is not None else 0
    new = paired(args.Z, axis, out_x)
    if args.layout is not None and new.inner > 1:
        return _across(args)
    following = paired(args.Z, axis, out_z)
    operands = (new.x, new.aligned(args.grad), new.aligned(args.X), new.out, following.out)
    shrink = 1 / (1 + 2 * args.step * args.ridge)
    numbers = [0.0, 1.0, args.step * args.l1, args.step, args.momentum, shrink]
    parts = _parts(
        args, new, (operands, (new.phase, following.phase)), np.array(numbers, dtype=new.x.dtype)
    )
    group_norms, magnitude, square, *inner = np.sum(parts, axis=0).tolist()
    penalty = group_norms * shrink + args.l1 * magnitude + args.ridge * square
    sums = torch.tensor([penalty, *inner], dtype=torch.float64)
    return ApgStep(new.finish(), following.finish(), sums)


def _parts(
    args: ApgStepArgs,
    pair: Pair,
    operands: tuple[tuple[NDArray[Any], ...], tuple[int, int]],
    constants: NDArray[Any],
) -> list[NDArray[np.float64]]:
    n_pieces = shares(pair.x.shape[0])
    if not pair.x.shape[0]:
        return [np.zeros(7)]
    if args.layout is None or args.weights is None:
        return run_pieces(
            entry_steps, [(*operands, constants, *cut) for cut in cuts(pair.x.shape[0], n_pieces)]
        )
    bounds, members = args.layout.arrays
    weights = (*group_weights(args.weights), args.step)
    pieces = ordered(args.layout, pair.n)
    if pieces is not None:
        groups = tiles(pieces.layout, pair.outer)
        tables = groups.tables(pair.x.itemsize), groups.most
        each, stride = pieces.weights(*weights[:2])
        tags = groups.tag, VECTORS[pair.x.itemsize]
        numbers = groups.weights((each, stride)), stride, args.step, *tags
        return run_pieces(
            tile_steps,
            [
                (*operands, constants, *tables, *numbers, *part)
                for part in groups.cuts(pair.x.shape[0], n_pieces)
            ],
        )
    return run_pieces(
        row_steps,
        [
            (*operands, constants, pair.n, bounds, members, *weights, *cut)
            for cut in cuts(pair.outer, min(pair.outer, n_pieces))
        ],
    )


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
