"""Squared loss: regression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.losses.base import Loss
from proxmtl.losses.labels import check_real
from proxmtl.losses.quadratic import Quadratic

__all__ = ["Squared"]


@dataclass(frozen=True)
class Squared(Quadratic, Loss):
    """``phi(z; y) = 1/2 (z - y)^2`` for real labels ``y``, -1 and +1 among them.

    Derivative ``z - y``, 1-Lipschitz; curvature 1; conjugate ``u^2 / 2 + u y``, finite everywhere.
    On labels -1 and +1 this is the "l2 regression loss" of attribute classifiers.
    """

    curvature_bound = 1.0
    labels = "real"
    kernel = "squared"
    curved = True

    def pointwise(self, scores: Tensor, labels: Tensor) -> Tensor:
        return 0.5 * (scores - labels).square()

    def derivative(self, scores: Tensor, labels: Tensor) -> Tensor:
        return scores - labels

    def curvature(self, scores: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        return torch.ones_like(scores)

    def pointwise_conjugate(self, dual: Tensor, labels: Tensor) -> Tensor:
        return 0.5 * dual.square() + dual * labels

    def bregman_terms(self, new: Tensor, old: Tensor, labels: Tensor) -> Tensor:
        """``(new - old)^2 / 2``, whatever the label."""
        del labels
        return 0.5 * (new - old).square()

    def companion(self, residuals: Tensor, weights: Tensor) -> Tensor:
        """Return the weights, a multiple of which is taken off."""
        del residuals
        return weights

    def balancing(
        self, total: Tensor, of_companion: Tensor, of_rest: Tensor
    ) -> tuple[Tensor, Tensor]:
        """1, and minus the residuals' weighted means: the residuals at the best intercept."""
        del of_rest
        shift = -total / torch.where(of_companion > 0, of_companion, 1.0)
        return torch.ones_like(shift), shift

    def check_labels(self, labels: Tensor, weights: Tensor) -> None:
        """Raise ``ValueError`` unless each label of positive weight is finite."""
        check_real(self, labels, weights)
