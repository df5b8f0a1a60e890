"""Ridge with a weight for each coordinate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, norm_ratio
from proxmtl.regularizers.weighted_l1 import checked_weights, scaled_weights

__all__ = ["WeightedFrobenius"]


@dataclass(frozen=True, eq=False)
class WeightedFrobenius(Regularizer):
    """``R(W) = strength * sum a_ij W_ij^2``, without a factor 1/2.

    Prox: ``v / (1 + 2 step strength a)``. Conjugate: ``sum U^2 / (4 strength a)``, infinite where
    an entry of ``U`` has weight 0. What reweighted least squares solve in each round.

    Parameters
    ----------
    weights : Tensor
        ``a >= 0``; broadcasts to the shape of ``W``.
    strength : float
        ``>= 0``.
    """

    weights: Tensor
    strength: float
    is_absolutely_monotone = True
    is_separable = True
    has_curvature = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weights", checked_weights(self.weights))

    @property
    def has_conjugate(self) -> bool:  # type: ignore[override]
        """Not where an entry is unpenalised."""
        return self.strength > 0 and bool((self.weights > 0).all())

    def is_coercive(self, W: Tensor) -> bool:
        return self.has_conjugate

    def value(self, W: Tensor) -> Tensor:
        return ((self._slopes(W) / 2).sqrt() * W).square().sum()

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        out = W / (1 + float(step) * self._slopes(W))
        return out, self.value(out)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        return grad + self._slopes(W) * W

    def conjugate(self, U: Tensor) -> float:
        slopes = self._slopes(U).expand_as(U)
        free = float(U[slopes == 0].abs().sum())
        held = torch.where(slopes == 0, 0.0, U.square() / torch.where(slopes == 0, 1.0, slopes))
        return float(held.sum()) / 2 + norm_ratio(free, 0.0)

    def active(self, W: Tensor) -> Tensor:
        return torch.full_like(W, fill_value=True, dtype=torch.bool)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        return self._slopes(W) * V

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """A ridge never sets its argument to zero: infinite, unless the gradient is zero."""
        return float("inf") if bool((grad_at_zero != 0).any()) else 0.0

    def _slopes(self, W: Tensor) -> Tensor:
        return scaled_weights("weights", 2 * self.strength, self.weights, W)
