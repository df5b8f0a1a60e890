"""Squared Weston-Watkins: one smooth multi-class loss of all the scores of a sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.losses.base import DualBlocks, Loss
from proxmtl.losses.circulation import circulation
from proxmtl.losses.quadratic import best_quadratic_scale
from proxmtl.ranks import ALONE, Ranks
from proxmtl.targets import Targets

__all__ = ["WestonWatkins"]

SUM_ROUNDING = 16
"""A row of the dual sums to zero up to this many roundings, and one more a class."""


@dataclass(frozen=True)
class WestonWatkins(Loss):
    """``phi(z; y) = 1/2 sum_{j != y} max(0, 1 - z_y + z_j)^2`` for classes ``y`` in 0..C-1.

    One column of scores a class; labels are +1 in the column of the class and -1 elsewhere, as
    :meth:`Targets.from_classes` makes them; predict the class of the largest score. With
    ``s_j = max(0, 1 - z_y + z_j)`` the gradient is ``s_j`` for ``j != y`` and ``-sum_j s_j`` for
    ``y``; it is C-Lipschitz, and attains that where every margin is violated. Hessian:
    ``sum_{j: s_j > 0} (e_j - e_y)(e_j - e_y)'``. Conjugate: ``sum_{j != y} (u_j^2 / 2 - u_j)``
    where ``u_j >= 0`` for ``j != y`` and ``sum_j u_j = 0``.

    Parameters
    ----------
    n_classes : int
        C, at least 2.

    Raises
    ------
    ValueError
        If there are fewer than two classes.

    References
    ----------
    Weston and Watkins, "Support vector machines for multi-class pattern recognition", 1999.
    """

    n_classes: int
    coupled = True
    labels = "classes"

    def __post_init__(self) -> None:
        if self.n_classes != int(self.n_classes) or self.n_classes < 2:
            raise ValueError(f"n_classes: got {self.n_classes}; there must be at least 2.")

    @property
    def curvature_bound(self) -> float:
        """The number of classes."""
        return float(self.n_classes)

    def pointwise(self, scores: Tensor, labels: Tensor) -> Tensor:
        return 0.5 * _slack(scores, labels).square()

    def derivative(self, scores: Tensor, labels: Tensor) -> Tensor:
        return _closed(_slack(scores, labels), labels)

    def curvature(self, scores: Tensor, labels: Tensor) -> Tensor:
        active = (_slack(scores, labels) > 0).to(scores.dtype)
        return torch.where(labels > 0, active.sum(-1, keepdim=True), active)

    def curvature_product(
        self, scores: Tensor, labels: Tensor, weights: Tensor, direction: Tensor
    ) -> Tensor:
        change = direction - _own(direction, labels)
        active = _slack(scores, labels) > 0
        return weights * _closed(torch.where(active, change, 0.0), labels)

    def pointwise_conjugate(self, dual: Tensor, labels: Tensor) -> Tensor:
        own = labels > 0
        terms = torch.where(dual >= 0, 0.5 * dual.square() - dual, torch.inf)
        slack = (SUM_ROUNDING + self.n_classes) * torch.finfo(dual.dtype).eps
        size = dual.abs().sum(-1, keepdim=True)
        closed = dual.sum(-1, keepdim=True).abs() <= slack * size
        return torch.where(own, torch.where(closed, 0.0, torch.inf).to(dual.dtype), terms)

    def bregman_terms(self, new: Tensor, old: Tensor, labels: Tensor) -> Tensor:
        """Without cancellation, margin by margin: as :meth:`SquaredHinge.bregman_terms`."""
        v = _margin_violation(new, labels)
        b, a = torch.relu(v), _slack(old, labels)
        terms = (b - a).square().mul_(0.5).addcmul_(a, b - v)
        return torch.where(labels > 0, torch.zeros_like(terms), terms)

    def bregman_error(self, scores: Tensor, weights: Tensor, value: float) -> float:
        """Only the scores' own rounding is left: second order in the machine precision."""
        del value
        # each margin has the rounding of two scores, and a score is in up to C margins
        size = float((weights * (scores.square() + 1)).sum())
        return 2 * self.curvature_bound * size * torch.finfo(scores.dtype).eps ** 2

    def dual_scale(
        self,
        blocks: DualBlocks,
        largest: float,
        offset: float = 0.0,
        *,
        ranks: Ranks = ALONE,
    ) -> float:
        """Maximise the concave quadratic ``s offset - sum (c phi)*(s u)`` over ``[0, largest]``."""
        sums = []
        for dual, labels, weights in blocks:
            others = torch.where((weights > 0) & (labels < 0), dual, 0.0)
            squares = (others.square() / torch.where(weights > 0, weights, 1.0)).sum()
            sums.append(torch.stack([squares, others.sum()]))
        squares, linear = ranks.total(torch.stack(sums).sum(0))
        return best_quadratic_scale(offset + linear.item(), squares.item(), largest)

    def balance(self, residuals: Tensor, targets: Targets) -> Tensor | None:
        """Rescale the dual by pairs of classes, so that it sums to zero over the samples too.

        ``A[k, l]``, the sum of ``u_l`` over the samples of class k, must be a circulation: what
        leaves a class is what enters it. See :func:`circulation`.
        """
        own = (targets.labels > 0).to(residuals.dtype)
        others = residuals * (1 - own)
        factors = circulation(targets.ranks.total(own.T @ others))
        return _closed(others * (own @ factors), targets.labels)

    def check_labels(self, labels: Tensor, weights: Tensor) -> None:
        """Raise ``ValueError`` unless labels are those of :meth:`Targets.from_classes`."""
        hint = f"make them by Targets.from_classes(classes, {self.n_classes})."
        if labels.ndim != 2 or labels.shape[1] != self.n_classes:
            raise ValueError(
                f"labels: shape {tuple(labels.shape)} for WestonWatkins({self.n_classes}), which "
                f"takes one column a class; {hint}"
            )
        if bool((weights != weights[:, :1]).any()):
            raise ValueError(
                "labels: weights differ, or labels are missing, within a sample; WestonWatkins "
                f"takes samples as a whole: {hint}"
            )
        seen = labels[weights[:, 0] > 0]
        right = ((seen == 1) | (seen == -1)).all(-1) & ((seen == 1).sum(-1) == 1)
        if not bool(right.all()):
            row = seen[~right][0].tolist()
            raise ValueError(
                f"labels: WestonWatkins takes -1 and +1, one +1 a sample; saw {row}; {hint}"
            )


def _own(values: Tensor, labels: Tensor) -> Tensor:
    """Value in the column of each sample's class, shape (N, 1)."""
    return torch.where(labels > 0, values, 0.0).sum(-1, keepdim=True)


def _margin_violation(scores: Tensor, labels: Tensor) -> Tensor:
    """``1 - z_y + z_j`` (meaningless in the column of the class)."""
    return 1 + (scores - _own(scores, labels))


def _slack(scores: Tensor, labels: Tensor) -> Tensor:
    """``s_j = max(0, 1 - z_y + z_j)``, and 0 in the column of the class."""
    return torch.where(labels > 0, 0.0, torch.relu(_margin_violation(scores, labels)))


def _closed(others: Tensor, labels: Tensor) -> Tensor:
    """Fill in the column of the class, in which ``others`` is 0, so that each row sums to zero."""
    return torch.where(labels > 0, -others.sum(-1, keepdim=True), others)
