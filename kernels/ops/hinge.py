"""Loss and gradient of linear tasks in one pass over the features."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch

from proxmtl.kernels.dispatch import Operation, on_device, register
from proxmtl.kernels.library import NAMESPACE, needs_library, refuse_derivative, refuse_graph
from proxmtl.kernels.torch.hinge import epilogue

from .hinge_args import HingeArgs, HingeResult, bind, check_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HINGE", "HingeResult", "hinge_value_and_grad"]

HINGE = register(
    Operation(
        name="hinge_value_and_grad",
        bind=bind,
        modules={
            "naive": "proxmtl.kernels.naive.hinge",
            "torch": "proxmtl.kernels.torch.hinge",
            "numba": "proxmtl.kernels.numba.hinge",
            "triton": "proxmtl.kernels.triton.hinge",
        },
    )
)

_SCHEMA = (
    "(Tensor[] X, Tensor W, Tensor[] Y, Tensor[] weights, Tensor? bias, bool ragged, str loss, "
    "bool return_scores, bool deterministic, str? backend) -> (Tensor, Tensor, Tensor, Tensor[])"
)


def _bound(inputs: tuple[Any, ...]) -> HingeArgs:
    X, W, Y, weights, bias, ragged, loss, return_scores, deterministic, _ = inputs
    return bind(
        X if ragged else X[0],
        W,
        Y if ragged else Y[0],
        None if not weights else (weights if ragged else weights[0]),
        bias,
        loss=loss,
        return_scores=return_scores,
        deterministic=deterministic,
    )


def _call(*inputs: Any) -> tuple[Any, ...]:
    value, grad, grad_bias, scores = HINGE.run(_bound(inputs), inputs[-1])
    if scores is None:
        return value, grad, grad_bias, []
    if isinstance(scores, tuple):
        return value, grad, grad_bias, [z.clone() for z in scores]
    return value, grad, grad_bias, [scores]


def _fake(*inputs: Any) -> tuple[Any, ...]:
    args = _bound(inputs)
    weights = args.weights
    result = args.result(
        weights.new_empty(args.n_tasks, dtype=torch.float64),
        weights.new_empty(args.n_tasks, args.n_features),
        weights.new_empty(args.n_tasks),
        args.empty_scores(),
    )
    scores = result.scores
    if scores is None:
        return (*result[:3], [])
    return (*result[:3], list(scores) if isinstance(scores, tuple) else [scores])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    X, W, labels, weights, *_ = inputs
    _, grad, grad_bias, scores = output
    of_features = (*scores, *labels, *weights) if _any(ctx.needs_input_grad[0]) else ()
    ctx.save_for_backward(W, grad, grad_bias, *of_features)
    ctx.loss = inputs[6]
    ctx.kind = "ragged" if inputs[5] else ("shared" if X[0].ndim == 2 else "dense")
    ctx.dtypes = [x.dtype for x in X]
    ctx.counts = (len(X), len(inputs[2]), len(inputs[3]))
    ctx.has_bias = inputs[4] is not None
    ctx.bias_dtype = inputs[4].dtype if ctx.has_bias else None
    ctx.mark_non_differentiable(grad, grad_bias, *scores)


def _backward(ctx: Any, value_grad: Any, *_: Any) -> tuple[Any, ...]:
    refuse_graph("hinge_value_and_grad")
    n_features, n_labels, n_weights = ctx.counts
    features: list[Any] = [None] * n_features
    W, grad, grad_bias, *of_features = ctx.saved_tensors
    scale = value_grad.to(grad.dtype)
    weights_grad = (grad * scale).to(W.dtype)
    bias_grad = (grad_bias * scale).to(ctx.bias_dtype) if ctx.has_bias else None
    if _any(ctx.needs_input_grad[0]):
        residual = on_device(W.device, _residuals, of_features, n_labels, ctx.loss)
        operands = ctx.kind, residual, scale, W.T.to(grad.dtype)
        wide = on_device(W.device, _features_grad, *operands)
        features = [f.to(dtype) for f, dtype in zip(wide, ctx.dtypes, strict=True)]
    others = ([None] * n_labels, [None] * n_weights)
    return (features, weights_grad, *others, bias_grad, None, None, None, None, None)


def _residuals(tensors: list[torch.Tensor], count: int, loss: str) -> list[torch.Tensor]:
    """Residuals of scores, labels and weights, ``count`` of each; there may be no weights."""
    scores, labels, weights = tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
    return [
        epilogue(z, y.to(z.dtype), c if c is None else c.to(z.dtype), loss)[1]
        for z, y, c in itertools.zip_longest(scores, labels, weights)
    ]


def _features_grad(
    kind: str, residual: list[torch.Tensor], scale: torch.Tensor, weights: torch.Tensor
) -> list[torch.Tensor]:
    """∂/∂x_mi = scale_m r_mi w_m, summed over the tasks where they share the row."""
    if kind == "shared":
        return [(residual[0] * scale) @ weights]
    if kind == "dense":
        return [(residual[0] * scale[:, None])[:, :, None] * weights[:, None, :]]
    return [torch.outer(r * s, w) for r, s, w in zip(residual, scale, weights, strict=True)]


def _any(needs: Any) -> bool:
    return any(_any(n) for n in needs) if isinstance(needs, (list, tuple)) else bool(needs)


_OP = torch.library.custom_op(f"{NAMESPACE}::{HINGE.name}", _call, mutates_args=(), schema=_SCHEMA)
_OP.register_fake(_fake)
_OP.register_autograd(_backward, setup_context=_setup)


def hinge_value_and_grad(
    X: torch.Tensor | Sequence[torch.Tensor],
    W: torch.Tensor,
    Y: torch.Tensor | Sequence[torch.Tensor],
    weights: torch.Tensor | Sequence[torch.Tensor] | None = None,
    bias: torch.Tensor | None = None,
    *,
    loss: str = "squared_hinge",
    return_scores: bool = False,
    deterministic: bool = True,
    backend: str | None = None,
) -> HingeResult:
    """Loss and gradient of M linear tasks, the features read once.

    With scores z_m = X_m w_m + b_m and residuals r_mi = c_mi φ'(z_mi; y_mi)::

        value_m = Σ_i c_mi φ(z_mi; y_mi)      grad_m = X_mᵀ r_m      grad_bias_m = Σ_i r_mi

    where φ is ½ max(0, 1 − y z)² (``"squared_hinge"``), log(1 + e^{−y z}) (``"logistic"``) or
    ½ (z − y)² (``"squared"``). The derivative with respect to the features is r_mi w_m.

    Parameters
    ----------
    X : Tensor (N, D), Tensor (M, N, D), or sequence of M tensors (N_m, D)
        Features: shared by all tasks, or of each task. float64, float32, bfloat16 or float16.
    W : Tensor (D, M)
        Weights, one column per task. Fastest as the transposed view of task-major memory.
    Y : Tensor (N, M) for shared X, (M, N) for X (M, N, D), or sequence of M tensors (N_m,)
        Labels −1 and +1; 0 is a missing label. For ``"squared"``, any target, 0 included.
    weights : like Y, optional
        Sample weights c ≥ 0, not checked: with a negative one the loss isn't convex. Where a
        weight is 0 the label is never looked at and may be NaN.
    bias : Tensor (M,), optional
        Offsets b of the scores.
    loss : {"squared_hinge", "logistic", "squared"}
    return_scores : bool
        Also return z, laid out like Y, without a graph.
    deterministic : bool
        True: partial gradients are summed in an order that depends on the shapes alone (on a GPU
        also on its number of multiprocessors), so that equal calls give equal bits. False allows
        atomic additions on a GPU: not reproducible.
    backend : str, optional
        Name of the backend to use; default as `use_backend` and ``PROXMTL_BACKEND`` have it.

    Returns
    -------
    HingeResult
        ``(value, grad, grad_bias, scores)``; value in float64, the others in the accumulation
        dtype, float64 if X or W is float64 and float32 otherwise.

    Raises
    ------
    ValueError
        Shapes or devices that don't fit together, or an unknown loss.
    TypeError
        A dtype that isn't served.
    BackendError
        The backend asked for can't serve the call.
    """
    if needs_library(X, W, Y, weights, bias):
        return _through_library(X, W, Y, weights, bias, loss, return_scores, deterministic, backend)
    args = bind(
        X,
        W,
        Y,
        weights,
        bias,
        loss=loss,
        return_scores=return_scores,
        deterministic=deterministic,
    )
    result: HingeResult = HINGE.run(args, backend)
    return result


def _all(given: torch.Tensor | Sequence[torch.Tensor] | None) -> list[torch.Tensor]:
    if given is None:
        return []
    return [given] if isinstance(given, torch.Tensor) else list(given)


def _through_library(
    X: torch.Tensor | Sequence[torch.Tensor],
    W: torch.Tensor,
    Y: torch.Tensor | Sequence[torch.Tensor],
    weights: torch.Tensor | Sequence[torch.Tensor] | None,
    bias: torch.Tensor | None,
    *options: Any,
) -> HingeResult:
    check_tensors(X, W, Y, weights, bias)
    loss, return_scores, deterministic, backend = options
    features, labels, sample_weights = _all(X), _all(Y), _all(weights)
    refuse_derivative("Y", labels)
    refuse_derivative("weights", sample_weights)
    ragged = not isinstance(X, torch.Tensor)
    keep = return_scores or any(x.requires_grad for x in features)
    value, grad, grad_bias, scores = _OP(
        features, W, labels, sample_weights, bias, ragged, loss, keep, deterministic, backend
    )
    public: torch.Tensor | tuple[torch.Tensor, ...] | None = None
    if return_scores:
        public = tuple(scores) if ragged else scores[0]
    return HingeResult(value, grad, grad_bias, public)
