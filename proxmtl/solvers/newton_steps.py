"""Parts of exact Newton steps for many tasks at once: linear systems and line search."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.data_term import SummedLoss
from proxmtl.problem import Problem

__all__ = ["ROUNDING", "Line", "PenalizedLine", "lengths", "no_worse_than_zero", "solved"]

SUFFICIENT = 1e-4
"""Fraction of the predicted decrease that the line search requires (Armijo)."""
TRIALS = 40
"""Maximum number of lengths that the line search tries."""
FLATTENED = 0.1
"""Slope, relative to that at the point, at which the search for a minimum along a step ends."""
PENALIZED_TRIALS = 6
"""Steps that the line search with a penalty tries, each half the one before."""
ROUNDING = 16 * torch.finfo(torch.float64).eps
"""Rounding error of a sum in float64, relative to the sum of its absolute terms."""
RETRIES = 4
"""Maximum number of factorisations with an increased diagonal."""


def no_worse_than_zero(
    problem: Problem, x: Tensor, scores: Tensor, penalties: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Set each task of a start (and its scores) to zero if its objective is larger than at zero.

    The scores of such a task may be saturated on the wrong side, where the loss has no curvature
    and a quadratic model is of no use. ``penalties`` (M,) are those of the tasks at the start,
    the ridge of the problem aside.
    """
    weight, _ = problem.design.split(x)

    def losses(z: Tensor) -> Tensor:
        return problem.data.over_samples(problem.data.terms(z))[0]

    value = losses(scores) + (math.sqrt(problem.ridge) * weight).square().sum(0) + penalties
    kept = value <= losses(torch.zeros_like(scores))
    return torch.where(kept, x, 0.0), torch.where(problem.data.spread(kept), scores, 0.0)


def lengths(
    data: SummedLoss,
    scores: Tensor,
    along: Tensor,
    *,
    slope: Tensor,
    squares: Tensor,
) -> Tensor:
    """Step length of each task (M,): 1 if the objective decreases sufficiently (Armijo).

    Otherwise the objective is minimised along the step by a safeguarded Newton search, until its
    slope is a tenth of that at 0. With halved steps, the squared hinge under a weak ridge takes
    several times as many iterations.

    Parameters
    ----------
    data : SummedLoss
        Of labels of shape (M, n).
    scores, along : Tensor, shape (M, n)
        Scores at the point, and their change over a full step.
    slope, squares : Tensor, shape (M,)
        Derivative of the objective along the step, and the quadratic coefficient of the ridge.
        A task whose slope is not negative, or whose trials all fail, gets length 0.
    """
    change = slope + data.bregman_terms(scores + along, scores).sum(1) + squares
    tau = (slope < 0).to(slope)
    left = torch.nonzero((slope < 0) & ~(change <= SUFFICIENT * slope))[:, 0]
    # a step that only changes roundings of the scores, whose slope is one of roundings too
    moves = along[left].abs() > ROUNDING * (1 + scores[left].abs())
    left = left[moves.any(1) | along[left].isnan().any(1)]
    if len(left) > 0:
        some = data.rearranged(lambda each: each[left])
        tau[left] = _shortened(some, *(each[left] for each in (scores, along, slope, squares)))
    return tau


def _shortened(
    data: SummedLoss, scores: Tensor, along: Tensor, slope: Tensor, squares: Tensor
) -> Tensor:
    """Lengths of steps downhill that are too long in full; 0 where all trials fail."""
    terms = data.gradient(scores) * along
    best, low, high, tau = (torch.full_like(slope, value) for value in (0.0, 0.0, 1.0, 1.0))
    width = torch.full_like(slope, math.inf)
    done = torch.zeros_like(slope, dtype=torch.bool)
    for _ in range(TRIALS):
        new = scores + tau[:, None] * along
        change = tau * slope + data.bregman_terms(new, scores).sum(1) + tau.square() * squares
        falls = change <= SUFFICIENT * tau * slope
        best = torch.where(falls & ~done, tau, best)
        rate = slope + (data.gradient(new) * along - terms).sum(1) + 2 * tau * squares
        done |= falls & (rate.abs() <= FLATTENED * slope.abs())
        if bool(done.all()):
            break
        # Newton's method for a zero of the rate, between lengths too short and too long: the next
        # one is at most half of one that does not fall, and other ends must approach by half
        short = falls & (rate < 0)
        low, high = torch.where(short, tau, low), torch.where(short, high, tau)
        middle, turn = (low + high) / 2, (data.curvature(new) * along.square()).sum(1) + 2 * squares
        further = tau - rate / turn
        near = torch.where(falls, 2 * (high - low) <= width, further <= middle)
        width = high - low
        tau = torch.where((further > low) & (further < high) & near, further, middle)
    return best


@dataclass
class Line(ABC):
    """The objective of each unit along a step, in float64; a unit is a task, or several.

    It is computed without cancellation, since steps become small. A step that overflows is
    replaced by none.

    Parameters
    ----------
    data : SummedLoss
        Of labels of shape (M, N).
    scores, slopes, along : Tensor, shape (M, N)
        Scores at the point, derivatives of the loss in them, and their change over a full step.
    constant : Tensor, shape (M,)
        Change of the intercept over a full step, times its unit.
    """

    data: SummedLoss
    scores: Tensor
    slopes: Tensor
    along: Tensor
    constant: Tensor

    def __post_init__(self) -> None:
        finite = self.along.isfinite().all(1) & self.constant.isfinite()
        finite &= self.shared(self.lengths()).isfinite()
        if not bool(finite.all()):
            self.along = torch.where(finite[:, None], self.along, 0.0)
            self.constant = torch.where(finite, self.constant, 0.0)
            self.hold(finite)

    @abstractmethod
    def hold(self, finite: Tensor) -> None:
        """Leave the weights of tasks where they are, but for those of a mask (M,)."""

    @abstractmethod
    def lengths(self) -> Tensor:
        """Sum of the absolute moves of the weights of each unit."""

    @abstractmethod
    def most(self) -> Tensor:
        """Bound on what a full step changes the penalty of each unit by, the ridge aside."""

    @abstractmethod
    def penalties(self, tau: Tensor) -> Tensor:
        """What steps of these lengths change the penalty of each unit by."""

    def summed(self, terms: Tensor) -> Tensor:
        """Sums of terms of the tasks, (M,), over those of a unit."""
        return terms

    def shared(self, units: Tensor) -> Tensor:
        """Values of the units, for each task."""
        return units

    def searched(self, lengthened: Tensor) -> Tensor:
        """Armijo line search: the step length of each unit, 0 where there is none.

        It is 1 or a power of 1/2; where ``lengthened``, the first power of 2 from 1 up
        beyond which the objective falls no more.
        """
        tau = self.summed(torch.ones_like(self.constant)).clamp(max=1.0)
        terms = self.slopes * self.along
        slope = self.summed(terms.sum(1))
        predicted = slope + self.penalties(tau)
        # what rounding may hide: never more than that of the whole objective, at most that at zero
        sizes = self.summed(terms.abs().sum(1)) + self.most()
        at_zero = self.data.terms(torch.zeros_like(self.scores)).sum(1)
        hidden = ROUNDING * sizes.minimum(self.summed(at_zero))
        for _ in range(PENALIZED_TRIALS):
            change = self._change(tau, slope)
            accepted = change.isfinite() & (change <= SUFFICIENT * tau * predicted + hidden)
            if bool(accepted.all()):
                break
            tau = torch.where(accepted, tau, tau / 2)
        moves = (self.summed(self.along.any(1).to(tau)) > 0) | (self.lengths() > 0)
        tau = torch.where(accepted & moves, tau, 0.0)
        longer = lengthened & (tau == 1)
        while bool(longer.any()):
            further = self._change(2 * tau, slope)
            longer &= further < change  # false once it overflows
            tau = torch.where(longer, 2 * tau, tau)
            change = torch.where(longer, further, change)
        return tau

    def _change(self, tau: Tensor, slope: Tensor) -> Tensor:
        """What steps of these lengths change the objective by."""
        new = self.scores + self.shared(tau)[:, None] * self.along
        bent = self.data.bregman_terms(new, self.scores).sum(1)
        return tau * slope + self.summed(bent) + self.penalties(tau)


@dataclass
class PenalizedLine(Line):
    """A line search in each task, with an L1 penalty and a ridge.

    Parameters
    ----------
    weights, move, penalty : Tensor, shape (n,)
        Some weights of all tasks at the point, their change over a full step, and factors of the
        L1 norm.
    ridge : float
    owner : Tensor, shape (n,)
        Task of each weight.
    """

    weights: Tensor
    move: Tensor
    penalty: Tensor
    ridge: float
    owner: Tensor

    def hold(self, finite: Tensor) -> None:
        self.move = torch.where(finite[self.owner], self.move, 0.0)

    def lengths(self) -> Tensor:
        return self._sums(self.move.abs())

    def most(self) -> Tensor:
        return self._sums(self.penalty * self.move.abs())

    def penalties(self, tau: Tensor) -> Tensor:
        step = tau[self.owner] * self.move
        absolute = self.penalty * ((self.weights + step).abs() - self.weights.abs())
        return self._sums(absolute + self.ridge * step * (2 * self.weights + step))

    def _sums(self, terms: Tensor) -> Tensor:
        """Sums by task of terms of the weights."""
        return terms.new_zeros(len(self.scores)).index_add_(0, self.owner, terms)


def solved(A: Tensor, b: Tensor) -> Tensor:
    """Solve positive definite systems by Cholesky factorisations.

    A multiple of the identity is added to a numerically singular matrix, which shortens the step
    along its null space; the solution is NaN if that is not sufficient.
    """
    factor, info = torch.linalg.cholesky_ex(A)
    least = torch.finfo(A.dtype).eps * A.shape[-1] * A.diagonal(dim1=1, dim2=2).amax(1)
    for _ in range(RETRIES):
        if not bool(info.any()):
            break
        more = torch.where(info > 0, least, 0.0)[:, None].expand(A.shape[:2])
        factor, info = torch.linalg.cholesky_ex(A + torch.diag_embed(more))
        least = 100 * least
    found: Tensor = torch.cholesky_solve(b, factor)
    return torch.where((info == 0)[:, None, None], found, torch.nan)
