"""Logistic loss: log-likelihood of two classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from proxmtl.losses.base import Loss
from proxmtl.losses.quadratic import rounding_of_scores, within

__all__ = ["Logistic"]

# Gauss-Jacobi on [0, 1] with weight 1 - s: the largest move of a score for which a rule's relative
# error is below 1e-10, as the second derivative is analytic up to a distance of pi; nodes, factors
RULES = (
    (0.025, ((0.15505102572168217, 0.318041381743977), (0.6449489742783179, 0.181958618256023))),
    (
        0.18,
        (
            (0.08858795951270394, 0.2009319137389596),
            (0.40946686444073477, 0.2292411063595862),
            (0.787659461760847, 0.06982697990145417),
        ),
    ),
    (
        0.5,
        (
            (0.057104196114517725, 0.13550691343148852),
            (0.2768430136381238, 0.2034645680102711),
            (0.5835904323689168, 0.12984754760823233),
            (0.8602401356562195, 0.031180970950008085),
        ),
    ),
)
SMALL = RULES[-1][0]
"""Moves of a score up to this have their Bregman distance from quadrature."""


@dataclass(frozen=True)
class Logistic(Loss):
    """``phi(z; y) = log(1 + exp(-t))`` with ``t = y z``, for labels ``y`` in {-1, +1}.

    Derivative ``-y / (1 + e^t)``, (1/4)-Lipschitz; curvature ``p (1 - p)``, ``p = 1 / (1 + e^t)``;
    conjugate ``v log v + (1 - v) log(1 - v)`` for ``v = -y u`` in [0, 1]. Nothing overflows, and a
    loss far below the rounding of 1 keeps its digits.
    """

    curvature_bound = 0.25
    kernel = "logistic"
    curved = True

    def pointwise(self, scores: Tensor, labels: Tensor) -> Tensor:
        return -logsigmoid(labels * scores)

    def derivative(self, scores: Tensor, labels: Tensor) -> Tensor:
        return -labels * torch.sigmoid(-labels * scores)

    def curvature(self, scores: Tensor, labels: Tensor) -> Tensor:
        del labels  # p (1 - p) is even
        return _second(scores)

    def pointwise_conjugate(self, dual: Tensor, labels: Tensor) -> Tensor:
        inside, v = within(-labels * dual, 0, 1)
        return torch.where(inside, torch.xlogy(v, v) + torch.xlogy(1 - v, 1 - v), torch.inf)

    def bregman_terms(self, new: Tensor, old: Tensor, labels: Tensor) -> Tensor:
        """Without cancellation, for labels -1 and +1, on which it does not depend.

        For a move ``d`` up to 1/2 the integral ``d^2 int_0^1 (1 - s) phi''(z + s d) ds`` by
        quadrature, all of whose terms are positive. For a longer one its definition, after a
        reflection that makes the old ``t >= 0``, where no term is much larger than the result.
        """
        del labels
        move = new - old
        size = move.abs()
        largest = float(size.max()) if size.numel() else 0.0
        for limit, rule in RULES:
            if largest <= limit:
                return _quadrature(old, move, rule)
        small = size <= SMALL
        near = _quadrature(old, torch.where(small, move, 0.0), RULES[-1][1])
        sign = torch.where(old < 0, -1.0, 1.0).to(old)
        start, step = sign * old, sign * move
        far = logsigmoid(start) - logsigmoid(sign * new) + step * torch.sigmoid(-start)
        return torch.where(small, near, far)

    def bregman_error(self, scores: Tensor, weights: Tensor, value: float) -> float:
        """Only the scores' own rounding is left: second order in the machine precision."""
        del value
        return rounding_of_scores(scores, weights, self.curvature_bound)


def _quadrature(old: Tensor, move: Tensor, rule: tuple[tuple[float, float], ...]) -> Tensor:
    """Bregman distances of short moves."""
    mean = torch.zeros_like(old)
    for node, factor in rule:
        mean.add_(_second(torch.add(old, move, alpha=node)), alpha=factor)
    return mean * move.square()


def _second(scores: Tensor) -> Tensor:
    """``p (1 - p) = e / (1 + e)^2`` with ``e = exp(-|z|)``: all digits at both ends, one exp."""
    e = torch.exp(-scores.abs())
    return e / (1 + e).square()
