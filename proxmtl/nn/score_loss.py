"""A loss on scores as an autograd function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from proxmtl.adjoints import once_differentiable
from proxmtl.losses import Loss

__all__ = ["score_loss"]

TWICE = (
    "The loss of the head can be differentiated once. Its backward pass holds the solved weights "
    "fixed, which is right for the gradient (the envelope theorem) and wrong for its derivative: "
    "how the weights follow the features would be left out. Take differences of the gradient "
    "instead."
)


def score_loss(loss: Loss, scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """``sum c phi(z; y)``, 0-d, with gradient ``c phi'(z; y)`` in ``z``. Once differentiable."""
    out: Tensor = _ScoreLoss.apply(loss, scores, labels, weights)  # type: ignore[no-untyped-call]
    return out


class _ScoreLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Loss, scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        value, residuals = loss.value_and_grad(scores, labels, weights)
        ctx.save_for_backward(residuals, scores)
        return value

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> Any:
        residuals, scores = ctx.saved_tensors
        with torch.no_grad():
            grad = incoming * residuals
        return None, *once_differentiable([grad], [scores, incoming], TWICE), None, None
