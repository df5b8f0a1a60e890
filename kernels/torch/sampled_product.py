"""Some entries of a product, gathered piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always

if TYPE_CHECKING:
    from proxmtl.kernels.ops.sampled_product import SampledProductArgs

# Numbers of X and of W that are gathered at a time.
PIECE = 1 << 20

supports = always


def run(args: SampledProductArgs) -> torch.Tensor:
    """Rows of both matrices, multiplied and summed."""
    starts, tasks, rows, positions = args.entries
    owner = tasks.repeat_interleave(starts.diff())
    size = max(1, PIECE // max(1, args.X.shape[1]))
    out = args.X.new_empty(len(rows))
    parts = zip(*(torch.split(each, size) for each in (rows, owner, positions)), strict=True)
    for row, task, position in parts:
        out[position.to(torch.int64)] = torch.linalg.vecdot(args.X[row], args.W[task])
    return out
