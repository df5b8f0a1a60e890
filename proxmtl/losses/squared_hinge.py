"""Squared hinge: the paper's loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.losses.base import Loss
from proxmtl.losses.quadratic import Quadratic

__all__ = ["SquaredHinge"]


@dataclass(frozen=True)
class SquaredHinge(Quadratic, Loss):
    """``phi(z; y) = 1/2 max(0, 1 - y z)^2`` for labels ``y`` in {-1, +1}.

    Derivative ``-y max(0, 1 - y z)``, 1-Lipschitz; generalised curvature ``1[y z < 1]``; conjugate
    ``y u + u^2 / 2`` where ``y u <= 0``. The factor 1/2 is the paper's (eq. 2).

    References
    ----------
    Abdulnabi, Wang, Lu, Jia, "Multi-task CNN Model for Attribute Prediction", 2015, eq. 2.
    """

    curvature_bound = 1.0
    kernel = "squared_hinge"
    curved = True

    def pointwise(self, scores: Tensor, labels: Tensor) -> Tensor:
        return 0.5 * torch.relu(1 - labels * scores).square()

    def derivative(self, scores: Tensor, labels: Tensor) -> Tensor:
        return -labels * torch.relu(1 - labels * scores)

    def curvature(self, scores: Tensor, labels: Tensor) -> Tensor:
        return (labels * scores < 1).to(scores.dtype)

    def pointwise_conjugate(self, dual: Tensor, labels: Tensor) -> Tensor:
        inside = labels * dual <= 0
        return torch.where(inside, labels * dual + 0.5 * dual.square(), torch.inf)

    def value_and_grad(
        self, scores: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        slack = torch.relu_(torch.addcmul(torch.ones_like(scores), labels, scores, value=-1))
        weighted = slack if weights is None else slack * weights
        value = 0.5 * torch.dot(slack.reshape(-1), weighted.reshape(-1))
        return value, (weighted * labels).neg_()

    def bregman_terms(self, new: Tensor, old: Tensor, labels: Tensor) -> Tensor:
        """Without cancellation: ``(b - a)^2 / 2 + a (b - v)`` with ``v = 1 - y new``,
        ``b = max(v, 0)``, ``a = max(0, 1 - y old)``: both terms are non-negative.
        """  # noqa: D205
        v = 1 - labels * new
        b, a = torch.relu(v), torch.relu(1 - labels * old)
        return (b - a).square().mul_(0.5).addcmul_(a, b - v)
