"""An L1 norm beside any penalty of absolute values: soft-thresholding first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, combination
from proxmtl.regularizers.l1 import L1
from proxmtl.regularizers.weighted_l1 import WeightedL1
from proxmtl.regularizers.wrapper import Wrapper

__all__ = ["Thresholded"]


@dataclass(frozen=True)
class Thresholded(Wrapper):
    """``R(W) = inner(W) + l1(W)`` for a penalty of ``|W|`` that grows with it.

    Prox: ``prox_inner(soft(v))``. What soft-thresholding takes off ``v`` is a subgradient of the
    L1 norm at the result too, since the prox of such a penalty keeps signs and zeros. Problems
    build it where both terms are given: an overlapping norm and an L1 norm cost one prox of the
    former.

    Parameters
    ----------
    inner : Regularizer
        Convex, ``is_absolutely_monotone``.
    l1 : L1 or WeightedL1

    Raises
    ------
    ValueError
        If ``inner`` is of another kind: thresholding first would not be the prox.

    References
    ----------
    Yuan, Liu, Ye, "Efficient methods for overlapping group lasso", 2011 (for group norms).
    """

    inner: Regularizer
    l1: L1 | WeightedL1
    is_indicator = False
    has_conjugate = False

    def __post_init__(self) -> None:
        if not _fits(self.inner):
            raise ValueError(
                f"inner: {type(self.inner).__name__} is not a convex penalty of |W|; thresholding "
                "first is not the prox of the sum. Give both as terms of the problem."
            )

    @property
    def members(self) -> tuple[Regularizer, ...]:
        """Both penalties."""
        return self.inner, self.l1

    conjugate = Regularizer.conjugate  # from its own dual norm
    conjugate_limit = Regularizer.conjugate_limit

    def is_coercive(self, W: Tensor) -> bool:
        return self.l1.is_coercive(W) or self.inner.is_coercive(W)

    def value(self, W: Tensor) -> Tensor:
        return self.inner.value(W) + self.l1.value(W)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        out, value = self.inner.prox(self.l1.prox(W, step)[0], step, warm_start=warm_start)
        return out, value + self.l1.value(out)

    def prox_gap(self, W: Tensor, step: float) -> float:
        return self.inner.prox_gap(self.l1.prox(W, step)[0], step)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """The L1 norm's subgradient takes off what it can, the inner penalty's of what is left."""
        return self.inner.kkt_residual(W, self.l1.kkt_residual(W, grad))

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        """Smallest ``nu`` such that ``inner.dual_norm(soft(U, nu)) <= nu``.

        Given ``at``, an upper bound from the L1 norm's subgradient there: tight at a solution.
        """
        if not self.is_norm:
            return super().dual_norm(U, at)
        if at is not None:
            left = -self.l1.kkt_residual(at, -U)
            left = left - self.inner.prox(left, 1e30)[0]  # without what the inner norm leaves free
            return max(self.l1.dual_norm(U - left), self.inner.dual_norm(left, at))
        if bool(torch.isnan(U).any()):
            return float("nan")
        low, high = 0.0, min(self.l1.dual_norm(U), self.inner.dual_norm(U))
        for _ in range(60):
            if not (low < high < float("inf")) or high - low <= 1e-9 * high:
                break
            middle = (low + high) / 2
            inside = self.inner.dual_norm(self.l1.prox(U, middle)[0]) <= middle
            low, high = (low, middle) if inside else (middle, high)
        return high

    def active(self, W: Tensor) -> Tensor:
        return self.inner.active(W) & self.l1.active(W)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        return torch.where(self.active(W), self.inner.curvature_product(W, V), 0.0)

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """In the strength of the inner penalty, the ratio of the two kept."""
        if not self.is_norm:
            return Regularizer.critical_strength(self, grad_at_zero)
        return self.strength * self.dual_norm(-grad_at_zero)

    def with_strength(self, strength: float) -> Self:
        """Keep the ratio of the two strengths."""
        ratio = strength / self.strength if self.strength > 0 else 1.0
        scaled = self.l1.with_strength(ratio * self.l1.strength)
        return replace(self, inner=self.inner.with_strength(strength), l1=scaled)


def _fits(inner: Regularizer) -> bool:
    return inner.is_absolutely_monotone and inner.is_convex and not inner.is_constraint


def _threshold(l1: L1 | WeightedL1, inner: Regularizer) -> Thresholded | None:
    plain = isinstance(inner, (L1, WeightedL1))
    return Thresholded(inner, l1) if _fits(inner) and not plain and inner.strength > 0 else None


combination(L1, Regularizer)(_threshold)
combination(WeightedL1, Regularizer)(_threshold)
