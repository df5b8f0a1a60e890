"""Nesterov's smoothing of group norms, overlapping or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from proxmtl.kernels.dispatch import register_everywhere
from proxmtl.kernels.fibres import accumulation_dtype, checked_axis, checked_float, without_graph
from proxmtl.kernels.group_index import as_pair, checked_groups
from proxmtl.kernels.library import (
    Arguments,
    as_weights,
    define,
    refuse_graph,
    split_number,
    through_library,
)
from proxmtl.kernels.memory import checked_out
from proxmtl.kernels.weights import group_weights

if TYPE_CHECKING:
    from proxmtl.kernels.group_index import GroupArgument, GroupIndex

__all__ = ["SmoothedGroup", "SmoothedGroupArgs", "smoothed_group_grad"]


class SmoothedGroup(NamedTuple):
    """What `smoothed_group_grad` returns."""

    value: torch.Tensor
    grad: torch.Tensor
    penalty: torch.Tensor
    dual_sqnorm: torch.Tensor


@dataclass(frozen=True, slots=True)
class SmoothedGroupArgs(Arguments):
    """Arguments of `smoothed_group_grad`."""

    V: torch.Tensor
    groups: GroupIndex
    weights: torch.Tensor
    smoothness: float
    axis: int
    out: torch.Tensor | None


def bind(
    V: torch.Tensor,
    groups: GroupArgument,
    weights: torch.Tensor | float,
    smoothness: torch.Tensor | float,
    *,
    axis: int = -1,
    out: torch.Tensor | None = None,
) -> SmoothedGroupArgs:
    """Check the arguments of `smoothed_group_grad`."""
    checked_float(V, "V")
    axis = checked_axis(V, axis)
    index = checked_groups(groups, V.shape[axis])
    if out is not None:
        checked_out(out, V, weights)
    smoothness = float(smoothness)
    # slopes are up to one over it, in the dtype of the accumulation
    wide = accumulation_dtype(V)
    if not 1 / torch.finfo(wide).max <= smoothness < float("inf"):
        raise ValueError(
            f"smoothness is {smoothness}; it must be positive and finite, and so must one over it "
            f"in {wide}"
        )
    return SmoothedGroupArgs(
        without_graph(V),
        index,
        group_weights(weights, index.n_groups, V.device),
        smoothness,
        axis,
        out,
    )


def _fake(V: Any, *_: Any) -> tuple[Any, ...]:
    number = torch.empty((), dtype=torch.float64, device=V.device)
    return number, torch.empty_like(V), number.clone(), number.clone()


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    del inputs
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: Any, value_grad: Any, *_: Any) -> tuple[Any, ...]:
    refuse_graph("smoothed_group_grad")
    (grad,) = ctx.saved_tensors
    return grad * value_grad.to(grad.dtype), None, None, None, None, None, None, None


SMOOTHED_GROUP_GRAD = register_everywhere("smoothed_group_grad", bind)
_OP = define(
    SMOOTHED_GROUP_GRAD,
    "(Tensor V, Tensor indptr, Tensor indices, Tensor weights, float smoothness, int axis, "
    "str? backend, Tensor? smoothness_at=None) -> (Tensor, Tensor, Tensor, Tensor)",
    _fake,
    (_setup, _backward),
    out_at=1,
)


def smoothed_group_grad(
    V: torch.Tensor,
    groups: GroupArgument,
    weights: torch.Tensor | float,
    smoothness: torch.Tensor | float,
    *,
    axis: int = -1,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> SmoothedGroup:
    """Nesterov's smoothing of a sum of group norms: value, gradient, and the dual point's norm.

    With C stacking the blocks w_g v_g of every fibre and ν the smoothness::

        f_ν(v) = max_{‖α_g‖ ≤ 1} ⟨α, C v⟩ - (ν/2) ‖α‖²,    α*_g = projection of w_g v_g / ν,
        ∇f_ν = Cᵀ α*,    Ω - ν B / 2 ≤ f_ν ≤ Ω = Σ_g w_g ‖v_g‖    for B blocks

    Groups may overlap; neither C v nor α is ever stored.

    Parameters
    ----------
    V : Tensor
        Any shape and strides; float64, float32, bfloat16 or float16.
    groups : GroupIndex, or tuple of Tensor ``(indptr, indices)``
        As in `group_shrink`; they may overlap.
    weights : float or Tensor (G,)
        w ≥ 0.
    smoothness : float or 0-d Tensor
        ν > 0.
    axis : int
        Axis that the groups cut.
    out : Tensor like V, optional
        Where the gradient goes.
    backend : str, optional
        As in `use_backend`.

    Returns
    -------
    SmoothedGroup
        ``value`` f_ν, ``grad`` like V, ``penalty`` Ω and ``dual_sqnorm`` ‖α*‖²; the numbers
        0-d float64.

    Raises
    ------
    ValueError
        Out-of-range groups, negative weights, smoothness not positive, a shape that doesn't fit;
        weights or a smoothness that require grad.
    TypeError
        A dtype that isn't served.

    References
    ----------
    Chen, Lin, Kim, Carbonell, Xing, "Smoothing proximal gradient method for general structured
    sparse regression", 2012.
    """
    if through_library(out, V, weights=weights, smoothness=smoothness):
        each = as_weights(weights, V)
        number, smoothness_at = split_number(smoothness)
        value, grad, *sums = _OP(V, *as_pair(groups), each, number, axis, backend, smoothness_at)
        return SmoothedGroup(value, grad if out is None else out.copy_(grad), *sums)
    args = bind(V, groups, weights, smoothness, axis=axis, out=out)
    result: SmoothedGroup = SMOOTHED_GROUP_GRAD.run(args, backend)
    return result
