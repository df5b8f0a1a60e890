"""Checked arguments of the proximal operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from .fibres import checked_axis, checked_float, checked_scale, without_graph
from .group_index import checked_groups
from .memory import checked_apart, checked_out
from .weights import checked_weights, group_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .group_index import GroupArgument, GroupIndex


class SmoothedGroup(NamedTuple):
    """What `smoothed_group_grad` returns."""

    value: torch.Tensor
    grad: torch.Tensor
    penalty: torch.Tensor
    dual_sqnorm: torch.Tensor


class SoftThresholdArgs(NamedTuple):
    """Arguments of `soft_threshold`: weights are (1,) or shaped like V."""

    V: torch.Tensor
    weights: torch.Tensor
    step: float
    out: torch.Tensor | None

    @property
    def device(self) -> torch.device:
        """Device of the call."""
        return self.V.device

    @property
    def written(self) -> tuple[torch.Tensor, ...]:
        """The caller's tensors that the call writes to."""
        return () if self.out is None else (self.out,)


class GroupShrinkArgs(NamedTuple):
    """Arguments of `group_shrink`: weights are contiguous (1,) or (G,), axis from 0."""

    V: torch.Tensor
    groups: GroupIndex
    weights: torch.Tensor
    step: float
    l1: float
    axis: int
    out: torch.Tensor | None

    @property
    def device(self) -> torch.device:
        """Device of the call."""
        return self.V.device

    @property
    def written(self) -> tuple[torch.Tensor, ...]:
        """The caller's tensors that the call writes to."""
        return () if self.out is None else (self.out,)


class OverlapSweepArgs(NamedTuple):
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


class SmoothedGroupArgs(NamedTuple):
    """Arguments of `smoothed_group_grad`."""

    V: torch.Tensor
    groups: GroupIndex
    weights: torch.Tensor
    smoothness: float
    axis: int
    out: torch.Tensor | None

    @property
    def device(self) -> torch.device:
        """Device of the call."""
        return self.V.device

    @property
    def written(self) -> tuple[torch.Tensor, ...]:
        """The caller's tensors that the call writes to."""
        return () if self.out is None else (self.out,)


def bind_soft_threshold(
    V: torch.Tensor,
    weights: torch.Tensor | float,
    *,
    step: torch.Tensor | float = 1.0,
    out: torch.Tensor | None = None,
) -> SoftThresholdArgs:
    """Check the arguments of `soft_threshold`; a 0-d tensor becomes (1,)."""
    checked_float(V, "V")
    if out is not None:
        checked_out(out, V, weights)
    if not V.dim():
        V, out = V.reshape(1), None if out is None else out.reshape(1)
    return SoftThresholdArgs(
        without_graph(V),
        checked_weights(weights, V.shape, V.device),
        checked_scale(step, "step"),
        out,
    )


def bind_group_shrink(
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


def bind_overlap_dual_sweep(
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
    expected = replaced(X.shape, axis, index.n_members)
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


def bind_smoothed_group_grad(
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
    wide = torch.float64 if V.dtype == torch.float64 else torch.float32
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


def replaced(shape: Sequence[int], axis: int, size: int) -> tuple[int, ...]:
    """Shape with another length along one axis."""
    return (*shape[:axis], size, *shape[axis + 1 :])
