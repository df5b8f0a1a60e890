"""Maximum norm of the whole parameter, or of each row (L1-infinity)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, norm_ratio, scaled_value
from proxmtl.regularizers.simplex import simplex_threshold

__all__ = ["LInf"]


@dataclass(frozen=True)
class LInf(Regularizer):
    """``R(W) = strength * max |W_ij|``, or ``strength * sum_d max_m |W_dm|`` along an axis.

    Prox: ``v`` minus its projection on the L1 ball of radius ``step strength``, which clips ``v``
    at a level: the largest entries of a block end up equal. Dual norm: ``||U||_1 / strength``, the
    largest over the blocks.

    Parameters
    ----------
    strength : float
        ``>= 0``.
    axis : int or None
        None: one block, the whole parameter. Else the maximum runs along this axis, and the norm
        sums over the rest: the L1-infinity norm, with ``axis=-1`` one block per row.

    References
    ----------
    Turlach, Venables, Wright, "Simultaneous variable selection", 2005; Quattoni et al., "An
    efficient projection for l1,infinity regularization", 2009.
    """

    strength: float
    axis: int | None = None
    is_norm = True
    is_absolutely_monotone = True
    value_vmaps = True
    is_slicewise = True

    def value(self, W: Tensor) -> Tensor:
        if not W.numel():
            return W.new_zeros(())
        rows, _ = self._rows(W)
        return scaled_value(self.strength, rows.abs().amax(1).sum(dtype=torch.float64), W)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        radius = float(step) * self.strength
        if radius == 0 or not W.numel():
            return W.clone(), self.value(W)
        rows, restore = self._rows(W)
        out = restore(_clipped(rows, radius)).contiguous()
        return out, self.value(out)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """The subgradients are spread over the largest entries: a projection on a simplex."""
        rows, restore = self._rows(W)
        grads, _ = self._rows(grad)
        if self.strength == 0 or not W.numel():
            return grad.clone()
        level = rows.abs().amax(1, keepdim=True)
        largest = rows.abs() == level
        pull = -grads * rows.sgn()
        masked = torch.where(largest, pull, -torch.inf)
        share = torch.relu(masked - simplex_threshold(masked, self.strength))
        moved = torch.where(largest, grads + rows.sgn() * share, grads)
        moved = torch.where(level == 0, _clipped(grads, self.strength), moved)
        return restore(torch.where(torch.isnan(level), torch.nan, moved)).contiguous()

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        rows, _ = self._rows(U)
        return norm_ratio(rows.abs().sum(1).max().item() if rows.numel() else 0.0, self.strength)

    def _rows(self, W: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Blocks as rows of a matrix, and the way back to the shape of ``W``."""
        if self.axis is None:
            return W.reshape(1, -1), lambda M: M.reshape(W.shape)
        axis = self.axis
        if not -W.ndim <= axis < W.ndim:
            raise ValueError(f"axis: got {axis} for a parameter of {W.ndim} axes.")
        moved = W.movedim(axis, -1)
        shape = moved.shape
        return moved.reshape(math.prod(shape[:-1]), shape[-1]), lambda M: M.reshape(shape).movedim(
            -1, axis
        )


def _clipped(rows: Tensor, radius: float) -> Tensor:
    """Each row minus its projection on the L1 ball of that radius."""
    sizes = rows.abs()
    level = simplex_threshold(sizes, radius).clamp_min(0)
    return torch.minimum(torch.maximum(rows, -level), level)
