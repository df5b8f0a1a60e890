"""The adjoint of some entries of a product, gathered piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always

from .sampled_product import PIECE

if TYPE_CHECKING:
    from proxmtl.kernels.ops.sampled_adjoint import SampledAdjointArgs

supports = always


def run(args: SampledAdjointArgs) -> None:
    """Weighted rows of X, summed by their groups.

    Sums by segments, since scattered additions have no fixed order on a GPU. A group that spans two
    pieces has a segment in each.
    """
    starts, tasks, rows, positions = args.entries
    size = max(1, PIECE // max(1, args.X.shape[1]))
    for first in range(0, len(rows), size):
        here = slice(first, min(first + size, len(rows)))
        bounds = (starts.clamp(here.start, here.stop) - here.start).diff()
        held = torch.nonzero(bounds).flatten()
        weights = args.values[positions[here].to(torch.int64), None]
        weighted = args.X[rows[here]].mul_(weights)
        sums = torch.segment_reduce(weighted, "sum", lengths=bounds[held], axis=0)
        args.out[tasks[held]] += sums
