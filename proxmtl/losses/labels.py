"""What real labels have to be."""

from __future__ import annotations

import torch
from torch import Tensor

from proxmtl.losses.base import Loss

__all__ = ["check_real"]


def check_real(loss: Loss, labels: Tensor, weights: Tensor) -> None:
    """Raise ``ValueError`` unless each label of positive weight is finite."""
    wrong = labels[(weights > 0) & ~torch.isfinite(labels)]
    if wrong.numel():
        raise ValueError(
            f"labels: {type(loss).__name__} takes real numbers; saw {wrong[0].item()}. Give finite "
            "labels, NaN for missing."
        )
