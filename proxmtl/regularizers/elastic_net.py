"""Elastic net: L1 norm and half the squared norm under one strength."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, combination, norm_ratio, scaled_value
from proxmtl.regularizers.l1 import L1, soft

__all__ = ["ElasticNet"]


@dataclass(frozen=True)
class ElasticNet(Regularizer):
    """``R(W) = strength * (l1_ratio ||W||_1 + (1 - l1_ratio)/2 ||W||_F^2)``.

    Prox: ``soft(v, t l1) / (1 + t l2)`` with ``l1 = strength l1_ratio``,
    ``l2 = strength (1 - l1_ratio)``. Conjugate: ``sum soft(u, l1)^2 / (2 l2)``. The same as ``L1``
    plus ``SquaredFrobenius(l2 / 2)``, as one member with one strength to tune.

    Parameters
    ----------
    strength : float
        ``>= 0``.
    l1_ratio : float
        In ``[0, 1)``; for 1 use :class:`L1`.

    References
    ----------
    Zou and Hastie, "Regularization and variable selection via the elastic net", 2005.
    """

    strength: float
    l1_ratio: float = 0.5
    is_absolutely_monotone = True
    is_separable = True
    has_conjugate = True
    has_curvature = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.l1_ratio < 1:
            raise ValueError(f"l1_ratio: got {self.l1_ratio}; it must lie in [0, 1), for 1 use L1.")

    @property
    def l1(self) -> float:
        """Weight of the L1 norm."""
        return self.strength * self.l1_ratio

    @property
    def l2(self) -> float:
        """Weight of half the squared norm."""
        return self.strength * (1 - self.l1_ratio)

    def value(self, W: Tensor) -> Tensor:
        magnitude = scaled_value(self.l1, W.abs().sum(dtype=torch.float64), W)
        return magnitude + (math.sqrt(self.l2 / 2) * W).square().sum()

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        out = soft(W, float(step) * self.l1) / (1 + float(step) * self.l2)
        return out, self.value(out)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        tilted = grad + self.l2 * W
        return torch.where(W == 0, soft(grad, self.l1), tilted + self.l1 * (W / W.abs()))

    def conjugate(self, U: Tensor) -> float:
        return norm_ratio(float(soft(U, self.l1).square().sum()), 2 * self.l2)

    def active(self, W: Tensor) -> Tensor:
        return (W != 0) | (self.l1 == 0)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        del W
        return self.l2 * V

    def as_elastic_net(self, W: Tensor) -> tuple[Tensor, float] | None:
        return W.new_tensor(self.l1, dtype=torch.float64).expand(W.shape), self.l2 / 2

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        largest = float(grad_at_zero.abs().max()) if grad_at_zero.numel() else 0.0
        return norm_ratio(largest, self.l1_ratio)


@combination(ElasticNet, L1)
def _add_l1(net: ElasticNet, l1: L1) -> ElasticNet | None:
    """None where the ratio rounds to 1: thresholding first keeps the digits of both."""
    strength = net.strength + l1.strength
    ratio = (net.l1 + l1.strength) / strength if strength > 0 else 0.0
    return ElasticNet(strength, ratio) if ratio < 1 else None


@combination(ElasticNet, ElasticNet)
def _add(a: ElasticNet, b: ElasticNet) -> ElasticNet:
    strength = a.strength + b.strength
    ratio = (a.l1 + b.l1) / strength if strength > 0 else 0.0
    return ElasticNet(strength, min(ratio, math.nextafter(1, 0)))
