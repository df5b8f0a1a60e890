"""Some entries of a product, one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always

from .loops import to_float64

if TYPE_CHECKING:
    from proxmtl.kernels.ops.sampled_product import SampledProductArgs

supports = always


def run(args: SampledProductArgs) -> torch.Tensor:
    """One inner product a place."""
    X, W = to_float64(args.X), to_float64(args.W)
    starts, tasks, rows, positions = (each.tolist() for each in args.entries)
    values = [0.0] * len(rows)
    for t, task in enumerate(tasks):
        for j in range(starts[t], starts[t + 1]):
            terms = zip(X[rows[j]].tolist(), W[task].tolist(), strict=True)
            values[positions[j]] = sum(x * w for x, w in terms)
    return torch.tensor(values, dtype=torch.float64).to(args.X)
