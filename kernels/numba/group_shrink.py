"""Group prox on CPUs: one read, one write, no temporary as large as the tensor."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import cpu_floats, group_weights, paired, scalar
from .lanes import lanes
from .pool import cuts, pieces, run_pieces
from .shrink_gather import shrink_gathered
from .shrink_strided import shrink_strided
from .shrink_tiles import shrink_equal, shrink_tiles
from .tiles import WIDEST

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from proxmtl.kernels.prox_args import GroupShrinkArgs

    from .arrays import Pair


# From this mean size on, groups are taken one by one.
_LONG = 48
# Below this many entries, compiling for one group size costs more than thousands of calls save.
_WORTH_COMPILING = 1 << 20


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
    n_groups, entries = args.layout.n_groups, pair.x.shape[0]
    parts = instance_edges(bounds, pair.outer, pieces(entries))
    phase = pair.phase
    size = args.layout.uniform_size
    if entries >= _WORTH_COMPILING and 1 < size <= WIDEST and args.l1 == 0:
        operands = pair.x, pair.out, phase, n_groups, *numbers[:3], lanes(size)
        return float(sum(run_pieces(shrink_equal, [(*operands, *part) for part in parts])))
    long = pair.n >= _LONG * n_groups
    together = lanes(WIDEST if args.layout.max_size > WIDEST // 2 else WIDEST // 2)
    operands = pair.x, pair.out, phase, bounds, *numbers, long, together
    return float(sum(run_pieces(shrink_tiles, [(*operands, *part) for part in parts])))


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
