"""The proximal operations as ``torch.library`` custom ops: see `proxmtl.kernels.library`."""

# ruff: noqa: PLR0917 - the dispatcher passes arguments by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .group_index import as_index
from .library import NAMESPACE, refuse_graph
from .torch.prox_backward import group_shrink_backward, soft_threshold_backward

if TYPE_CHECKING:
    from collections.abc import Callable

    from .dispatch import Operation

_SOFT_SCHEMA = (
    "(Tensor V, Tensor weights, float step, str? backend, Tensor? step_at=None) -> (Tensor, Tensor)"
)
_SHRINK_SCHEMA = (
    "(Tensor V, Tensor indptr, Tensor indices, Tensor weights, float step, int axis, float l1, "
    "str? backend, Tensor? step_at=None) -> (Tensor, Tensor)"
)
_SWEEP_SCHEMA = (
    "(Tensor(a!) X, Tensor(b!) dual, Tensor indptr, Tensor indices, Tensor weights, float step, "
    "int axis, int sweeps, float tolerance, str? backend, Tensor? step_at=None) -> (Tensor, Tensor)"
)
_SMOOTH_SCHEMA = (
    "(Tensor V, Tensor indptr, Tensor indices, Tensor weights, float smoothness, int axis, "
    "str? backend, Tensor? smoothness_at=None) -> (Tensor, Tensor, Tensor, Tensor)"
)


def as_weights(weights: torch.Tensor | float, like: torch.Tensor) -> torch.Tensor:
    """Weights as the tensor that a custom op takes."""
    if isinstance(weights, torch.Tensor):
        return weights
    return torch.full((), float(weights), dtype=torch.float64, device=like.device)


def split_number(given: torch.Tensor | float) -> tuple[float, torch.Tensor | None]:
    """A number for a custom op, or, beside 0, the 0-d tensor that holds it.

    torch.compile makes code for each value of a number, and one code for all values of a tensor.
    """
    if not isinstance(given, torch.Tensor):
        return given, None
    return 0.0, given


def _number(like: torch.Tensor) -> torch.Tensor:
    return like.new_empty((), dtype=torch.float64)


def _define(
    operation: Operation,
    schema: str,
    fake: Callable[..., Any],
    out_at: int | None = None,
    mutates: tuple[str, ...] = (),
) -> Any:
    """Register an operation whose arguments, by the names of the schema, are those of its ``bind``.

    But for the groups, which are a pair of tensors here, and numbers that may be given by a 0-d
    tensor, ``<name>_at``. The result goes to fresh memory, ``out``, and is returned at ``out_at``.
    """
    names = [
        part.split("=")[0].split()[-1] for part in schema.partition(") -> ")[0][1:].split(", ")
    ]

    def call(*inputs: Any) -> tuple[Any, ...]:
        given = dict(zip(names, inputs, strict=False))  # torch leaves out what is the default
        backend = given.pop("backend")
        for name in names:
            if name.endswith("_at") and (held := given.pop(name, None)) is not None:
                given[name.removesuffix("_at")] = held
        if "indptr" in given:
            given["groups"] = given.pop("indptr"), given.pop("indices")
        if out_at is not None:
            given["out"] = torch.empty_like(given["V"])
        parts = list(operation.run(operation.bind(**given), backend))
        if out_at is not None:
            parts[out_at] = None
        # sums may be views of one memory
        return tuple(given["out"] if part is None else part.clone() for part in parts)

    op = torch.library.custom_op(
        f"{NAMESPACE}::{operation.name}", call, mutates_args=mutates, schema=schema
    )
    op.register_fake(fake)
    return op


def _prox_fake(V: Any, *_: Any) -> tuple[Any, Any]:
    return torch.empty_like(V), _number(V)


def define_soft_threshold(operation: Operation) -> Any:
    """Register ``proxmtl::soft_threshold``."""

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        del output
        V, weights, ctx.step, _, step_at = inputs
        ctx.save_for_backward(V, weights, step_at)

    def backward(ctx: Any, result_grad: Any, value_grad: Any) -> tuple[Any, ...]:
        V, weights, step_at = ctx.saved_tensors
        step = ctx.step if step_at is None else step_at
        grad, each = soft_threshold_backward(V, weights, step, result_grad, value_grad)
        return grad, each.sum_to_size(weights.shape).to(weights.dtype), None, None, None

    op = _define(operation, _SOFT_SCHEMA, _prox_fake, out_at=0)
    op.register_autograd(backward, setup_context=setup)
    return op


def define_group_shrink(operation: Operation) -> Any:
    """Register ``proxmtl::group_shrink``."""

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        del output
        V, indptr, indices, weights, step, axis, l1, _, step_at = inputs
        ctx.save_for_backward(V, indptr, indices, weights, step_at)
        ctx.numbers = (step, axis % V.dim(), l1)

    def backward(ctx: Any, result_grad: Any, value_grad: Any) -> tuple[Any, ...]:
        refuse_graph(operation.name)
        V, indptr, indices, weights, step_at = ctx.saved_tensors
        grad, lengths = _shrink_backward(
            V, indptr, indices, weights, *ctx.numbers, result_grad, value_grad, step_at
        )
        lengths = lengths.sum_to_size(weights.shape).to(weights.dtype)
        return grad, None, None, lengths, None, None, None, None, None

    op = _define(operation, _SHRINK_SCHEMA, _prox_fake, out_at=0)
    op.register_autograd(backward, setup_context=setup)
    return op


def _backward_call(
    V: Any,
    indptr: Any,
    indices: Any,
    weights: Any,
    step: float,
    axis: int,
    l1: float,
    result_grad: Any,
    value_grad: Any,
    step_at: Any = None,
) -> tuple[Any, Any]:
    groups = as_index((indptr, indices))
    step = step if step_at is None else float(step_at)
    grad, lengths = group_shrink_backward(
        V, groups, weights.reshape(-1), (step, axis, l1), (result_grad, value_grad)
    )
    return grad.contiguous(), lengths


def _backward_fake(V: Any, indptr: Any, *_: Any) -> tuple[Any, Any]:
    grad = torch.empty_like(V, memory_format=torch.contiguous_format)
    return grad, V.new_empty(indptr.shape[0] - 1, dtype=torch.float64)


# An op of its own: the groups are looked at, which a traced backward can't do.
_shrink_backward = torch.library.custom_op(
    f"{NAMESPACE}::group_shrink_backward",
    _backward_call,
    mutates_args=(),
    schema=(
        "(Tensor V, Tensor indptr, Tensor indices, Tensor weights, float step, int axis, float l1, "
        "Tensor result_grad, Tensor value_grad, Tensor? step_at=None) -> (Tensor, Tensor)"
    ),
)
_shrink_backward.register_fake(_backward_fake)


def define_overlap_dual_sweep(operation: Operation) -> Any:
    """Register ``proxmtl::overlap_dual_sweep``, which overwrites its first two arguments."""

    def fake(X: Any, *others: Any) -> tuple[Any, Any]:
        axis = others[5] % X.dim()
        shape = (*X.shape[:axis], *X.shape[axis + 1 :])
        return X.new_empty(shape, dtype=torch.float64), _number(X)

    return _define(operation, _SWEEP_SCHEMA, fake, mutates=("X", "dual"))


def define_smoothed_group_grad(operation: Operation) -> Any:
    """Register ``proxmtl::smoothed_group_grad``; its value is differentiable once."""

    def fake(V: Any, *_: Any) -> tuple[Any, ...]:
        return _number(V), torch.empty_like(V), _number(V), _number(V)

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        del inputs
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(*output[1:])

    def backward(ctx: Any, value_grad: Any, *_: Any) -> tuple[Any, ...]:
        refuse_graph(operation.name)
        (grad,) = ctx.saved_tensors
        return grad * value_grad.to(grad.dtype), None, None, None, None, None, None, None

    op = _define(operation, _SMOOTH_SCHEMA, fake, out_at=1)
    op.register_autograd(backward, setup_context=setup)
    return op
