"""Group prox on CPUs: one read, one write, no temporary as large as the tensor."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import cpu_floats, group_weights, paired, scalar
from .pool import cuts, pieces, run_pieces
from .shrink_gather import shrink_gathered
from .shrink_strided import shrink_strided
from .shrink_tiles import shrink_tiles

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from proxmtl.kernels.prox_args import GroupShrinkArgs

    from .arrays import Pair


def supports(args: GroupShrinkArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.V)


def run(args: GroupShrinkArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft-threshold every entry, then shrink every group; value of the penalty there."""
    pair = paired(args.V, args.axis, args.out)
    weights, stride = group_weights(args.weights)
    numbers = (weights, stride, args.step, args.l1)
    if not pair.x.shape[0]:
        value = 0.0
    elif pair.inner > 1:
        value = _strided(args, pair, numbers)
    elif args.layout.n_groups and args.layout.tiles(pair.n):
        value = _tiles(args, pair, numbers)
    else:
        value = _gathered(args, pair, numbers)
    return pair.finish(), scalar(value)


def _tiles(args: GroupShrinkArgs, pair: Pair, numbers: tuple[Any, ...]) -> float:
    bounds, _ = args.layout.arrays
    parts = instance_edges(bounds, pair.outer, pieces(pair.x.shape[0]))
    calls = [(pair.x, pair.out, pair.same, bounds, *numbers, *part) for part in parts]
    return float(sum(run_pieces(shrink_tiles, calls)))


def instance_edges(bounds: NDArray[np.int64], outer: int, n_pieces: int) -> list[tuple[int, int]]:
    """Cut the (fibre, group) pairs, in memory order, into pieces with equally many entries."""
    n_groups, n = bounds.shape[0] - 1, int(bounds[-1])
    edges = [0]
    for k in range(1, n_pieces):
        fibre, item = divmod(outer * n * k // n_pieces, n)
        edge = fibre * n_groups + int(np.searchsorted(bounds, item, side="left"))
        edges.append(max(edges[-1], min(edge, outer * n_groups)))
    return list(itertools.pairwise([*edges, outer * n_groups]))


def _gathered(args: GroupShrinkArgs, pair: Pair, numbers: tuple[Any, ...]) -> float:
    bounds, members = args.layout.arrays
    calls = [
        (pair.x, pair.out, pair.n, bounds, members, *numbers, *cut)
        for cut in cuts(pair.outer, min(pair.outer, pieces(pair.x.shape[0])))
    ]
    return float(sum(run_pieces(shrink_gathered, calls)))


def _strided(args: GroupShrinkArgs, pair: Pair, numbers: tuple[Any, ...]) -> float:
    bounds, members = args.layout.arrays
    loose = args.layout.uncovered(pair.n).numpy()
    calls = [
        (pair.x, pair.out, pair.outer, pair.n, pair.inner, bounds, members, loose, *numbers, *cut)
        for cut in cuts(pair.inner, min(pair.inner, pieces(pair.x.shape[0])))
    ]
    return float(sum(run_pieces(shrink_strided, calls)))
