"""Sparse group norm: L1 and disjoint group norms together, prox in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.kernels import group_shrink
from proxmtl.regularizers.base import Regularizer, combination, largest_ratio, scaled_value
from proxmtl.regularizers.group_l2 import GroupL2
from proxmtl.regularizers.group_layout import zero_where_zero
from proxmtl.regularizers.l1 import L1, soft

__all__ = ["SparseGroupL2"]


@dataclass(frozen=True)
class SparseGroupL2(Regularizer):
    """``R = strength * (l1_ratio ||S||_1 + (1 - l1_ratio) sum_k sum_g w_g ||S[k, g]||_2)``.

    Prox: soft-thresholding first, then each block is shrunk; the other order is wrong. Dual norm:
    the largest root over the blocks of ``||soft(u_g, nu l1_ratio)|| = nu (1 - l1_ratio) w_g``,
    found by Newton's method from below, over strength.

    ``L1(a)`` beside ``GroupL2(groups, b)`` in a problem is merged into this.

    Parameters
    ----------
    groups : Groups
        Disjoint; items in no group have the L1 part only.
    strength : float
        ``>= 0``.
    l1_ratio : float
        In ``(0, 1)``.
    axis : int
        The grouped axis.

    References
    ----------
    Simon, Friedman, Hastie, Tibshirani, "A sparse-group lasso", 2013; Ndiaye et al., "GAP safe
    screening rules for sparse-group lasso", 2016 (the dual norm).
    """

    groups: Groups
    strength: float
    l1_ratio: float = 0.5
    axis: int = -1
    is_norm = True
    is_absolutely_monotone = True
    has_curvature = True
    is_slicewise = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.l1_ratio < 1:
            raise ValueError(
                f"l1_ratio: got {self.l1_ratio}; it must lie in (0, 1). At the ends use GroupL2 or "
                "L1."
            )
        _ = self.group  # raises if the groups overlap

    @cached_property
    def l1(self) -> L1:
        """The L1 norm, scaled."""
        return L1(self.strength * self.l1_ratio)

    @cached_property
    def group(self) -> GroupL2:
        """The group norm, scaled."""
        return GroupL2(self.groups, self.strength * (1 - self.l1_ratio), self.axis)

    def value(self, W: Tensor) -> Tensor:
        return self.l1.value(W) + self.group.value(W)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        self.group.layout.rows(W)  # raises if the shape does not fit
        groups, scale = self.groups, float(step) * self.group.strength
        if scale == 0:
            return W.clone(), self.value(W)
        out, value = group_shrink(
            W.contiguous(),
            groups.index,
            groups.weights,
            step=scale,
            axis=self.axis,
            l1=self.l1.strength / self.group.strength,
        )
        return out, scaled_value(self.group.strength, value, W)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        rows, restore = self.group.layout.rows(W)
        layout = self.group.layout
        zero = restore(layout.spread(layout.norms(rows) == 0, False))
        # in a zero block the free subgradients of both norms cancel what they can, L1's first
        inside = self.group.kkt_residual(W, torch.where(zero, soft(grad, self.l1.strength), grad))
        return torch.where(zero, inside, self.l1.kkt_residual(W, inside))

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        if self.strength == 0:
            return self.l1.dual_norm(U)
        layout, ratio = self.group.layout, self.l1_ratio
        rows, _ = layout.rows(U.to(torch.float64))
        members, group_of = layout.indices(U.device)
        sizes = rows[:, members].abs()
        slope = (1 - ratio) * layout.weights(rows)
        nu = torch.zeros(len(rows), len(self.groups), dtype=rows.dtype, device=rows.device)
        for _ in range(200):  # convex and decreasing in nu: no step passes the root
            left = torch.relu(sizes - ratio * nu[:, group_of])
            norms = layout.member_norms(left)
            excess = norms - nu * slope
            fall = zero_where_zero(torch.zeros_like(norms).index_add_(1, group_of, left), norms)
            longer = nu + excess / (ratio * fall + slope).clamp_min(1e-300)
            rises = bool((longer > nu).any())
            nu = torch.maximum(nu, longer)  # keeps NaN
            if not rises:
                break
        outside = torch.ones(rows.shape[1], dtype=torch.bool, device=rows.device)
        outside[members] = False
        roots = torch.cat([nu.flatten(), rows[:, outside].abs().flatten() / ratio, nu.new_zeros(1)])
        # the roots are approached from below
        return largest_ratio((roots * (1 + 1e-14) / self.strength).tolist())

    def active(self, W: Tensor) -> Tensor:
        return self.l1.active(W)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        return torch.where(self.active(W), self.group.curvature_product(W, V), 0.0)


@combination(L1, GroupL2)
def _merge(l1: L1, group: GroupL2) -> Regularizer | None:
    """Either alone if the other has no strength.

    None where the ratio rounds to 0 or 1: thresholding first keeps the digits of both.
    """
    total = l1.strength + group.strength
    if l1.strength == 0:
        return group
    if group.strength == 0:
        return l1
    ratio = l1.strength / total
    return SparseGroupL2(group.groups, total, ratio, group.axis) if 0 < ratio < 1 else None


@combination(L1, SparseGroupL2)
def _add(l1: L1, both: SparseGroupL2) -> Regularizer | None:
    return _merge(L1(l1.strength + both.l1.strength), both.group)
