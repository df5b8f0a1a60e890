"""Overlapping groups: the prox by its dual, and the smoothed penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dispatch import register_everywhere
from .group_index import as_pair
from .library import through_library
from .prox_args import SmoothedGroup, bind_overlap_dual_sweep, bind_smoothed_group_grad
from .prox_library import (
    as_weights,
    define_overlap_dual_sweep,
    define_smoothed_group_grad,
    split_number,
)

if TYPE_CHECKING:
    import torch

    from .group_index import GroupArgument

__all__ = ["SmoothedGroup", "overlap_dual_sweep", "smoothed_group_grad"]

OVERLAP_DUAL_SWEEP = register_everywhere("overlap_dual_sweep", bind_overlap_dual_sweep)
SMOOTHED_GROUP_GRAD = register_everywhere("smoothed_group_grad", bind_smoothed_group_grad)

_OVERLAP_DUAL_SWEEP_OP = define_overlap_dual_sweep(OVERLAP_DUAL_SWEEP)
_SMOOTHED_GROUP_GRAD_OP = define_smoothed_group_grad(SMOOTHED_GROUP_GRAD)


def overlap_dual_sweep(
    X: torch.Tensor,
    dual: torch.Tensor,
    groups: GroupArgument,
    weights: torch.Tensor | float,
    *,
    step: torch.Tensor | float = 1.0,
    axis: int = -1,
    sweeps: int = 1,
    tolerance: float = 0.0,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sweeps of block ascent on the dual of the prox of overlapping group norms, in place.

    The prox of step Σ_g w_g ‖x_g‖ at v is x = v - Σ_g ξ^g with ξ^g supported on g and
    ‖ξ^g‖ ≤ step w_g. One sweep takes the groups in order (for a tree: children first, and one
    sweep is exact)::

        z = (x + ξ^g)_g,    ξ^g ← z min(1, step w_g / ‖z‖),    x_g ← z - ξ^g

    The gap step Σ_g w_g ‖x_g‖ - Σ_g ⟨x_g, ξ^g⟩ bounds half the squared distance to the prox.

    Parameters
    ----------
    X : Tensor
        x = v - Σ_g ξ^g on entry (v itself when the dual starts at 0); overwritten.
    dual : Tensor
        ξ, one entry per membership: the shape of X with length E along the axis; overwritten.
    groups : GroupIndex, or tuple of Tensor ``(indptr, indices)``
        As in `group_shrink`; they may overlap.
    weights : float or Tensor (G,)
        w ≥ 0.
    step : float or 0-d Tensor
        At least 0.
    axis : int
        Axis that the groups cut.
    sweeps : int
        At most so many for each fibre.
    tolerance : float
        A fibre stops after the sweep that brings its gap to this.
    backend : str, optional
        As in `use_backend`.

    Returns
    -------
    tuple of Tensor
        The gap of each fibre (the shape of X without the axis) and Σ w_g ‖x_g‖ over all fibres
        (0-d), both float64.

    Raises
    ------
    ValueError
        Out-of-range groups, negative weights, a shape that doesn't fit; weights or a step that
        require grad.
    TypeError
        A dtype that isn't served.
    """
    if through_library(None, X, dual, weights=weights, step=step):
        number, step_at = split_number(step)
        numbers = (number, axis, sweeps, tolerance)
        each = as_weights(weights, X)
        gap, value = _OVERLAP_DUAL_SWEEP_OP(
            X, dual, *as_pair(groups), each, *numbers, backend, step_at
        )
        return gap, value
    args = bind_overlap_dual_sweep(
        X,
        dual,
        groups,
        weights,
        step=step,
        axis=axis,
        sweeps=sweeps,
        tolerance=tolerance,
    )
    result: tuple[torch.Tensor, torch.Tensor] = OVERLAP_DUAL_SWEEP.run(args, backend)
    return result


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
        value, grad, *sums = _SMOOTHED_GROUP_GRAD_OP(
            V, *as_pair(groups), each, number, axis, backend, smoothness_at
        )
        return SmoothedGroup(value, grad if out is None else out.copy_(grad), *sums)
    args = bind_smoothed_group_grad(V, groups, weights, smoothness, axis=axis, out=out)
    result: SmoothedGroup = SMOOTHED_GROUP_GRAD.run(args, backend)
    return result
