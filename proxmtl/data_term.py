"""The data term of a problem: the loss summed over all labels, as a function of the scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.losses import Loss, without_weights
from proxmtl.ranks import ALONE, Ranks
from proxmtl.targets import Targets

__all__ = ["DataTerm", "OnData", "SummedLoss"]


class SummedLoss:
    """``F(Z) = sum_i c_i phi(z_i; y_i)``: a loss summed with the weights of its labels.

    Every method computes in the precision of the scores that it is given, which have the shape of
    the labels. Labels and weights are converted to another precision once, and kept.

    Parameters
    ----------
    loss : Loss
    labels, weights : Tensor, same shape
        Labels that the loss takes; nothing is checked.
    ranks : Ranks
        Processes among which the samples are divided. Scores and what is shaped like them are those
        of this process, and sums those over the samples of all.
    """

    def __init__(
        self, loss: Loss, labels: Tensor, weights: Tensor, ranks: Ranks = ALONE
    ) -> None:
        self.loss, self.labels, self.weights, self.ranks = loss, labels, weights, ranks
        self._converted = {labels.dtype: (labels, weights)}

    def converted(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Labels and weights in a precision."""
        if dtype not in self._converted:
            self._converted[dtype] = self.labels.to(dtype), self.weights.to(dtype)
        return self._converted[dtype]

    @property
    def shape(self) -> torch.Size:
        """Shape of the scores."""
        return self.labels.shape

    def rearranged(
        self, order: Callable[[Tensor], Tensor], dtype: torch.dtype | None = None
    ) -> SummedLoss:
        """Return the loss of labels selected or laid out by ``order``, such as the transpose.

        ``order`` is applied to labels and to weights, in a precision; scores then have the shape
        of its result.
        """
        labels, weights = map(order, self.converted(dtype or self.labels.dtype))
        return SummedLoss(self.loss, labels, weights, self.ranks)

    # ------------------------------------------------------------------ values and derivatives

    def value(self, scores: Tensor) -> Tensor:
        """``F(Z)``, 0-d."""
        return self.ranks.total(self.loss.value(scores, *self.converted(scores.dtype)))

    def gradient(self, scores: Tensor) -> Tensor:
        """Gradient in the scores: the residuals ``c phi'(z; y)``, shaped like the scores."""
        return self.loss.grad(scores, *self.converted(scores.dtype))

    def value_and_gradient(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`value` and :meth:`gradient`, which share work."""
        value, grad = self.loss.value_and_grad(scores, *self.converted(scores.dtype))
        return self.ranks.total(value), grad

    def terms(self, scores: Tensor) -> Tensor:
        """Weighted losses ``c phi(z; y)`` of the labels, shaped like the scores."""
        labels, weights = self.converted(scores.dtype)
        return self.loss.pointwise(scores, labels) * weights

    def curvature(self, scores: Tensor) -> Tensor:
        """Diagonal ``c phi''(z; y)`` of the Hessian in the scores, shaped like the scores."""
        labels, weights = self.converted(scores.dtype)
        return self.loss.curvature(scores, labels) * weights

    def curvature_product(self, scores: Tensor, direction: Tensor) -> Tensor:
        """Hessian in the scores times a direction, shaped like the scores."""
        labels, weights = self.converted(direction.dtype)
        return self.loss.curvature_product(scores, labels, weights, direction)

    def over_samples(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Sums of arrays, each with the samples as its first axis, over this axis."""
        return self.ranks.sum(*(each.sum(0) for each in values))

    def weighted_squares(self, scores: Tensor) -> float:
        """``sum_i c_i z_i^2``: a bound on the curvature along scores, per unit of the loss's."""
        weights = self.converted(scores.dtype)[1]
        return float(self.ranks.total((weights * scores.square()).sum(dtype=torch.float64)))

    def inner(self, first: Tensor, second: Tensor) -> float:
        """Inner product of two arrays shaped like the scores."""
        return float(self.ranks.total((first * second).sum()))

    # ------------------------------------------------------------------ line searches

    def bregman(self, new: Tensor, old: Tensor) -> float:
        """``F(new) - F(old) - <F'(old), new - old>``, summed label by label."""
        return float(self.ranks.total(self._own_bregman(new, old)))

    def _own_bregman(self, new: Tensor, old: Tensor) -> Tensor:
        return self.loss.bregman(new, old, *self.converted(new.dtype))

    def bregman_terms(self, new: Tensor, old: Tensor) -> Tensor:
        """Terms of :meth:`bregman`, shaped like the scores."""
        labels, weights = self.converted(new.dtype)
        return self.loss.bregman_terms(new, old, labels) * weights

    def bregman_error(self, scores: Tensor, value: float) -> float:
        """Rounding error to expect of :meth:`bregman` near scores with this value."""
        return float(self.ranks.total(self._own_error(scores, value)))

    def _own_error(self, scores: Tensor, value: float) -> Tensor:
        weights = self.converted(scores.dtype)[1]
        own = self.loss.bregman_error(scores, weights, value / self.ranks.size)
        return torch.tensor(own, dtype=torch.float64)

    def bregman_with_error(self, new: Tensor, old: Tensor, value: float) -> tuple[float, float]:
        """:meth:`bregman`, and :meth:`bregman_error` at the old scores, in one exchange."""
        found = self.ranks.sum(self._own_bregman(new, old), self._own_error(old, value))
        return float(found[0]), float(found[1])

    # ------------------------------------------------------------------ duality

    def conjugate(self, dual: Tensor) -> float:
        """``F*(U)``; infinite outside its domain."""
        own = self.loss.conjugate(dual, *self.converted(dual.dtype))
        return float(self.ranks.total(own))

    def dual_scale(self, dual: Tensor, largest: float, offset: float = 0.0) -> float:
        """Factor in ``[0, largest]`` by which to shrink a dual point (:meth:`Loss.dual_scale`)."""
        labels, weights = self.converted(dual.dtype)
        ranks = {} if self.ranks is ALONE else {"ranks": self.ranks}
        return self.loss.dual_scale(dual, labels, weights, largest, offset, **ranks)


class DataTerm(SummedLoss):
    """The loss of all tasks on the scores of a design.

    The only owner of labels and weights: every sum over samples that a solver or a certificate
    needs is a method.

    Parameters
    ----------
    loss : Loss
    targets : Targets
        Labels that passed :meth:`Loss.check_labels`; they are not checked here.
    """

    def __init__(self, loss: Loss, targets: Targets) -> None:
        super().__init__(loss, targets.labels, targets.weights, targets.ranks)
        self.targets = targets

    @classmethod
    def checked(cls, loss: Loss, targets: Targets, dtype: torch.dtype) -> DataTerm:
        """Data term in ``dtype``; raises ``ValueError`` if the loss does not accept the labels."""
        loss.check_labels(targets.labels, targets.weights)
        return cls(loss, targets.to(dtype))

    def at(self, dtype: torch.dtype) -> Targets:
        """Labels and weights in a precision."""
        if dtype == self.labels.dtype:
            return self.targets
        labels, weights = self.converted(dtype)
        return replace(self.targets, labels=labels, weights=weights)

    @cached_property
    def own(self) -> DataTerm:
        """Data term of this process's samples alone."""
        if self.ranks is ALONE:
            return self
        return DataTerm(self.loss, replace(self.targets, ranks=ALONE))

    @property
    def n_tasks(self) -> int:
        """Number of tasks M."""
        return self.targets.n_tasks

    def observed(self) -> Tensor:
        """Mask of the labels of positive weight, in the shape of the scores."""
        return self.weights > 0

    @cached_property
    def n_scores(self) -> int:
        """Number of scores, observed or not."""
        return int(self.ranks.total(torch.tensor(self.labels.numel())))

    @cached_property
    def n_observed(self) -> int:
        """Number of labels of positive weight."""
        return int(self.ranks.total(self.observed().sum()))

    def zero_scores(self, dtype: torch.dtype | None = None) -> Tensor:
        """Scores that are all zero; in the precision of the labels by default."""
        return torch.zeros_like(self.labels, dtype=dtype)

    def constant_scores(self, per_task: Tensor) -> Tensor:
        """Scores that are constant in each task, from one number per task, shape (M,)."""
        return self.targets.broadcast(per_task).expand(self.shape)

    def take(self, entries: Tensor | slice, dtype: torch.dtype | None = None) -> DataTerm:
        """Data term of a subset of the samples.

        ``entries`` are ascending indices, or a slice, along the first axis of the scores. Sums are
        those of this process alone.
        """
        targets = self.targets if dtype is None else self.at(dtype)
        return DataTerm(self.loss, targets.take(entries))

    # ------------------------------------------------------------------ dual points that balance

    @cached_property
    def balances(self) -> bool:
        """Whether the loss can balance residuals (:meth:`balanced` is not None)."""
        return self.balanced(self.zero_scores()) is not None

    def balanced(self, residuals: Tensor) -> Tensor | None:
        """Dual point near the residuals, with entries that sum to zero over each task's samples.

        None if the loss has no construction of such a point (:meth:`Loss.balance`).
        """
        return self.loss.balance(residuals, self.at(residuals.dtype))

    def companion(self, residuals: Tensor) -> Tensor | None:
        """Companion of the residuals (:meth:`Loss.companion`); None where there is none."""
        if type(self.loss).balance is not Loss.balance:
            return None
        return self.loss.companion(residuals, self.converted(residuals.dtype)[1])

    def balancing(self, residuals: Tensor, companion: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers a and b by task, (M,): ``a R + b C`` is :meth:`balanced`, C the companion."""
        sums = map(self.per_task, (residuals, companion, residuals - companion))
        return self.loss.balancing(*sums)

    # ------------------------------------------------------------------ sums over samples

    def per_task(self, values: Tensor) -> Tensor:
        """Sum of score-shaped values over the samples of each task, shape (M,)."""
        return self.targets.per_task(values)

    def weights_by_task(self) -> Tensor:
        """Total weight of the labels of each task, shape (M,), float64."""
        return self.per_task(self.converted(torch.float64)[1])

    def null(self, *, intercept: bool) -> tuple[Tensor | None, float]:
        """Optimal intercepts (M,) for zero weights, and the loss there; float64.

        Without an intercept, None and the loss at zero.
        """
        return without_weights(self.loss, self.at(torch.float64), intercept=intercept)


class OnData:
    """Base of problems with a data term: gives access to its loss and targets."""

    data: DataTerm

    @property
    def loss(self) -> Loss:
        """Loss function."""
        return self.data.loss

    @property
    def targets(self) -> Targets:
        """Labels and weights, in the precision of the design."""
        return self.data.targets
