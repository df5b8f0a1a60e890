"""Proximal steps in closed form, for norms of disjoint groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dispatch import register_everywhere
from .group_index import as_pair
from .library import through_library
from .prox_args import bind_group_shrink, bind_soft_threshold
from .prox_library import (
    as_weights,
    define_group_shrink,
    define_soft_threshold,
    split_number,
)

if TYPE_CHECKING:
    import torch

    from .group_index import GroupArgument

__all__ = ["group_shrink", "soft_threshold"]

SOFT_THRESHOLD = register_everywhere("soft_threshold", bind_soft_threshold)
GROUP_SHRINK = register_everywhere("group_shrink", bind_group_shrink)

_SOFT_THRESHOLD_OP = define_soft_threshold(SOFT_THRESHOLD)
_GROUP_SHRINK_OP = define_group_shrink(GROUP_SHRINK)


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
        result, value = _SOFT_THRESHOLD_OP(V, as_weights(weights, V), number, backend, step_at)
        return result if out is None else out.copy_(result), value
    args = bind_soft_threshold(V, weights, step=step, out=out)
    result, value = SOFT_THRESHOLD.run(args, backend)
    return result.reshape(V.shape) if out is None else out, value


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
    if through_library(out, V, weights, step=step):
        number, step_at = split_number(step)
        shrunk, value = _GROUP_SHRINK_OP(
            V, *as_pair(groups), as_weights(weights, V), number, axis, l1, backend, step_at
        )
        return shrunk if out is None else out.copy_(shrunk), value
    args = bind_group_shrink(V, groups, weights, step=step, axis=axis, l1=l1, out=out)
    result: tuple[torch.Tensor, torch.Tensor] = GROUP_SHRINK.run(args, backend)
    return result
