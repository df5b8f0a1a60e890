"""The adjoint of some entries of a product, one place after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always

from .loops import to_float64

if TYPE_CHECKING:
    from proxmtl.kernels.ops.sampled_adjoint import SampledAdjointArgs

supports = always


def run(args: SampledAdjointArgs) -> None:
    """Add one row of X a place."""
    X, values, total = (to_float64(each) for each in (args.X, args.values, args.out))
    starts, tasks, rows, positions = (each.tolist() for each in args.entries)
    for t, task in enumerate(tasks):
        for j in range(starts[t], starts[t + 1]):
            for d in range(X.shape[1]):
                total[task, d] += values[positions[j]] * X[rows[j], d]
    args.out.copy_(torch.from_numpy(total))
