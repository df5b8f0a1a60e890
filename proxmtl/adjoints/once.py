"""A guard that raises, with a reason, if a backward pass is itself differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["once_differentiable"]


def once_differentiable(
    grads: Sequence[Tensor | None], inputs: Sequence[Tensor | None], reason: str
) -> tuple[Tensor | None, ...]:
    """Return the gradients of a backward pass, made to raise ``RuntimeError`` if differentiated.

    Parameters
    ----------
    grads : sequence of Tensor or None
        Results of the backward pass.
    inputs : sequence of Tensor or None
        Tensors in which a second derivative could be requested: inputs of the forward pass, and
        incoming gradients.
    reason : str
        Message of the error.
    """
    if not torch.is_grad_enabled():  # no graph of this backward pass is recorded
        return tuple(grads)
    anchors = [x for x in inputs if x is not None and x.requires_grad]
    if not anchors:
        return tuple(grads)
    found = [g for g in grads if g is not None]
    out: Any = _Refusal.apply(reason, len(found), *found, *anchors)  # type: ignore[no-untyped-call]
    guarded = iter(out)
    return tuple(None if g is None else next(guarded) for g in grads)


class _Refusal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reason: str, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.reason = reason
        return tuple(t.view_as(t) for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise RuntimeError(ctx.reason)
