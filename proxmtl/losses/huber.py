"""Huber's loss: regression that outliers do not spoil."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.losses.base import DualBlocks, Loss
from proxmtl.losses.labels import check_real
from proxmtl.losses.quadratic import best_bounded_scale, rounding_of_scores, within
from proxmtl.ranks import ALONE, Ranks

__all__ = ["Huber"]


@dataclass(frozen=True)
class Huber(Loss):
    """``phi = r^2 / 2`` for ``|r| <= delta``, else ``delta (|r| - delta / 2)``, with ``r = z - y``.

    Derivative ``clip(r, -delta, delta)``, 1-Lipschitz; generalised curvature ``1[|r| < delta]``;
    conjugate ``u^2 / 2 + u y`` where ``|u| <= delta``. Labels are real.

    Parameters
    ----------
    delta : float
        ``> 0``: residuals beyond it count linearly.

    Raises
    ------
    ValueError
        If ``delta`` is not a finite positive number.

    References
    ----------
    Huber, "Robust estimation of a location parameter", 1964.
    """

    delta: float = 1.0
    curvature_bound = 1.0
    labels = "real"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.delta) and self.delta > 0):
            raise ValueError(f"delta: got {self.delta}; it must be finite and > 0.")

    def pointwise(self, scores: Tensor, labels: Tensor) -> Tensor:
        residual = scores - labels
        slope = residual.clamp(-self.delta, self.delta)
        return slope * (residual - 0.5 * slope)

    def derivative(self, scores: Tensor, labels: Tensor) -> Tensor:
        return (scores - labels).clamp(-self.delta, self.delta)

    def curvature(self, scores: Tensor, labels: Tensor) -> Tensor:
        return ((scores - labels).abs() < self.delta).to(scores.dtype)

    def pointwise_conjugate(self, dual: Tensor, labels: Tensor) -> Tensor:
        inside, u = within(dual, -self.delta, self.delta)
        return torch.where(inside, 0.5 * u.square() + u * labels, torch.inf)

    def bregman_terms(self, new: Tensor, old: Tensor, labels: Tensor) -> Tensor:
        """Without cancellation: ``(q - p) (r - q) + (q - p)^2 / 2`` with ``r = new - y``,
        ``q = clip(r)``, ``p = clip(old - y)``: both terms are non-negative.
        """  # noqa: D205
        residual = new - labels
        q, p = residual.clamp(-self.delta, self.delta), self.derivative(old, labels)
        return (q - p).square().mul_(0.5).addcmul_(q - p, residual - q)

    def bregman_error(self, scores: Tensor, weights: Tensor, value: float) -> float:
        """Only the scores' own rounding is left: second order in the machine precision."""
        del value
        return rounding_of_scores(scores, weights, 1.0, unit=self.delta)

    def dual_scale(
        self,
        blocks: DualBlocks,
        largest: float,
        offset: float = 0.0,
        *,
        ranks: Ranks = ALONE,
    ) -> float:
        """Maximise the concave quadratic ``s offset - sum (c phi)*(s u)`` in its domain."""
        return best_bounded_scale(blocks, largest, offset, ranks=ranks, bound=self.delta)

    def check_labels(self, labels: Tensor, weights: Tensor) -> None:
        """Raise ``ValueError`` unless each label of positive weight is finite."""
        check_real(self, labels, weights)
