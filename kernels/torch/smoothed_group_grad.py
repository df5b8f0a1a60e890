"""Nesterov's smoothing of group norms in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always
from proxmtl.kernels.ops.smoothed_group_grad import SmoothedGroup

from .segments import column, delivered, group_norms, wide

if TYPE_CHECKING:
    from proxmtl.kernels.ops.smoothed_group_grad import SmoothedGroupArgs

supports = always


def run(args: SmoothedGroupArgs) -> SmoothedGroup:
    """Σ_g w_g α^g is the input times one multiplier per entry: the groups' slopes, summed."""
    blocks = wide(args.V, args.axis)
    weights = column(args.weights)
    smoothness = args.smoothness
    lengths = weights * group_norms(blocks, args.groups)
    outside = ~(lengths <= smoothness)  # NaN too
    ratios = torch.where(outside, 1.0, lengths / smoothness)
    slopes = weights * (weights / torch.where(outside, lengths, smoothness))
    _, indices, owner = args.groups.on(blocks.device)
    slopes = slopes.to(blocks.dtype)
    multipliers = torch.zeros_like(blocks).index_add_(1, indices, slopes[:, owner])
    value = torch.where(outside, lengths - smoothness / 2, lengths * ratios / 2).sum()
    squares = ratios.square().sum()
    grad = delivered(blocks * multipliers, args.V, args.out)
    return SmoothedGroup(value, grad, lengths.sum(), squares)
