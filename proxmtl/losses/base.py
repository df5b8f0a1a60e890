"""What a loss is: a convex scalar function of score and label, summed with weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

__all__ = ["LOSSES", "Loss"]

LOSSES: dict[str, type[Loss]] = {}
"""Every loss by class name, filled as subclasses are defined."""


class Loss(ABC):
    """``sum_i c_i phi(z_i; y_i)`` over scores ``z``, labels ``y`` and weights ``c >= 0``.

    Scores, labels and weights have one shape, any shape. A missing label has weight 0; its label
    may then be any finite number. A subclass gives the scalar functions; the weighted sums are
    written once, here.

    Attributes
    ----------
    curvature_bound : float
        Lipschitz constant of ``phi'``.
    kernel : str or None
        Name under which the fused kernels know this loss; None: it has no fused kernel.
    """

    curvature_bound: ClassVar[float]
    kernel: ClassVar[str | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        LOSSES[cls.__name__] = cls

    @abstractmethod
    def pointwise(self, scores: Tensor, labels: Tensor) -> Tensor:
        """``phi(z; y)``, same shape."""

    @abstractmethod
    def derivative(self, scores: Tensor, labels: Tensor) -> Tensor:
        """``phi'(z; y)`` with respect to the score, same shape."""

    @abstractmethod
    def curvature(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Generalised second derivative ``phi''(z; y)``, same shape."""

    @abstractmethod
    def pointwise_conjugate(self, dual: Tensor, labels: Tensor) -> Tensor:
        """``phi*(u; y) = sup_z u z - phi(z; y)``; ``+inf`` outside its domain."""

    def value(self, scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Weighted sum of the loss, 0-d."""
        pointwise = self.pointwise(scores, labels)
        return pointwise.sum() if weights is None else _dot(pointwise, weights)

    def grad(self, scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Residuals ``r = c phi'(z; y)``: the gradient in the scores, same shape."""
        derivative = self.derivative(scores, labels)
        return derivative if weights is None else derivative * weights

    def value_and_grad(
        self, scores: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Value and gradient in the scores; a subclass may share work between them."""
        return self.value(scores, labels, weights), self.grad(scores, labels, weights)

    def bregman(
        self, new: Tensor, old: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """``sum c (phi(new) - phi(old) - phi'(old) (new - old))``, 0-d, summed sample by sample.

        The line searches' test of a step: a difference of two sums would lose it to rounding. What
        rounding remains is bounded by :meth:`bregman_error`.
        """
        terms = self.pointwise(new, labels) - self.pointwise(old, labels)
        terms = torch.addcmul(terms, self.derivative(old, labels), new - old, value=-1)
        return terms.sum() if weights is None else _dot(terms, weights)

    def bregman_error(self, scores: Tensor, weights: Tensor, value: float) -> float:  # noqa: ARG002
        """Rounding error to expect of :meth:`bregman` at these scores and loss value."""
        return 4 * torch.finfo(scores.dtype).eps * abs(value)

    def conjugate(self, dual: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """``sum_i (c_i phi)*(u_i) = sum_i c_i phi*(u_i / c_i)``, 0-d.

        For ``c_i = 0`` the conjugate is the indicator of ``u_i = 0``.
        """
        observed = weights > 0
        safe = torch.where(observed, weights, 1.0)
        terms = weights * self.pointwise_conjugate(dual / safe, labels)
        outside = torch.where(dual == 0, 0.0, torch.inf).to(dual.dtype)
        return torch.where(observed, terms, outside).sum()

    def dual_scale(
        self, dual: Tensor, labels: Tensor, weights: Tensor, largest: float, offset: float = 0.0
    ) -> float:
        """Return the factor ``s`` in ``[0, largest]`` by which to shrink a dual point.

        The dual objective is ``s offset - sum (c phi)*(s u)``; ``offset`` is not zero where part of
        the scores is fixed. The default is ``min(1, largest)``; it stays in the conjugate's domain,
        which holds 0 and is convex. Losses with a quadratic conjugate do better in closed form.
        """
        del dual, labels, weights, offset
        return min(1.0, largest)

    def check_labels(self, labels: Tensor, observed: Tensor) -> None:
        """Raise ``ValueError`` unless each observed label is one this loss takes: -1 or +1."""
        wrong = labels[observed & (labels != 1) & (labels != -1)]
        if wrong.numel():
            seen = sorted(set(wrong[:1000].tolist()))[:5]
            raise ValueError(
                f"labels: {type(self).__name__} takes -1 and +1, NaN or 0 for missing; "
                f"saw {seen}. Recode the labels."
            )


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.reshape(-1))
