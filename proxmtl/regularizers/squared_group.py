"""Squared mixed norm: half the square of a disjoint group norm."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.regularizers.base import Regularizer, check_step, check_strength, norm_ratio
from proxmtl.regularizers.group_l2 import GroupL2

__all__ = ["SquaredGroupL2"]


@dataclass(frozen=True)
class SquaredGroupL2(Regularizer):
    """``R(S) = strength/2 * Omega(S)^2`` with ``Omega(S) = sum_k sum_g w_g ||S[k, g]||_2``.

    The square is of the total. Prox with ``t = step strength``: each block is shrunk by
    ``t w_g Omega(x)``, and ``Omega(x)`` is found by sorting ``||v_g|| / w_g``. Conjugate:
    ``Omega_dual(U)^2 / (2 strength)``. A minimiser with this penalty minimises the unsquared one
    too, with ``strength * Omega(S*)`` as its strength, so both have one path of solutions, in other
    units; but this one never returns zero, and it is not smooth either.

    Parameters
    ----------
    groups : Groups
        Disjoint.
    strength : float
        ``>= 0``.
    axis : int
        The grouped axis.

    References
    ----------
    Bach, "Consistency of the group lasso and multiple kernel learning", 2008; Jayaraman, Sha,
    Grauman, "Decorrelating semantic visual attributes by resisting the urge to share", 2014 (as a
    step of their solver).
    """

    groups: Groups
    strength: float
    axis: int = -1
    norm: GroupL2 = field(init=False, repr=False, compare=False)
    has_conjugate: bool = field(init=False, repr=False, compare=False)  # not where a part is free
    is_absolute = True
    has_curvature = True

    def __post_init__(self) -> None:
        check_strength(self.strength)
        object.__setattr__(self, "norm", GroupL2(self.groups, 1.0, self.axis))
        object.__setattr__(self, "has_conjugate", self.definite)

    @property
    def definite(self) -> bool:
        return self.strength > 0 and self.norm.definite

    def value(self, W: Tensor) -> Tensor:
        return self.strength / 2 * self.norm.value(W).square()

    def prox(self, W: Tensor, step: float | Tensor) -> tuple[Tensor, Tensor]:
        check_step(step)
        t = float(step) * self.strength
        if t == 0:
            return W.clone(), self.value(W)
        rows, _ = self.norm.layout.rows(W)
        norms = self.norm.layout.norms(rows)
        weights = self.norm.layout.weights(W).expand_as(norms)
        weighted = weights > 0
        ratios = norms[weighted] / weights[weighted]
        order = torch.argsort(ratios, descending=True)
        squares = weights[weighted].square()
        sums = (squares * ratios)[order].cumsum(0) / (1 + t * squares[order].cumsum(0))
        kept = int((ratios[order] > t * sums).sum())
        total = float(sums[max(kept - 1, 0)]) if sums.numel() else 0.0
        if not math.isfinite(total):
            return torch.full_like(W, torch.nan), W.sum()
        out, norm = self.norm.prox(W, t * total)
        return out, self.strength / 2 * norm.square()

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        total = float(self.norm.value(W))
        if math.isnan(total):
            return torch.full_like(grad, torch.nan)
        return self.norm.with_strength(self.strength * total).kkt_residual(W, grad)

    def conjugate(self, U: Tensor) -> float:
        return norm_ratio(self.norm.dual_norm(U) ** 2, 2 * self.strength)

    def active(self, W: Tensor) -> Tensor:
        total = self.strength * float(self.norm.value(W))
        return self.norm.with_strength(total).active(W)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        """Of ``Omega^2 / 2``: ``Omega`` times its Hessian, plus its gradient's outer product."""
        slope = torch.where(
            self.norm.active(W), self.norm.kkt_residual(W, torch.zeros_like(W)), 0.0
        )
        bent = float(self.norm.value(W)) * self.norm.curvature_product(W, V)
        return self.strength * (bent + slope * (slope * V).sum())

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """A squared norm never sets its argument to zero, unless the gradient is zero."""
        return float("inf") if bool((grad_at_zero != 0).any()) else 0.0

    def with_strength(self, strength: float) -> SquaredGroupL2:
        return replace(self, strength=strength)
