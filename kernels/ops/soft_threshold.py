"""Soft threshold: the prox of a weighted L1 norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from proxmtl.kernels.dispatch import register_everywhere
from proxmtl.kernels.fibres import checked_float, checked_scale, without_graph
from proxmtl.kernels.library import (
    Arguments,
    as_weights,
    define,
    prox_fake,
    split_number,
    through_library,
)
from proxmtl.kernels.memory import checked_out
from proxmtl.kernels.torch.prox_backward import soft_threshold_backward
from proxmtl.kernels.weights import checked_weights

__all__ = ["SoftThresholdArgs", "soft_threshold"]


@dataclass(frozen=True, slots=True)
class SoftThresholdArgs(Arguments):
    """Arguments of `soft_threshold`: weights are (1,) or shaped like V."""

    V: torch.Tensor
    weights: torch.Tensor
    step: float
    out: torch.Tensor | None


def bind(
    V: torch.Tensor,
    weights: torch.Tensor | float,
    *,
    step: torch.Tensor | float = 1.0,
    out: torch.Tensor | None = None,
) -> SoftThresholdArgs:
    """Check the arguments of `soft_threshold`; a 0-d tensor becomes (1,)."""
    checked_float(V, "V")
    if out is not None:
        checked_out(out, V, weights)
    if not V.dim():
        V, out = V.reshape(1), None if out is None else out.reshape(1)
    return SoftThresholdArgs(
        without_graph(V),
        checked_weights(weights, V.shape, V.device),
        checked_scale(step, "step"),
        out,
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    del output
    V, weights, ctx.step, _, step_at = inputs
    ctx.save_for_backward(V, weights, step_at)


def _backward(ctx: Any, result_grad: Any, value_grad: Any) -> tuple[Any, ...]:
    V, weights, step_at = ctx.saved_tensors
    step = ctx.step if step_at is None else step_at
    grad, each = soft_threshold_backward(V, weights, step, result_grad, value_grad)
    return grad, each.sum_to_size(weights.shape).to(weights.dtype), None, None, None


SOFT_THRESHOLD = register_everywhere("soft_threshold", bind)
_OP = define(
    SOFT_THRESHOLD,
    "(Tensor V, Tensor weights, float step, str? backend, Tensor? step_at=None) -> "
    "(Tensor, Tensor)",
    prox_fake,
    (_setup, _backward),
    out_at=0,
)


def soft_threshold(
    V: torch.Tensor,
    weights: torch.Tensor | float,
    *,
    step: torch.Tensor | float = 1.0,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Prox of a weighted L1 norm, and the norm there, in one pass.

    ::

        x_i = sign(v_i) max(|v_i| - step w_i, 0)        value = Σ_i w_i |x_i|

    Parameters
    ----------
    V : Tensor
        Any shape and strides; float64, float32, bfloat16 or float16.
    weights : float or Tensor
        w ≥ 0: one number, or a tensor that broadcasts to the shape of V.
    step : float or 0-d Tensor
        At least 0. Not part of the value. Under ``torch.compile`` give a tensor where it changes.
    out : Tensor like V, optional
        Where x goes; V itself works in place. A fresh result costs more time than the prox.
    backend : str, optional
        As in `use_backend`.

    Returns
    -------
    tuple of Tensor
        x like V, and the value in float64 (0-d). NaN stays NaN.

    Raises
    ------
    ValueError
        A negative or NaN weight or step, a step that requires grad, a shape that doesn't fit.
    TypeError
        A dtype that isn't served.
    """
    if through_library(out, V, weights, step=step):
        number, step_at = split_number(step)
        result, value = _OP(V, as_weights(weights, V), number, backend, step_at)
        return result if out is None else out.copy_(result), value
    args = bind(V, weights, step=step, out=out)
    result, value = SOFT_THRESHOLD.run(args, backend)
    return result.reshape(V.shape) if out is None else out, value
