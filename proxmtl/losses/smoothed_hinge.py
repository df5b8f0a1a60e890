"""Smoothed hinge: the hinge of support vector machines with its corner rounded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.losses.base import DualBlocks, Loss
from proxmtl.losses.quadratic import best_bounded_scale, rounding_of_scores, within
from proxmtl.ranks import ALONE, Ranks

__all__ = ["SmoothedHinge"]


@dataclass(frozen=True)
class SmoothedHinge(Loss):
    """Hinge with a quadratic corner of width ``h``, for labels in {-1, +1} and ``t = y z``.

    ``phi = 0`` for ``t >= 1``, ``(1 - t)^2 / (2 h)`` for ``1 - h < t < 1``, ``1 - t - h / 2`` for
    ``t <= 1 - h``. Derivative ``-y clip((1 - t) / h, 0, 1)``, (1/h)-Lipschitz; generalised
    curvature ``1[1 - h < t < 1] / h``; conjugate ``-v + h v^2 / 2`` for ``v = -y u`` in [0, 1].

    Parameters
    ----------
    width : float
        ``h > 0``; the loss is below the hinge by at most ``h / 2``.

    Raises
    ------
    ValueError
        If ``width`` is not a finite positive number.

    References
    ----------
    Shalev-Shwartz and Zhang, "Stochastic dual coordinate ascent methods for regularized loss
    minimization", 2013, eq. 2.
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.width) and self.width > 0):
            raise ValueError(f"width: got {self.width}; it must be finite and > 0.")

    @property
    def curvature_bound(self) -> float:
        """``1 / h``."""
        return 1 / self.width

    def _slack(self, scores: Tensor, labels: Tensor) -> Tensor:
        return (1 - labels * scores) / self.width

    def pointwise(self, scores: Tensor, labels: Tensor) -> Tensor:
        slack = self._slack(scores, labels)
        slope = slack.clamp(0, 1)
        return self.width * slope * (slack - 0.5 * slope)

    def derivative(self, scores: Tensor, labels: Tensor) -> Tensor:
        return -labels * self._slack(scores, labels).clamp(0, 1)

    def curvature(self, scores: Tensor, labels: Tensor) -> Tensor:
        slack = self._slack(scores, labels)
        return ((slack > 0) & (slack < 1)).to(scores.dtype) / self.width

    def pointwise_conjugate(self, dual: Tensor, labels: Tensor) -> Tensor:
        inside, v = within(-labels * dual, 0, 1)
        return torch.where(inside, v * (0.5 * self.width * v - 1), torch.inf)

    def bregman_terms(self, new: Tensor, old: Tensor, labels: Tensor) -> Tensor:
        """Without cancellation: ``h ((q - p) (s - q) + (q - p)^2 / 2)`` with ``s`` the new slack
        over ``h``, ``q = clip(s)``, ``p`` that of the old: both terms are non-negative.
        """  # noqa: D205
        slack = self._slack(new, labels)
        q, p = slack.clamp(0, 1), self._slack(old, labels).clamp(0, 1)
        terms = (q - p).square().mul_(0.5).addcmul_(q - p, slack - q)
        return self.width * terms

    def bregman_error(self, scores: Tensor, weights: Tensor, value: float) -> float:
        """Only the scores' own rounding is left: second order in the machine precision."""
        del value
        return rounding_of_scores(scores, weights, self.curvature_bound)

    def dual_scale(
        self,
        blocks: DualBlocks,
        largest: float,
        offset: float = 0.0,
        *,
        ranks: Ranks = ALONE,
    ) -> float:
        """Maximise the concave quadratic ``s offset - sum (c phi)*(s u)`` in its domain."""
        return best_bounded_scale(blocks, largest, offset, ranks=ranks, curvature=self.width)
