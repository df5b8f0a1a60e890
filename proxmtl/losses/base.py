"""What a loss is: a convex function of score and label, summed with weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from proxmtl.numerics import dot
from proxmtl.ranks import ALONE, Ranks
from proxmtl.targets import Targets

__all__ = ["LOSSES", "Loss"]

LOSSES: dict[str, type[Loss]] = {}
"""Every loss by class name, filled as subclasses are defined."""

DualBlocks = Iterable[tuple[Tensor, ...]]
"""Blocks of a dual point, each with its labels and weights."""


class Loss(ABC):
    """``sum_i c_i phi(z_i; y_i)`` over scores ``z``, labels ``y`` and weights ``c >= 0``.

    Scores, labels and weights have one shape, any shape. A missing label has weight 0; its label
    may then be any finite number. ``phi`` is convex, bounded below, with a Lipschitz derivative. A
    subclass gives the scalar functions; the weighted sums are written once, here.

    A *coupled* loss is one of all the scores of a sample together, ``phi(z_1 .. z_C; y)``. Its
    scores, labels and weights are matrices (N, C), and every method below is given whole rows: the
    weights are constant along a row; ``pointwise`` and ``pointwise_conjugate`` return terms whose
    sum along a row is ``phi`` and ``phi*`` of the sample; ``derivative`` is the gradient along the
    row, ``curvature`` the diagonal of the Hessian.

    Attributes
    ----------
    curvature_bound : float
        Lipschitz constant of ``phi'``; a class attribute, or a property of the parameters.
    kernel : str or None
        Name under which the fused kernels know this loss; None: it has no fused kernel.
    coupled : bool
        Whether the scores of a sample belong together.
    curved : bool
        Whether the curvature is positive wherever the derivative is not zero, as exact Newton steps
        need it. False for a loss that is linear far out.
    labels : {"signs", "real", "classes"}
        What the labels are: -1 and +1, real numbers, or one class of a sample.
    """

    kernel: ClassVar[str | None] = None
    coupled: ClassVar[bool] = False
    curved: ClassVar[bool] = False
    labels: ClassVar[Literal["signs", "real", "classes"]] = "signs"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        LOSSES[cls.__name__] = cls

    @property
    @abstractmethod
    def curvature_bound(self) -> float:
        """Lipschitz constant of ``phi'``."""

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
        return pointwise.sum() if weights is None else dot(pointwise, weights)

    def grad(self, scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Residuals ``r = c phi'(z; y)``: the gradient in the scores, same shape."""
        derivative = self.derivative(scores, labels)
        return derivative if weights is None else derivative * weights

    def value_and_grad(
        self, scores: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Value and gradient in the scores; a subclass may share work between them."""
        return self.value(scores, labels, weights), self.grad(scores, labels, weights)

    def curvature_product(
        self, scores: Tensor, labels: Tensor, weights: Tensor, direction: Tensor
    ) -> Tensor:
        """Generalised Hessian of the weighted sum, in the scores, times a direction; same shape."""
        return weights * self.curvature(scores, labels) * direction

    def bregman(
        self, new: Tensor, old: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Weighted sum of :meth:`bregman_terms`, 0-d: the line searches' test of a step.

        A difference of two sums would lose it to rounding. What rounding remains is bounded by
        :meth:`bregman_error`.
        """
        terms = self.bregman_terms(new, old, labels)
        return terms.sum() if weights is None else (terms * weights).sum()

    def bregman_terms(self, new: Tensor, old: Tensor, labels: Tensor) -> Tensor:
        """``phi(new) - phi(old) - phi'(old) (new - old) >= 0``, same shape.

        A subclass writes it without cancellation where it can.
        """
        terms = self.pointwise(new, labels) - self.pointwise(old, labels)
        return torch.addcmul(terms, self.derivative(old, labels), new - old, value=-1)

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
        self,
        blocks: DualBlocks,
        largest: float,
        offset: float = 0.0,
        *,
        ranks: Ranks = ALONE,
    ) -> float:
        """Return the factor ``s`` in ``[0, largest]`` by which to shrink a dual point.

        ``blocks`` are blocks of rows of it, each with its labels and weights.
        The dual objective is ``s offset - sum (c phi)*(s u)``; ``offset`` is not zero where part of
        the scores is fixed. The default is ``min(1, largest)``; it stays in the conjugate's domain,
        which holds 0 and is convex. Losses with a quadratic conjugate do better in closed form,
        with sums over the samples of all ``ranks``.
        """
        del blocks, offset, ranks
        return min(1.0, largest)

    def balance(self, residuals: Tensor, targets: Targets) -> Tensor | None:
        """Return a dual point near ``residuals`` whose sum over the samples of each task is zero.

        An unpenalised intercept demands it: a gap at another dual point would be false. The result
        lies in the domain of the conjugate, and is ``residuals`` themselves where these balance
        already, so that the gap closes at the optimum. Here the heavier sign is shrunk, which is
        right for every loss that is not coupled: the domain is an interval around 0 for each
        sample. None: there is no such construction, and so no gap with an intercept.
        """
        companion = self.companion(residuals, targets.weights)
        if companion is None:
            return None
        sums = (targets.per_task(each) for each in (residuals, companion, residuals - companion))
        own, other = self.balancing(*sums)
        # a residual that is to be shrunk to zero is, to the bit: both products round alike
        return targets.broadcast(own) * residuals + targets.broadcast(other) * companion

    def companion(self, residuals: Tensor, weights: Tensor) -> Tensor | None:  # noqa: ARG002
        """Return a vector C, shaped like the residuals R, with which they balance task by task.

        :meth:`balance` is then ``a R + b C`` with the numbers :meth:`balancing` for each task, so
        that its adjoint follows from those of R and C, which one read of the features gives. None
        where there are no such numbers: a loss that overrides :meth:`balance` has none.
        """
        return None if self.coupled else residuals.clamp_min(0)

    def balancing(
        self, total: Tensor, of_companion: Tensor, of_rest: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Numbers a and b of :meth:`companion`, from sums by task; all of the shape (M,).

        Parameters
        ----------
        total, of_companion, of_rest : Tensor, shape (M,)
            Of R, C and ``R - C``.
        """
        del total
        positive, negative = of_companion, -of_rest
        level = torch.minimum(positive, negative)
        up = torch.where(positive > 0, level / torch.where(positive > 0, positive, 1.0), 0.0)
        down = torch.where(negative > 0, level / torch.where(negative > 0, negative, 1.0), 0.0)
        return down, up - down

    def check_labels(self, labels: Tensor, weights: Tensor) -> None:
        """Raise ``ValueError`` unless each label of positive weight is one this loss takes.

        Here: -1 or +1.
        """
        wrong = (weights > 0) & (labels != 1) & (labels != -1)
        if bool(wrong.any()):
            seen = sorted(set(labels[wrong][:1000].tolist()))[:5]
            raise ValueError(
                f"labels: {type(self).__name__} takes -1 and +1, NaN or 0 for missing; "
                f"saw {seen}. Recode the labels, or take a loss of real labels: Squared, Huber."
            )
