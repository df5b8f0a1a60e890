"""Soft threshold, one number at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxmtl.kernels.dispatch import always

from .loops import number, soft, to_float64, written

if TYPE_CHECKING:
    import torch

    from proxmtl.kernels.ops.soft_threshold import SoftThresholdArgs

supports = always


def run(args: SoftThresholdArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft threshold of every entry, and the weighted sum of magnitudes."""
    array = to_float64(args.V)
    weights = np.broadcast_to(to_float64(args.weights), array.shape)
    value = 0.0
    for position in np.ndindex(array.shape):
        weight = float(weights[position])
        array[position] = soft(float(array[position]), args.step * weight)
        value += weight * abs(float(array[position]))
    return written(array, args.V, args.out), number(value, args.V)
