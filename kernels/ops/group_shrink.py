"""Group shrinkage: the prox of norms of disjoint groups, with an L1 norm or without."""

# ruff: noqa: PLR0917 - the dispatcher passes arguments by position

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from proxmtl.kernels.dispatch import register_everywhere
from proxmtl.kernels.fibres import checked_axis, checked_float, checked_scale, without_graph
from proxmtl.kernels.group_index import as_index, as_pair, checked_groups
from proxmtl.kernels.library import (
    NAMESPACE,
    Arguments,
    as_weights,
    define,
    prox_fake,
    refuse_graph,
    split_number,
    through_library,
)
from proxmtl.kernels.memory import checked_out
from proxmtl.kernels.torch.prox_backward import group_shrink_backward
from proxmtl.kernels.weights import group_weights

if TYPE_CHECKING:
    from proxmtl.kernels.group_index import GroupArgument, GroupIndex

__all__ = ["GroupShrinkArgs", "group_shrink"]


@dataclass(frozen=True, slots=True)
class GroupShrinkArgs(Arguments):
    """Arguments of `group_shrink`: weights are contiguous (1,) or (G,), axis from 0."""

    V: torch.Tensor
    groups: GroupIndex
    weights: torch.Tensor
    step: float
    l1: float
    axis: int
    out: torch.Tensor | None


def bind(
    V: torch.Tensor,
    groups: GroupArgument,
    weights: torch.Tensor | float,
    *,
    step: torch.Tensor | float = 1.0,
    axis: int = -1,
    l1: float = 0.0,
    out: torch.Tensor | None = None,
) -> GroupShrinkArgs:
    """Check the arguments of `group_shrink`."""
    checked_float(V, "V")
    axis = checked_axis(V, axis)
    index = checked_groups(groups, V.shape[axis], disjoint=True)
    if out is not None:
        checked_out(out, V, weights)
    return GroupShrinkArgs(
        without_graph(V),
        index,
        group_weights(weights, index.n_groups, V.device),
        checked_scale(step, "step"),
        checked_scale(l1, "l1"),
        axis,
        out,
    )


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


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    del output
    V, indptr, indices, weights, step, axis, l1, _, step_at = inputs
    ctx.save_for_backward(V, indptr, indices, weights, step_at)
    ctx.numbers = (step, axis % V.dim(), l1)


def _backward(ctx: Any, result_grad: Any, value_grad: Any) -> tuple[Any, ...]:
    refuse_graph("group_shrink")
    V, indptr, indices, weights, step_at = ctx.saved_tensors
    grad, lengths = _shrink_backward(
        V, indptr, indices, weights, *ctx.numbers, result_grad, value_grad, step_at
    )
    lengths = lengths.sum_to_size(weights.shape).to(weights.dtype)
    return grad, None, None, lengths, None, None, None, None, None


GROUP_SHRINK = register_everywhere("group_shrink", bind)
_OP = define(
    GROUP_SHRINK,
    "(Tensor V, Tensor indptr, Tensor indices, Tensor weights, float step, int axis, float l1, "
    "str? backend, Tensor? step_at=None) -> (Tensor, Tensor)",
    prox_fake,
    (_setup, _backward),
    out_at=0,
)


def group_shrink(
    V: torch.Tensor,
    groups: GroupArgument,
    weights: torch.Tensor | float,
    *,
    step: torch.Tensor | float = 1.0,
    axis: int = -1,
    l1: float = 0.0,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Prox of a weighted sum of group norms (plus an L1 norm), and the penalty there.

    Groups are disjoint sets of positions along one axis; every fibre along it (every row, for
    ``axis=-1`` of a matrix) has the same groups. With u = soft(v, step l1)::

        x_g = u_g max(0, 1 - step w_g / ‖u_g‖)          value = Σ_g w_g ‖x_g‖ + l1 ‖x‖₁

    summed over fibres. A zero group stays zero, threshold 0 is the identity, positions in no
    group keep u. The input is read once and the result written once.

    Parameters
    ----------
    V : Tensor
        Any shape and strides; float64, float32, bfloat16 or float16.
    groups : GroupIndex, or tuple of Tensor ``(indptr, indices)``
        Members of group g are ``indices[indptr[g]:indptr[g + 1]]``. An index has been checked, and
        keeps what is derived from it; a pair is checked, and all of it derived, in every call.
    weights : float or Tensor (G,)
        w ≥ 0.
    step : float or 0-d Tensor
        At least 0. Not part of the value. Under ``torch.compile`` give a tensor where it changes.
    axis : int
        Axis that the groups cut.
    l1 : float
        Weight of the L1 norm (sparse group lasso), at least 0; on all entries, grouped or not.
    out : Tensor like V, optional
        As in `soft_threshold`.
    backend : str, optional
        As in `use_backend`.

    Returns
    -------
    tuple of Tensor
        x like V, and the value in float64 (0-d). NaN in a group makes its group NaN.

    Raises
    ------
    ValueError
        Overlapping or out-of-range groups, negative weights, a step that requires grad, a shape
        that doesn't fit.
    TypeError
        A dtype that isn't served.
    """
    if through_library(out, V, weights, step=step):
        number, step_at = split_number(step)
        shrunk, value = _OP(
            V, *as_pair(groups), as_weights(weights, V), number, axis, l1, backend, step_at
        )
        return shrunk if out is None else out.copy_(shrunk), value
    args = bind(V, groups, weights, step=step, axis=axis, l1=l1, out=out)
    result: tuple[torch.Tensor, torch.Tensor] = GROUP_SHRINK.run(args, backend)
    return result
