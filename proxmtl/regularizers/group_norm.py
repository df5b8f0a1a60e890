"""What the norms of groups along an axis have in common."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.regularizers.base import Regularizer, largest_ratio, norm_ratio, scaled_value
from proxmtl.regularizers.group_layout import GroupLayout, check_groups
from proxmtl.regularizers.smoothed import Smoothed, SmoothedGroupNorm

__all__ = ["GroupNorm"]


class GroupNorm(Regularizer):
    """``R(S) = strength * sum_k sum_g w_g ||S[k, g]||_2``, the prox left to the subclass.

    Attributes
    ----------
    groups : Groups
    axis : int
        The grouped axis.
    """

    groups: Groups
    axis: int
    is_norm = True
    is_absolutely_monotone = True
    has_curvature = True
    is_smoothable = True
    is_slicewise = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_groups(self.groups)

    @cached_property
    def layout(self) -> GroupLayout:
        """The groups on their axis."""
        return GroupLayout(self.groups, self.axis)

    def is_coercive(self, W: Tensor) -> bool:
        return self.strength > 0 and not self.groups.unpenalised

    def value(self, W: Tensor) -> Tensor:
        rows, _ = self.layout.rows(W)
        return scaled_value(self.strength, self.layout.total(rows), W)

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        """``max ||U[k, g]|| / (strength w_g)``: of disjoint groups."""
        rows, _ = self.layout.rows(U)
        if self._free_and_nonzero(rows):
            return float("inf")
        largest = self.layout.norms(rows).amax(0) if len(rows) else rows.new_zeros(len(self.groups))
        pairs = zip(largest.tolist(), self.groups.weights.tolist(), strict=True)
        return largest_ratio(norm_ratio(norm, self.strength * weight) for norm, weight in pairs)

    def smoothed(self, smoothness: float) -> Smoothed:
        return SmoothedGroupNorm(self.groups, self.strength, smoothness, self.axis)

    def _free_and_nonzero(self, rows: Tensor) -> bool:
        """Whether an unpenalised item of (slices, items) is not zero."""
        free = self.groups.unpenalised
        return bool(free) and bool((rows[:, free] != 0).any())
