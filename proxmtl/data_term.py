"""The data term of a problem: the loss summed over all labels, as a function of the scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.losses import Loss, without_weights
from proxmtl.targets import Targets

__all__ = ["DataTerm", "OnData"]


class DataTerm:
    """``F(Z) = sum_i c_i phi(z_i; y_i)`` over the labels of all tasks.

    The only owner of labels and weights: every sum over samples that a solver or a certificate
    needs is a method. Scores have the shape of the labels, and results have the precision of the
    scores. Labels and weights are converted to another precision once and cached.

    Parameters
    ----------
    loss : Loss
    targets : Targets
        Labels that passed :meth:`Loss.check_labels`; they are not checked here.
    """

    def __init__(self, loss: Loss, targets: Targets) -> None:
        self.loss, self.targets = loss, targets
        self._converted = {targets.labels.dtype: targets}

    @classmethod
    def checked(cls, loss: Loss, targets: Targets, dtype: torch.dtype) -> DataTerm:
        """Data term in ``dtype``; raises ``ValueError`` if the loss does not accept the labels."""
        loss.check_labels(targets.labels, targets.weights)
        return cls(loss, targets.to(dtype))

    def at(self, dtype: torch.dtype) -> Targets:
        """Labels and weights in a precision (cached)."""
        if dtype not in self._converted:
            self._converted[dtype] = self.targets.to(dtype)
        return self._converted[dtype]

    # ------------------------------------------------------------------ shapes

    @property
    def n_tasks(self) -> int:
        """Number of tasks M."""
        return self.targets.n_tasks

    @property
    def shape(self) -> torch.Size:
        """Shape of the scores."""
        return self.targets.labels.shape

    def observed(self) -> Tensor:
        """Mask of the labels of positive weight, in the shape of the scores."""
        return self.targets.weights > 0

    def constant_scores(self, per_task: Tensor) -> Tensor:
        """Scores that are constant in each task, from one number per task, shape (M,)."""
        return self.targets.broadcast(per_task).expand(self.shape)

    def zero_scores(self, dtype: torch.dtype | None = None) -> Tensor:
        """Scores that are all zero; in the precision of the labels by default."""
        return torch.zeros_like(self.targets.labels, dtype=dtype)

    def take(self, entries: Tensor | slice, dtype: torch.dtype | None = None) -> DataTerm:
        """Data term of a subset of the samples.

        ``entries`` are ascending indices, or a slice, along the first axis of the scores.
        """
        targets = self.targets if dtype is None else self.at(dtype)
        return DataTerm(self.loss, targets.take(entries))

    def rearranged(
        self, order: Callable[[Tensor], Tensor], dtype: torch.dtype | None = None
    ) -> DataTerm:
        """Data term of labels that ``order`` selects or lays out anew, for instance transposes.

        ``order`` is applied to the labels and to the weights (converted to ``dtype`` first); the
        scores of the new data term have the shape of its result.
        """
        targets = self.targets if dtype is None else self.at(dtype)
        labels, weights = order(targets.labels), order(targets.weights)
        return DataTerm(self.loss, Targets(labels, weights, self.n_tasks))

    # ------------------------------------------------------------------ values and derivatives

    def value(self, scores: Tensor) -> Tensor:
        """``F(Z)``, 0-d."""
        targets = self.at(scores.dtype)
        return self.loss.value(scores, targets.labels, targets.weights)

    def gradient(self, scores: Tensor) -> Tensor:
        """Gradient in the scores: the residuals ``c phi'(z; y)``, shaped like the scores."""
        targets = self.at(scores.dtype)
        return self.loss.grad(scores, targets.labels, targets.weights)

    def value_and_gradient(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`value` and :meth:`gradient` together, which is cheaper than two calls."""
        targets = self.at(scores.dtype)
        return self.loss.value_and_grad(scores, targets.labels, targets.weights)

    def terms(self, scores: Tensor) -> Tensor:
        """Weighted losses ``c phi(z; y)`` of the labels, shaped like the scores."""
        targets = self.at(scores.dtype)
        return self.loss.pointwise(scores, targets.labels) * targets.weights

    def curvature(self, scores: Tensor) -> Tensor:
        """Diagonal ``c phi''(z; y)`` of the Hessian in the scores, shaped like the scores."""
        targets = self.at(scores.dtype)
        return self.loss.curvature(scores, targets.labels) * targets.weights

    def curvature_product(self, scores: Tensor, direction: Tensor) -> Tensor:
        """Hessian in the scores times a direction, shaped like the scores."""
        targets = self.at(direction.dtype)
        return self.loss.curvature_product(scores, targets.labels, targets.weights, direction)

    # ------------------------------------------------------------------ line searches

    def bregman(self, new: Tensor, old: Tensor) -> float:
        """``F(new) - F(old) - <F'(old), new - old>``, summed label by label."""
        targets = self.at(new.dtype)
        return float(self.loss.bregman(new, old, targets.labels, targets.weights))

    def bregman_terms(self, new: Tensor, old: Tensor) -> Tensor:
        """Terms of :meth:`bregman`, shaped like the scores."""
        targets = self.at(new.dtype)
        return self.loss.bregman_terms(new, old, targets.labels) * targets.weights

    def bregman_error(self, scores: Tensor, value: float) -> float:
        """Estimate of the rounding error of :meth:`bregman` near scores with this loss value."""
        return self.loss.bregman_error(scores, self.at(scores.dtype).weights, value)

    # ------------------------------------------------------------------ duality

    def conjugate(self, dual: Tensor) -> float:
        """``F*(U)``; infinite outside its domain."""
        targets = self.at(dual.dtype)
        return float(self.loss.conjugate(dual, targets.labels, targets.weights))

    def dual_scale(self, dual: Tensor, largest: float, offset: float = 0.0) -> float:
        """Factor in ``[0, largest]`` that scales a dual point (:meth:`Loss.dual_scale`)."""
        targets = self.at(dual.dtype)
        return self.loss.dual_scale(dual, targets.labels, targets.weights, largest, offset)

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
        """Second score-shaped array C such that ``a R + b C`` is balanced (:meth:`Loss.companion`).

        None if the loss does not balance the residuals R task by task.
        """
        return self.loss.companion(residuals, self.at(residuals.dtype).weights)

    def balancing(self, residuals: Tensor) -> tuple[Tensor, Tensor] | None:
        """Coefficients a and b of each task, (M,), with ``a R + b C`` equal to :meth:`balanced`.

        R are the residuals, C their :meth:`companion`; None if there is no companion.
        """
        companion = self.companion(residuals)
        if companion is None:
            return None
        return self.loss.balancing(self.per_task(residuals), self.per_task(companion))

    # ------------------------------------------------------------------ sums over samples

    def per_task(self, values: Tensor) -> Tensor:
        """Sum of score-shaped values over the samples of each task, shape (M,)."""
        return self.targets.per_task(values)

    def weights_by_task(self) -> Tensor:
        """Total weight of the labels of each task, shape (M,), float64."""
        return self.per_task(self.at(torch.float64).weights)

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
