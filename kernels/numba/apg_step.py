"""One accelerated proximal gradient step on CPUs: one read of each operand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from proxmtl.kernels.prox_args import ApgStep

from .apg_across import across_steps
from .apg_loops import entry_steps, row_steps, tile_steps
from .arrays import cpu_floats, group_weights, paired
from .order import ordered
from .parts import parts_across
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
    size, layout = pair.x.shape[0], args.layout
    if not size:
        return [np.zeros(7)]
    given, parts = (*operands, constants), cuts(size, shares(size))
    if layout is None or args.weights is None:
        return run_pieces(entry_steps, [(*given, *part) for part in parts])
    weights, stride = group_weights(args.weights)
    if pair.inner > 1:
        filled = layout.filled(pair.n)
        across = *given, pair.inner, *filled.arrays, layout.n_groups, weights, stride, args.step
        blocks = parts_across(filled.arrays[0], pair.outer, pair.inner, shares(size))
        return run_pieces(across_steps, [(*across, *part) for part in blocks])
    pieces = ordered(layout, pair.n)
    if pieces is not None:
        groups = tiles(pieces.layout, pair.outer)
        weights, stride = pieces.weights(weights, stride)
        tables = groups.tables(pair.x.itemsize), groups.most
        numbers = groups.weights((weights, stride)), stride, args.step
        along = *given, *tables, *numbers, groups.tag, VECTORS[pair.x.itemsize]
        return run_pieces(tile_steps, [(*along, *part) for part in groups.cuts(size, shares(size))])
    scattered = *given, pair.n, *layout.arrays, weights, stride, args.step
    parts = cuts(pair.outer, min(pair.outer, shares(size)))
    return run_pieces(row_steps, [(*scattered, *part) for part in parts])


def _reshaped(args: ApgStepArgs) -> ApgStepArgs:
    out = None if args.out is None else (args.out[0].reshape(1), args.out[1].reshape(1))
    return replace(
        args, Z=args.Z.reshape(1), grad=args.grad.reshape(1), X=args.X.reshape(1), out=out
    )
