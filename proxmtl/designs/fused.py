"""Loss, gradient and scores of a design by one call of the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from proxmtl.data_term import DataTerm
from proxmtl.designs.base import Design
from proxmtl.kernels import hinge_value_and_grad

__all__ = ["FUSED", "fused"]

FUSED = 1 << 25
"""Bytes of features from which on a call of the kernel pays: they leave the caches."""

Features = Tensor | Sequence[Tensor]


def fused(
    design: Design,
    data: DataTerm,
    W: Tensor,
    X: Features,
    *,
    labels: Features,
    weights: Features,
    return_scores: bool = False,
) -> tuple[Tensor, Tensor, Any]:
    """Loss (0-d), gradient, and scores if asked for: each row of the features is read once.

    Parameters
    ----------
    design : Design
        Of the features X, shared by the tasks or a sequence of those of each task.
    data : DataTerm
        With a loss that has a kernel.
    W : Tensor
        The design's parameter.
    labels, weights : Tensor or sequence of Tensor
        Laid out like the features.
    """
    assert data.loss.kernel is not None
    coef, bias = design.split(W)
    found = hinge_value_and_grad(
        X,
        coef.T.contiguous().T,
        labels,
        weights,
        None if bias is None else design.unit * bias,
        loss=data.loss.kernel,
        return_scores=return_scores,
    )
    grad = design.join(found.grad, None if bias is None else design.unit * found.grad_bias)
    return found.value.sum().to(W.dtype), grad.to(W.dtype), found.scores
