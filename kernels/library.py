"""The operations as ``torch.library`` custom ops: autograd, fake tensors and torch.compile.

torch sees one opaque call; the backend is chosen inside it, at run time. An operation needs a
schema, the call, a fake that gives shapes, dtypes and strides, and a backward; ``opcheck`` tests
hold it. A custom op may return neither its inputs nor two views of one memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import forward_ad

from .dispatch import on_device
from .fibres import checked_like
from .hinge_args import HingeArgs, bind
from .torch.hinge import epilogue

if TYPE_CHECKING:
    from collections.abc import Callable

    from .dispatch import Operation

NAMESPACE = "proxmtl"

# Most arguments that are no tensors: to tell that one is no sequence either takes longer.
_PLAIN = (float, int, str, type(None))

_HINGE_SCHEMA = (
    "(Tensor[] X, Tensor W, Tensor[] Y, Tensor[] weights, Tensor? bias, bool ragged, str loss, "
    "bool return_scores, bool deterministic, str? backend) -> (Tensor, Tensor, Tensor, Tensor[])"
)


def needs_library(*given: Any) -> bool:
    """Whether a call has to go through torch's dispatcher: under torch.compile or autograd.

    Raises
    ------
    RuntimeError
        A tensor among these has a tangent.
    """
    refuse_tangent(*given)
    return torch.compiler.is_compiling() or (torch.is_grad_enabled() and requires_grad(*given))


def requires_grad(*given: Any) -> bool:
    """Whether a tensor among these, or in sequences of them, requires grad."""
    for each in given:
        if isinstance(each, _PLAIN):
            continue
        if isinstance(each, torch.Tensor):
            if each.requires_grad:
                return True
        elif isinstance(each, Sequence) and requires_grad(*each):
            return True
    return False


def refuse_tangent(*given: Any) -> None:
    """Refuse tensors of forward-mode differentiation: a result would come without its tangent.

    Raises
    ------
    RuntimeError
        If a tensor among these, or in sequences of them, has a tangent.
    """
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:  # noqa: SLF001 - one look
        return
    for each in given:
        if isinstance(each, torch.Tensor):
            dual = forward_ad.unpack_dual(each)  # type: ignore[no-untyped-call]
            if dual.tangent is not None:
                raise RuntimeError(
                    "an argument has a tangent, and operations of kernels have no forward-mode "
                    "derivative; take the gradient by backward(), or write the operation in torch"
                )
        elif isinstance(each, Sequence) and not isinstance(each, str):
            refuse_tangent(*each)


def through_library(out: Any, *inputs: Any, **constants: Any) -> bool:
    """Whether the call goes through torch's dispatcher: under torch.compile or autograd.

    Raises
    ------
    ValueError
        The result's memory requires grad, or is given where an input requires it; one of the
        constants requires grad: there is no derivative with respect to it.
    RuntimeError
        An argument has a tangent of forward-mode differentiation.
    """
    refuse_tangent(out, *inputs, *constants.values())
    recorded = torch.is_grad_enabled()
    if recorded:
        for name, given in constants.items():
            refuse_derivative(name, given)
        if requires_grad(out):
            raise ValueError("out requires grad; write to it under torch.no_grad(), or detach it")
        recorded = requires_grad(*inputs)
    if not recorded and not torch.compiler.is_compiling():
        return False
    if out is not None and recorded:
        raise ValueError("out was given and an input requires grad; detach it, or drop out")
    if out is not None:
        checked_like(out, inputs[0], "out", "the input")
    return True


def refuse_derivative(name: str, given: Any) -> None:
    """Refuse an argument that requires grad where there is no derivative with respect to it.

    Raises
    ------
    ValueError
        With the name of the argument.
    """
    if torch.is_grad_enabled() and requires_grad(given):
        raise ValueError(f"{name} requires grad and has no derivative here; detach it")


def refuse_graph(name: str) -> None:
    """Refuse to have a backward recorded: its graph would miss the second derivative's terms.

    Raises
    ------
    RuntimeError
        When autograd records the backward, as ``create_graph=True`` asks for.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"{name} is differentiable once, and create_graph=True asks for a graph of its "
            "backward; leave it out, or write the operation in torch where you need second "
            "derivatives"
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


def define_hinge(operation: Operation) -> Callable[..., Any]:
    """Register ``proxmtl::hinge_value_and_grad``."""

    def call(*inputs: Any) -> tuple[Any, ...]:
        value, grad, grad_bias, scores = operation.run(_bound(inputs), inputs[-1])
        if scores is None:
            return value, grad, grad_bias, []
        if isinstance(scores, tuple):
            return value, grad, grad_bias, [r.clone() for r in scores]
        return value, grad, grad_bias, [scores]

    def fake(*inputs: Any) -> tuple[Any, ...]:
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

    op = torch.library.custom_op(
        f"{NAMESPACE}::{operation.name}", call, mutates_args=(), schema=_HINGE_SCHEMA
    )
    op.register_fake(fake)
    op.register_autograd(_hinge_backward, setup_context=_hinge_context)
    return op


def _hinge_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
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


def _hinge_backward(ctx: Any, value_grad: Any, *_: Any) -> tuple[Any, ...]:
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
