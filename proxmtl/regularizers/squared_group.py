"""Squared mixed norm: half the square of a disjoint group norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.regularizers.base import Regularizer, norm_ratio, scaled_value
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
    is_absolutely_monotone = True
    has_curvature = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.norm  # raises if the groups overlap

    @cached_property
    def norm(self) -> GroupL2:
        """The norm that is squared."""
        return GroupL2(self.groups, 1.0, self.axis)

    @property
    def has_conjugate(self) -> bool:  # type: ignore[override]
        """Not where an item is unpenalised."""
        return self.strength > 0 and not self.groups.unpenalised

    def is_coercive(self, W: Tensor) -> bool:
        return self.has_conjugate

    def value(self, W: Tensor) -> Tensor:
        total = self._total(W)
        if self.strength == 0:
            return scaled_value(0.0, total, W)
        return (math.sqrt(self.strength / 2) * total).square().to(W.dtype)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        t = float(step) * self.strength
        if t == 0:
            return W.clone(), self.value(W)
        rows, _ = self.norm.layout.rows(W)
        norms = self.norm.layout.norms(rows).to(torch.float64)
        weights = self.norm.layout.weights(norms).expand_as(norms)
        weighted = weights > 0
        unit = float(norms[weighted].max()) if bool(weighted.any()) else 0.0
        if unit == 0:
            return W.clone(), W.new_zeros(())
        if not math.isfinite(unit):
            return torch.full_like(W, torch.nan), W.sum()
        ratios = norms[weighted] / unit / weights[weighted]
        order = torch.argsort(ratios, descending=True)
        squares = weights[weighted].square()
        sums = (squares * ratios)[order].cumsum(0) / (1 / t + squares[order].cumsum(0))
        kept = int((ratios[order] > sums).sum())
        out, _ = self.norm.prox(W, unit * float(sums[max(kept - 1, 0)]))
        return out, self.value(out)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        pull = self.strength * float(self._total(W))
        if not math.isfinite(pull):
            return torch.full_like(grad, torch.nan)
        return self.norm.with_strength(pull).kkt_residual(W, grad)

    def conjugate(self, U: Tensor) -> float:
        size = self.norm.dual_norm(U)
        return norm_ratio(size * size, 2 * self.strength)

    def active(self, W: Tensor) -> Tensor:
        pull = self.strength * float(self._total(W))
        return self.norm.with_strength(pull if math.isfinite(pull) else 1.0).active(W)

    def _total(self, W: Tensor) -> Tensor:
        """``Omega(W)`` in float64."""
        return self.norm.layout.total(self.norm.layout.rows(W)[0])

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        """Of ``Omega^2 / 2``: ``Omega`` times its Hessian, plus its gradient's outer product."""
        slope = torch.where(
            self.norm.active(W), self.norm.kkt_residual(W, torch.zeros_like(W)), 0.0
        )
        bent = float(self._total(W)) * self.norm.curvature_product(W, V)
        return self.strength * (bent + slope * (slope * V).sum())

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """A squared norm never sets its argument to zero, unless the gradient is zero."""
        return float("inf") if bool((grad_at_zero != 0).any()) else 0.0
