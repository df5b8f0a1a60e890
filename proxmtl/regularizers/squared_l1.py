"""Exclusive lasso: squared L1 norms of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, norm_ratio, scaled_value
from proxmtl.regularizers.l1 import soft

__all__ = ["ExclusiveL1"]


@dataclass(frozen=True)
class ExclusiveL1(Regularizer):
    """``R(W) = strength/2 * sum_d (sum_m |W_dm|)^2``: entries of a row compete.

    Prox, row by row with ``t = step strength``: ``soft(v, t s)`` with ``s`` the L1 norm of the
    result, found by sorting. Conjugate: ``sum_d max_m |U_dm|^2 / (2 strength)``. Never returns an
    all-zero row for a row that is not zero.

    Parameters
    ----------
    strength : float
        ``>= 0``.
    axis : int
        Axis whose entries compete; ``-1``: the tasks, feature by feature.

    References
    ----------
    Zhou, Jin, Hoi, "Exclusive lasso for multi-task feature selection", 2010.
    """

    strength: float
    axis: int = -1
    is_absolutely_monotone = True
    has_conjugate = True
    has_curvature = True

    def value(self, W: Tensor) -> Tensor:
        sums = W.abs().sum(self.axis, dtype=torch.float64)
        if self.strength == 0:
            return scaled_value(0.0, sums.sum(), W)
        return (math.sqrt(self.strength / 2) * sums).square().sum().to(W.dtype)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        t = float(step) * self.strength
        if t == 0 or not W.numel():
            return W.clone(), self.value(W)
        sizes = torch.sort(W.abs().movedim(self.axis, -1), descending=True).values
        counts = torch.arange(1, sizes.shape[-1] + 1, dtype=W.dtype, device=W.device)
        levels = sizes.cumsum(-1) / (1 / t + counts)  # t times the norm, which may overflow
        kept = (sizes > levels).sum(-1, keepdim=True).clamp_min(1)
        out = soft(W, levels.gather(-1, kept - 1).movedim(-1, self.axis))
        return out, self.value(out)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        bound = self.strength * W.abs().sum(self.axis, keepdim=True)
        return torch.where(W == 0, soft(grad, bound.expand_as(grad)), grad + bound * (W / W.abs()))

    def conjugate(self, U: Tensor) -> float:
        if not U.numel():
            return 0.0
        return norm_ratio(float(U.abs().amax(self.axis).square().sum()), 2 * self.strength)

    def active(self, W: Tensor) -> Tensor:
        kinked = self.strength * W.abs().sum(self.axis, keepdim=True) > 0
        return (W != 0) | ~kinked.expand_as(W)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        sign = W.sgn()
        return self.strength * sign * (sign * V).sum(self.axis, keepdim=True)

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """A squared norm never sets its argument to zero, unless the gradient is zero."""
        return float("inf") if bool((grad_at_zero != 0).any()) else 0.0
