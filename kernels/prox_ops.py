"""The proximal operations and their contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .dispatch import BACKENDS, Operation, register
from .fibres import checked_like
from .library import needs_library, refuse_derivative, requires_grad
from .prox_args import (
    ApgStep,
    SmoothedGroup,
    bind_apg_step,
    bind_group_shrink,
    bind_overlap_dual_sweep,
    bind_smoothed_group_grad,
    bind_soft_threshold,
)
from .prox_library import (
    as_weights,
    define_apg_step,
    define_group_shrink,
    define_overlap_dual_sweep,
    define_smoothed_group_grad,
    define_soft_threshold,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .prox_args import GroupArguments

__all__ = [
    "ApgStep",
    "SmoothedGroup",
    "apg_step",
    "group_shrink",
    "overlap_dual_sweep",
    "smoothed_group_grad",
    "soft_threshold",
]


def _everywhere(name: str, bind: Callable[..., Any]) -> Operation:
    modules = {backend: f"proxmtl.kernels.{backend}.{name}" for backend in BACKENDS}
    return register(Operation(name=name, bind=bind, modules=modules))


SOFT_THRESHOLD = _everywhere("soft_threshold", bind_soft_threshold)
GROUP_SHRINK = _everywhere("group_shrink", bind_group_shrink)
OVERLAP_DUAL_SWEEP = _everywhere("overlap_dual_sweep", bind_overlap_dual_sweep)
SMOOTHED_GROUP_GRAD = _everywhere("smoothed_group_grad", bind_smoothed_group_grad)
APG_STEP = _everywhere("apg_step", bind_apg_step)

_SOFT_THRESHOLD_OP = define_soft_threshold(SOFT_THRESHOLD)
_GROUP_SHRINK_OP = define_group_shrink(GROUP_SHRINK)
_OVERLAP_DUAL_SWEEP_OP = define_overlap_dual_sweep(OVERLAP_DUAL_SWEEP)
_SMOOTHED_GROUP_GRAD_OP = define_smoothed_group_grad(SMOOTHED_GROUP_GRAD)
_APG_STEP_OP = define_apg_step(APG_STEP)


def _through_library(out: Any, *inputs: Any) -> bool:
    """Whether the call goes through torch's dispatcher: under torch.compile or autograd."""
    if not needs_library(*inputs):
        return False
    if out is not None and torch.is_grad_enabled() and requires_grad(*inputs):
        raise ValueError("out was given and an input requires grad; detach it, or drop out")
    for tensor in () if out is None else (out if isinstance(out, (tuple, list)) else (out,)):
        checked_like(tensor, inputs[0], "out", "the input")
    return True


def soft_threshold(
    V: torch.Tensor,
    weights: torch.Tensor | float,
    *,
    step: float = 1.0,
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
    step : float
        At least 0. Not part of the value.
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
        A negative or NaN weight or step, or a shape that doesn't fit.
    TypeError
        A dtype that isn't served.
    """
    if _through_library(out, V, weights):
        result, value = _SOFT_THRESHOLD_OP(V, as_weights(weights, V), step, backend)
        return result if out is None else out.copy_(result), value
    args = bind_soft_threshold(V, weights, step=step, out=out)
    result, value = SOFT_THRESHOLD.run(args, backend)
    return result.reshape(V.shape) if out is None else out, value


def group_shrink(
    V: torch.Tensor,
    indptr: torch.Tensor,
    indices: torch.Tensor,
    weights: torch.Tensor | float,
    *,
    step: float = 1.0,
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
    indptr : Tensor (G + 1,)
    indices : Tensor (E,)
        int64: members of group g are ``indices[indptr[g]:indptr[g + 1]]``. Checked once per pair
        of tensors and remembered while both live unmodified: pass the same tensors every time.
    weights : float or Tensor (G,)
        w ≥ 0.
    step : float
        At least 0. Not part of the value.
    axis : int
        Axis that the groups cut.
    l1 : float
        Weight of the L1 norm (sparse group lasso), at least 0; on all entries, grouped or not.
    out : Tensor like V, optional
        Where x goes; V itself works in place. A fresh result costs more time than the prox.
    backend : str, optional
        As in `use_backend`.

    Returns
    -------
    tuple of Tensor
        x like V, and the value in float64 (0-d). NaN in a group makes its group NaN.

    Raises
    ------
    ValueError
        Overlapping or out-of-range groups, negative weights, a shape that doesn't fit.
    TypeError
        A dtype that isn't served.
    """
    if _through_library(out, V, weights):
        shrunk, value = _GROUP_SHRINK_OP(
            V, indptr, indices, as_weights(weights, V), step, axis, l1, backend
        )
        return shrunk if out is None else out.copy_(shrunk), value
    args = bind_group_shrink(V, indptr, indices, weights, step=step, axis=axis, l1=l1, out=out)
    result: tuple[torch.Tensor, torch.Tensor] = GROUP_SHRINK.run(args, backend)
    return result


def overlap_dual_sweep(
    X: torch.Tensor,
    dual: torch.Tensor,
    indptr: torch.Tensor,
    indices: torch.Tensor,
    weights: torch.Tensor | float,
    *,
    step: float = 1.0,
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
    indptr : Tensor (G + 1,)
    indices : Tensor (E,)
        Groups as in `group_shrink`; they may overlap.
    weights : float or Tensor (G,)
        w ≥ 0.
    step : float
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
        Out-of-range groups, negative weights, a shape that doesn't fit.
    TypeError
        A dtype that isn't served.
    """
    refuse_derivative("weights", weights)
    if _through_library(None, X, dual):
        numbers = (step, axis, sweeps, tolerance)
        each = as_weights(weights, X)
        gap, value = _OVERLAP_DUAL_SWEEP_OP(X, dual, indptr, indices, each, *numbers, backend)
        return gap, value
    args = bind_overlap_dual_sweep(
        X,
        dual,
        indptr,
        indices,
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
    indptr: torch.Tensor,
    indices: torch.Tensor,
    weights: torch.Tensor | float,
    smoothness: float,
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
    indptr : Tensor (G + 1,)
    indices : Tensor (E,)
        Groups as in `group_shrink`; they may overlap.
    weights : float or Tensor (G,)
        w ≥ 0.
    smoothness : float
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
        Out-of-range groups, negative weights, smoothness not positive, a shape that doesn't fit.
    TypeError
        A dtype that isn't served.

    References
    ----------
    Chen, Lin, Kim, Carbonell, Xing, "Smoothing proximal gradient method for general structured
    sparse regression", 2012.
    """
    refuse_derivative("weights", weights)
    if _through_library(out, V):
        each = as_weights(weights, V)
        value, grad, *sums = _SMOOTHED_GROUP_GRAD_OP(
            V, indptr, indices, each, smoothness, axis, backend
        )
        return SmoothedGroup(value, grad if out is None else out.copy_(grad), *sums)
    args = bind_smoothed_group_grad(V, indptr, indices, weights, smoothness, axis=axis, out=out)
    result: SmoothedGroup = SMOOTHED_GROUP_GRAD.run(args, backend)
    return result


def apg_step(
    Z: torch.Tensor,
    grad: torch.Tensor,
    X: torch.Tensor,
    groups: GroupArguments | None = None,
    *,
    step: float,
    momentum: float,
    l1: float = 0.0,
    ridge: float = 0.0,
    axis: int = -1,
    out: tuple[torch.Tensor, torch.Tensor] | None = None,
    backend: str | None = None,
) -> ApgStep:
    """One step of accelerated proximal gradient, each operand read once.

    ::

        x⁺ = prox_{step R}(z - step grad),      z⁺ = x⁺ + momentum (x⁺ - x)
        R(x) = Σ_g w_g ‖x_g‖ + l1 ‖x‖₁ + ridge ‖x‖²

    Parameters
    ----------
    Z : Tensor
        Extrapolated point z; any shape and strides; float64, float32, bfloat16 or float16.
    grad : Tensor like Z
        Gradient of the smooth part at z.
    X : Tensor like Z
        Previous point x.
    groups : tuple, optional
        ``(indptr, indices, weights)`` of disjoint groups along ``axis``, as in `group_shrink`.
    step, momentum, l1, ridge : float
        At least 0. Note ridge ‖x‖² without ½.
    axis : int
        Axis that the groups cut.
    out : pair of Tensors like Z, optional
        Where x⁺ and z⁺ go; ``(X, Z)`` works in place.
    backend : str, optional
        As in `use_backend`.

    Returns
    -------
    ApgStep
        ``x`` and ``z``, the new points, and ``sums``, one float64 tensor of five numbers (one
        transfer from a GPU): R(x⁺); ⟨z - x⁺, x⁺ - x⟩, whose sign decides a restart; ‖x⁺ - x‖²;
        ⟨grad, x⁺ - z⟩ and ‖x⁺ - z‖², which a line search needs.

    Raises
    ------
    ValueError
        Overlapping or out-of-range groups, negative numbers, a shape that doesn't fit.
    TypeError
        A dtype that isn't served.
    """
    refuse_derivative("groups", groups)
    if _through_library(out, Z, grad, X):
        parts: tuple[Any, Any, Any] = (None, None, None)
        if groups is not None:
            parts = (groups[0], groups[1], as_weights(groups[2], Z))
        numbers = (step, momentum, l1, ridge, axis)
        x, z, sums = _APG_STEP_OP(Z, grad, X, *parts, *numbers, backend)
        if out is not None:
            x, z = out[0].copy_(x), out[1].copy_(z)
        return ApgStep(x, z, sums)
    args = bind_apg_step(
        Z, grad, X, groups, step=step, momentum=momentum, l1=l1, ridge=ridge, axis=axis, out=out
    )
    result: ApgStep = APG_STEP.run(args, backend)
    return result
