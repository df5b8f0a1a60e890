"""Proximal steps in closed form, for norms of disjoint groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .dispatch import register_everywhere
from .library import refuse_derivative, through_library
from .prox_args import ApgStep, bind_apg_step, bind_group_shrink, bind_soft_threshold
from .prox_library import (
    as_weights,
    define_apg_step,
    define_group_shrink,
    define_soft_threshold,
    split_number,
)

if TYPE_CHECKING:
    from .prox_args import GroupArguments

__all__ = ["ApgStep", "apg_step", "group_shrink", "soft_threshold"]

SOFT_THRESHOLD = register_everywhere("soft_threshold", bind_soft_threshold)
GROUP_SHRINK = register_everywhere("group_shrink", bind_group_shrink)
APG_STEP = register_everywhere("apg_step", bind_apg_step)

_SOFT_THRESHOLD_OP = define_soft_threshold(SOFT_THRESHOLD)
_GROUP_SHRINK_OP = define_group_shrink(GROUP_SHRINK)
_APG_STEP_OP = define_apg_step(APG_STEP)


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
    refuse_derivative("step", step)
    if through_library(out, V, weights):
        number, step_at = split_number(step)
        result, value = _SOFT_THRESHOLD_OP(V, as_weights(weights, V), number, backend, step_at)
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
    indptr : Tensor (G + 1,)
    indices : Tensor (E,)
        int64: members of group g are ``indices[indptr[g]:indptr[g + 1]]``. Checked once per pair
        of tensors and remembered while both live unmodified: pass the same tensors every time.
    weights : float or Tensor (G,)
        w ≥ 0.
    step : float or 0-d Tensor
        At least 0. Not part of the value. Under ``torch.compile`` give a tensor where it changes.
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
        Overlapping or out-of-range groups, negative weights, a step that requires grad, a shape
        that doesn't fit.
    TypeError
        A dtype that isn't served.
    """
    refuse_derivative("step", step)
    if through_library(out, V, weights):
        number, step_at = split_number(step)
        shrunk, value = _GROUP_SHRINK_OP(
            V, indptr, indices, as_weights(weights, V), number, axis, l1, backend, step_at
        )
        return shrunk if out is None else out.copy_(shrunk), value
    args = bind_group_shrink(V, indptr, indices, weights, step=step, axis=axis, l1=l1, out=out)
    result: tuple[torch.Tensor, torch.Tensor] = GROUP_SHRINK.run(args, backend)
    return result


def apg_step(
    Z: torch.Tensor,
    grad: torch.Tensor,
    X: torch.Tensor,
    groups: GroupArguments | None = None,
    *,
    step: torch.Tensor | float,
    momentum: torch.Tensor | float,
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
        At least 0; the first two also as 0-d tensors. Note ridge ‖x‖² without ½.
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
        Overlapping or out-of-range groups, negative numbers, a shape that doesn't fit; groups, a
        step or a momentum that require grad.
    TypeError
        A dtype that isn't served.
    """
    refuse_derivative("groups", groups)
    refuse_derivative("step", step)
    refuse_derivative("momentum", momentum)
    if through_library(out, Z, grad, X):
        parts: tuple[Any, Any, Any] = (None, None, None)
        if groups is not None:
            parts = (groups[0], groups[1], as_weights(groups[2], Z))
        number, step_at = split_number(step)
        inertia, momentum_at = split_number(momentum)
        numbers = (number, inertia, l1, ridge, axis)
        x, z, sums = _APG_STEP_OP(Z, grad, X, *parts, *numbers, backend, step_at, momentum_at)
        if out is not None:
            x, z = out[0].copy_(x), out[1].copy_(z)
        return ApgStep(x, z, sums)
    args = bind_apg_step(
        Z, grad, X, groups, step=step, momentum=momentum, l1=l1, ridge=ridge, axis=axis, out=out
    )
    result: ApgStep = APG_STEP.run(args, backend)
    return result
