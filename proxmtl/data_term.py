"""The data term of a problem: the loss summed over all labels, as a function of the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.label_arrays import by_task
from proxmtl.losses import Loss, without_weights
from proxmtl.numerics import PIECE_ELEMENTS, row_blocks
from proxmtl.ranks import ALONE, Ranks
from proxmtl.stored_labels import DenseLabels, Labelled, StoredLabels
from proxmtl.targets import Targets

__all__ = ["DataTerm", "OnData", "SummedLoss"]


class SummedLoss(Labelled):
    """``F(Z) = sum_i c_i phi(z_i; y_i)``: a loss summed with the weights of its labels.

    Every method computes in the precision of the scores that it is given, which have the shape of
    the labels. Large scores are gone over by blocks of rows, whose labels and weights are converted
    block by block and not kept; of few scores they are converted once.

    Parameters
    ----------
    loss : Loss
    labels : StoredLabels
        Labels that the loss takes, with their weights; nothing is checked.
    ranks : Ranks
        Processes among which the samples are divided. Scores and what is shaped like them are those
        of this process, and sums those over the samples of all.
    """

    task_of: Tensor | None = None
    """Task of each score, where scores of several tasks lie one after another."""
    n_tasks: int

    def __init__(self, loss: Loss, labels: StoredLabels, ranks: Ranks = ALONE) -> None:
        self.loss, self.stored, self.ranks = loss, labels, ranks
        self._converted: dict[torch.dtype, tuple[Tensor, Tensor]] = {}

    def converted(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Labels and weights in a precision."""
        found = self._converted.get(dtype)
        if found is None:
            wanted = self.stored.to(dtype)
            found = wanted.labels, wanted.weights
            if self.shape.numel() <= PIECE_ELEMENTS:
                self._converted[dtype] = found
        return found

    def rearranged(
        self, order: Callable[[Tensor], Tensor], dtype: torch.dtype | None = None
    ) -> SummedLoss:
        """Return the loss of labels selected or laid out by ``order``, such as the transpose.

        ``order`` is applied to labels and to weights, in a precision; scores then have the shape
        of its result.
        """
        pair = map(order, self.converted(dtype or self.dtype))
        return SummedLoss(self.loss, DenseLabels(*pair), self.ranks)

    def _blocks(self, *arrays: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Blocks of rows of arrays shaped like the scores, each with its labels and weights."""
        dtype = arrays[0].dtype
        if arrays[0].numel() <= PIECE_ELEMENTS:
            yield *arrays, *self.converted(dtype)
            return
        for *given, own in zip(*map(row_blocks, arrays), self.stored.blocks(), strict=True):
            part = own.to(dtype)
            yield *given, part.labels, part.weights

    def _summed(self, function: Callable[..., Tensor], *arrays: Tensor) -> Tensor:
        """Sum of a function of arrays shaped like the scores, labels and weights; 0-d."""
        return _total([function(*block) for block in self._blocks(*arrays)])

    def _mapped(self, function: Callable[..., Tensor], *arrays: Tensor) -> Tensor:
        """Function of arrays shaped like the scores, labels and weights, shaped like them too."""
        scores, first = arrays[0], 0
        out = scores
        for block in self._blocks(*arrays):
            part = function(*block)
            if len(part) == len(scores):
                return part
            out = out if first else torch.empty_like(scores)
            out[first : first + len(part)] = part
            first += len(part)
        return out

    # ------------------------------------------------------------------ values and derivatives

    def value(self, scores: Tensor) -> Tensor:
        """``F(Z)``, 0-d."""
        return self.ranks.total(self._summed(self.loss.value, scores))

    def gradient(self, scores: Tensor) -> Tensor:
        """Gradient in the scores: the residuals ``c phi'(z; y)``, shaped like the scores."""
        return self._mapped(self.loss.grad, scores)

    def value_and_gradient(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`value` and :meth:`gradient`, which share work."""
        values: list[Tensor] = []

        def gradient(*block: Tensor) -> Tensor:
            value, grad = self.loss.value_and_grad(*block)
            values.append(value)
            return grad

        grad = self._mapped(gradient, scores)
        return self.ranks.total(_total(values)), grad

    def terms(self, scores: Tensor) -> Tensor:
        """Weighted losses ``c phi(z; y)`` of the labels, shaped like the scores."""
        return self._mapped(lambda z, y, c: self.loss.pointwise(z, y) * c, scores)

    def curvature(self, scores: Tensor) -> Tensor:
        """Diagonal ``c phi''(z; y)`` of the Hessian in the scores, shaped like the scores."""
        return self._mapped(lambda z, y, c: self.loss.curvature(z, y) * c, scores)

    def curvature_product(self, scores: Tensor, direction: Tensor) -> Tensor:
        """Hessian in the scores times a direction, shaped like the scores."""

        def product(d: Tensor, z: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
            return self.loss.curvature_product(z, labels, weights, d)

        return self._mapped(product, direction, scores)

    def over_samples(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Sums of arrays over the samples, which are their first axis, or task by task."""
        return self.ranks.sum(*map(self._own_sum, values))

    def _own_sum(self, values: Tensor) -> Tensor:
        if self.task_of is None:
            return values.sum(0)
        return by_task(values, self.task_of, self.n_tasks)

    def spread(self, per_task: Tensor) -> Tensor:
        """Bring values of the tasks, shape (M,), to a shape that broadcasts with the scores."""
        return per_task if self.task_of is None else per_task[self.task_of]

    def largest_by_task(self, values: Tensor) -> Tensor:
        """Largest of non-negative values, shaped like the scores, of each task, (M,)."""
        if self.task_of is None:
            own = values.amax(0)
        else:
            own = values.new_zeros(self.n_tasks).scatter_reduce_(0, self.task_of, values, "amax")
        return self.ranks.maximum(own)

    def weighted_squares(self, scores: Tensor) -> float:
        """``sum_i c_i z_i^2``: a bound on the curvature along scores, per unit of the loss's."""

        def squares(z: Tensor, labels: Tensor, weights: Tensor) -> Tensor:  # noqa: ARG001
            return (weights * z.square()).sum(dtype=torch.float64)

        return float(self.ranks.total(self._summed(squares, scores)))

    def inner(self, first: Tensor, second: Tensor) -> float:
        """Inner product of two arrays shaped like the scores."""
        pairs = zip(row_blocks(first), row_blocks(second), strict=True)
        own = sum(float((a * b).sum()) for a, b in pairs)
        return float(self.ranks.total(torch.tensor(own, dtype=torch.float64)))

    # ------------------------------------------------------------------ line searches

    def bregman(self, new: Tensor, old: Tensor) -> float:
        """``F(new) - F(old) - <F'(old), new - old>``, summed label by label."""
        return float(self.ranks.total(self._summed(self.loss.bregman, new, old)))

    def bregman_terms(self, new: Tensor, old: Tensor) -> Tensor:
        """Terms of :meth:`bregman`, shaped like the scores."""

        def terms(new: Tensor, old: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
            return self.loss.bregman_terms(new, old, labels) * weights

        return self._mapped(terms, new, old)

    def bregman_error(self, scores: Tensor, value: float) -> float:
        """Rounding error to expect of :meth:`bregman` near scores with this value."""
        share = value / self.ranks.size / scores.numel()

        def error(z: Tensor, labels: Tensor, weights: Tensor) -> Tensor:  # noqa: ARG001
            found = self.loss.bregman_error(z, weights, share * z.numel())
            return torch.tensor(found, dtype=torch.float64)

        return float(self.ranks.total(self._summed(error, scores)))

    # ------------------------------------------------------------------ duality

    def conjugate(self, dual: Tensor, scale: float = 1.0) -> float:
        """``F*(scale U)``; infinite outside its domain."""

        def scaled(u: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
            return self.loss.conjugate(scale * u, labels, weights)

        return float(self.ranks.total(self._summed(scaled, dual)))

    def dual_scale(self, dual: Tensor, largest: float, offset: float = 0.0) -> float:
        """Factor in ``[0, largest]`` by which to shrink a dual point (:meth:`Loss.dual_scale`)."""
        ranks = {} if self.ranks is ALONE else {"ranks": self.ranks}
        return self.loss.dual_scale(self._blocks(dual), largest, offset, **ranks)


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
        super().__init__(loss, targets.stored, targets.ranks)
        self.targets, self.task_of, self.n_tasks = targets, targets.task_of, targets.n_tasks

    @classmethod
    def checked(cls, loss: Loss, targets: Targets, dtype: torch.dtype) -> DataTerm:
        """Data term in ``dtype``; raises ``ValueError`` if the loss does not accept the labels."""
        for part in targets.stored.blocks():
            loss.check_labels(part.labels, part.weights)
        return cls(loss, targets.to(dtype))

    def at(self, dtype: torch.dtype) -> Targets:
        """Labels and weights in a precision."""
        return self.targets if dtype == self.dtype else self.targets.holding(*self.converted(dtype))

    @cached_property
    def own(self) -> DataTerm:
        """Data term of this process's labels alone."""
        if self.ranks is ALONE:
            return self
        return DataTerm(self.loss, self.targets.own)

    def observed(self) -> Tensor:
        """Mask of the labels of positive weight, in the shape of the scores."""
        return torch.cat([part.weights > 0 for part in self.stored.blocks()])

    @cached_property
    def n_scores(self) -> int:
        """Number of scores, observed or not."""
        return int(self.ranks.total(torch.tensor(self.shape.numel())))

    @cached_property
    def n_observed(self) -> int:
        """Number of labels of positive weight."""
        return int(self.ranks.total(self.observed().sum()))

    def zero_scores(self, dtype: torch.dtype | None = None) -> Tensor:
        """Scores that are all zero; in the precision of the labels by default."""
        return torch.zeros(self.shape, dtype=dtype or self.dtype, device=self.device)

    def constant_scores(self, per_task: Tensor) -> Tensor:
        """Scores that are constant in each task, from one number per task, shape (M,)."""
        return self.targets.broadcast(per_task).expand(self.shape)

    def take(self, entries: Tensor | slice, dtype: torch.dtype | None = None) -> DataTerm:
        """Data term of a subset of the samples.

        ``entries`` are ascending indices, or a slice, along the first axis of the scores. Sums are
        those of this process alone.
        """
        part = self.targets.take(entries)
        return DataTerm(self.loss, part if dtype is None else part.to(dtype))

    # ------------------------------------------------------------------ dual points that balance

    @cached_property
    def balances(self) -> bool:
        """Whether the loss can balance residuals (:meth:`balanced` is not None)."""
        first = self.take(slice(0, 1))
        return first.balanced(first.zero_scores()) is not None

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

    def balanced_by_companion(self, residuals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``a R + b C``, which is :meth:`balanced`, and the numbers a and b by task, (M,).

        R are the residuals and C their companion.
        """
        sums = residuals.new_zeros(3, self.n_tasks)
        for part, _, R, C in self._companions(residuals):
            sums += torch.stack([part.per_task(each) for each in (R, C, R - C)])
        own, other = self.loss.balancing(*self.ranks.total(sums))
        out = torch.empty_like(residuals)
        for part, rows, R, C in self._companions(residuals):
            a, b = map(part.targets.broadcast, (own, other))
            # a residual that is to be shrunk to zero is, to the bit: both products round alike
            torch.add(a * R, b * C, out=out[rows])
        return out, own, other

    def _companions(self, residuals: Tensor) -> Iterator[tuple[DataTerm, slice, Tensor, Tensor]]:
        """Blocks of samples, with their places, residuals and companions."""
        first = 0
        for R in row_blocks(residuals):
            rows = slice(first, first + len(R))
            part = self.take(rows)
            C = part.companion(R)
            assert C is not None
            yield part, rows, R, C
            first = rows.stop

    # ------------------------------------------------------------------ sums over samples

    def per_task(self, values: Tensor) -> Tensor:
        """Sum of score-shaped values over the samples of each task, shape (M,)."""
        return self.targets.per_task(values)

    def weights_by_task(self) -> Tensor:
        """Total weight of the labels of each task, shape (M,), float64."""
        return self.targets.weights_by_task()

    def null(self, *, intercept: bool) -> tuple[Tensor | None, float]:
        """Optimal intercepts (M,) for zero weights, and the loss there; float64.

        Without an intercept, None and the loss at zero.
        """
        return without_weights(self.loss, self.targets, intercept=intercept)


def _total(values: list[Tensor]) -> Tensor:
    """Sum of 0-d tensors, accumulated in float64."""
    if len(values) == 1:
        return values[0]
    return torch.stack(values).sum(dtype=torch.float64).to(values[0].dtype)


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
