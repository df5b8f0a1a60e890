"""Overlapping groups: the prox by block ascent on its dual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from proxmtl.kernels.dispatch import register_everywhere
from proxmtl.kernels.fibres import checked_axis, checked_float, checked_scale, without_graph
from proxmtl.kernels.group_index import as_pair, checked_groups
from proxmtl.kernels.library import as_weights, define, split_number, through_library
from proxmtl.kernels.memory import checked_apart
from proxmtl.kernels.weights import group_weights

if TYPE_CHECKING:
    from proxmtl.kernels.group_index import GroupArgument, GroupIndex

__all__ = ["OverlapSweepArgs", "overlap_dual_sweep"]


@dataclass(frozen=True, slots=True)
class OverlapSweepArgs:
    """Arguments of `overlap_dual_sweep`: X and dual are overwritten."""

    X: torch.Tensor
    dual: torch.Tensor
    groups: GroupIndex
    weights: torch.Tensor
    step: float
    axis: int
    sweeps: int
    tolerance: float

    @property
    def device(self) -> torch.device:
        """Device of the call."""
        return self.X.device

    @property
    def written(self) -> tuple[torch.Tensor, ...]:
        """The caller's tensors that the call writes to."""
        return self.X, self.dual


def bind(
    X: torch.Tensor,
    dual: torch.Tensor,
    groups: GroupArgument,
    weights: torch.Tensor | float,
    *,
    step: torch.Tensor | float = 1.0,
    axis: int = -1,
    sweeps: int = 1,
    tolerance: float = 0.0,
) -> OverlapSweepArgs:
    """Check the arguments of `overlap_dual_sweep`."""
    checked_float(X, "X")
    checked_float(dual, "dual")
    axis = checked_axis(X, axis, "X")
    index = checked_groups(groups, X.shape[axis])
    expected = (*X.shape[:axis], index.n_members, *X.shape[axis + 1 :])
    if tuple(dual.shape) != expected:
        raise ValueError(
            f"dual has shape {tuple(dual.shape)}; it holds one entry per membership along axis "
            f"{axis}, so pass {expected}"
        )
    if dual.dtype != X.dtype or dual.device != X.device:
        raise ValueError(
            f"dual is {dual.dtype} on {dual.device} but X is {X.dtype} on {X.device}; they must "
            "agree"
        )
    checked_apart(X, "X", dual, "dual")
    checked_apart(X, "X", weights, "weights")
    checked_apart(dual, "dual", weights, "weights")
    if not hasattr(sweeps, "__index__") or sweeps < 0:
        raise ValueError(f"sweeps is {sweeps}; it must be a whole number, 0 or more")
    return OverlapSweepArgs(
        without_graph(X),
        without_graph(dual),
        index,
        group_weights(weights, index.n_groups, X.device),
        checked_scale(step, "step"),
        axis,
        int(sweeps),
        checked_scale(tolerance, "tolerance"),
    )


def _fake(X: Any, *others: Any) -> tuple[Any, Any]:
    axis = others[5] % X.dim()
    shape = (*X.shape[:axis], *X.shape[axis + 1 :])
    return X.new_empty(shape, dtype=torch.float64), X.new_empty((), dtype=torch.float64)


OVERLAP_DUAL_SWEEP = register_everywhere("overlap_dual_sweep", bind)
_OP = define(
    OVERLAP_DUAL_SWEEP,
    "(Tensor(a!) X, Tensor(b!) dual, Tensor indptr, Tensor indices, Tensor weights, float step, "
    "int axis, int sweeps, float tolerance, str? backend, Tensor? step_at=None) -> "
    "(Tensor, Tensor)",
    _fake,
    mutates=("X", "dual"),
)


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
        gap, value = _OP(X, dual, *as_pair(groups), each, *numbers, backend, step_at)
        return gap, value
    args = bind(
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
