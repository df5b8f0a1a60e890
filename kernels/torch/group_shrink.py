"""Group prox in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always

from .segments import column, delivered, group_norms, shrink_factors, spread, weighted_total, wide
from .soft_threshold import soft

if TYPE_CHECKING:
    from proxmtl.kernels.ops.group_shrink import GroupShrinkArgs

supports = always


def run(args: GroupShrinkArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft-threshold every entry, then shrink every group; value of the penalty there."""
    blocks = wide(args.V, args.axis)
    if args.l1:
        blocks = soft(blocks, args.step * args.l1)
    weights = column(args.weights)
    norms = group_norms(blocks, args.groups)
    factors = shrink_factors(norms, (args.step * weights).to(norms.dtype))
    result = spread(factors, blocks, args.groups)
    value = weighted_total(norms * factors, weights)
    if args.l1:
        value += args.l1 * result.abs().sum(dtype=torch.float64)
    return delivered(result, args.V, args.out), value
