"""Soft threshold in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always
from proxmtl.kernels.fibres import accumulation_dtype

if TYPE_CHECKING:
    from proxmtl.kernels.ops.soft_threshold import SoftThresholdArgs

supports = always


def run(args: SoftThresholdArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft threshold of every entry, and the weighted sum of magnitudes."""
    wide = args.V.to(accumulation_dtype(args.V))
    weights = args.weights.to(torch.float64)  # which holds them times a step
    shrunk = soft(wide, (args.step * weights).to(wide.dtype))
    value = (shrunk.abs() * weights).sum()
    result = torch.empty_like(args.V) if args.out is None else args.out
    return result.copy_(shrunk), value


def soft(values: torch.Tensor, thresholds: torch.Tensor | float) -> torch.Tensor:
    """sign(v) max(|v| - threshold, 0): what clipping to the threshold leaves. NaN stays NaN."""
    if isinstance(thresholds, torch.Tensor):
        return values - torch.minimum(torch.maximum(values, -thresholds), thresholds)
    return values - values.clamp(-thresholds, thresholds)
