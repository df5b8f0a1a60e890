"""BlockNewton: proximal Newton steps by block coordinate descent, for dense features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from proxmtl.designs import SharedDesign
from proxmtl.kernels import block_descent
from proxmtl.kernels.dispatch import is_compiled
from proxmtl.losses import Squared
from proxmtl.problem import Problem
from proxmtl.ranks import ALONE
from proxmtl.regularizers import RowNorms
from proxmtl.solvers.mfista import MFISTA, MFISTAState
from proxmtl.solvers.newton_steps import Line
from proxmtl.solvers.proximal import linearized_at, probed_step
from proxmtl.solvers.requirements import lacking_curvature
from proxmtl.solvers.row_models import gram_size, row_models
from proxmtl.solvers.working_set_newton import WorkingSetNewton, WorkingSetState
from proxmtl.state import Saved

__all__ = ["BlockNewton", "BlockNewtonState"]

MOST_ENTRIES = 1 << 24
"""Entries of the largest Gram matrices, columns or scores: 128 MiB."""
AFTER = 1.5
"""Passes that a step needs beside its Gram matrices, at most."""
EVERY = 10
"""Accelerated steps between certificates."""
STEPS = 8
"""Typical number of Newton steps with a Gram matrix each."""


@dataclass
class BlockNewtonState(WorkingSetState):
    """One working set for all tasks, (D,); and what is known of Gram matrices."""

    grams: float = 0.0  # passes that Gram matrices have taken
    inner: MFISTAState | None = None  # state of accelerated steps, once these follow
    nested: ClassVar[dict[str, type[Saved]]] = {"inner": MFISTAState}


@dataclass(frozen=True)
class BlockNewton(WorkingSetNewton[BlockNewtonState]):
    """Newton's method for norms of rows of weights, by block coordinate descent on Gram matrices.

    For an L1 penalty, or norms of the rows of the weights (whole, or by disjoint groups of tasks),
    and a ridge. The working set holds the rows that are not zero, and as many of the others with
    the largest KKT violations. An iteration takes one Newton step on this set and then chooses a
    new one, by half a pass over all features. In a Newton step, block coordinate descent minimises
    the quadratic model of the loss plus the penalty, and a line search on the objective of each
    group of tasks follows (Armijo). The model needs the features only for the Gram matrix of the
    working set: of each task, weighted by the curvatures of the loss at its samples; one for all
    tasks if these are the same, as for the squared loss without missing labels, whose model is the
    loss itself. Where a line search fails, the next model has the largest curvature of the loss, so
    that its minimiser is no higher, and the line search lengthens this step while the objective
    falls. An intercept is minimised exactly along with each block. A task whose loss at the start
    is larger than at zero starts at zero. The objective never increases. Points and scores are kept
    in float64, whatever the dtype of the features.

    Gram matrices count as the fraction of a pass that their operations are. They pay for working
    sets that are small beside all features. Once they would take more than ``allowance`` passes, or
    128 MiB, accelerated steps (:class:`MFISTA`) follow from the point that has been reached.

    Parameters
    ----------
    tolerance : float
        Relative duality gap that is sought; 0 if it is not known. A certificate is due in
        iterations in which an estimate of the gap is at most this; with 0 in all of them.
    smallest : int
        Minimum number of zero rows in the working set.
    reduction : float
        Reduction of the KKT residual of the model at which its sweeps end, in (0, 1).
    sweeps : int
        Maximum number of sweeps of block coordinate descent in a Newton step.
    allowance : float
        Passes that Gram matrices may take.

    References
    ----------
    Simon, Friedman, Hastie, "A blockwise descent algorithm for group-penalized multiresponse and
    multinomial regression", 2013; Friedman, Hastie, Tibshirani, "Regularization paths for
    generalized linear models via coordinate descent", 2010 (Gram matrices); Johnson and Guestrin,
    "Blitz: a principled meta-algorithm for scaling sparse optimization", 2015 (working sets).
    """

    tolerance: float = 0.0
    smallest: int = 50
    reduction: float = 0.01
    sweeps: int = 1000
    allowance: float = 400.0
    state_type = BlockNewtonState

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.allowance >= 0:
            raise ValueError(f"allowance: got {self.allowance}; it must be >= 0.")

    @staticmethod
    def lacking(problem: Problem) -> str:
        design, data = problem.design, problem.data
        dense = isinstance(design, SharedDesign) and design.X.layout == torch.strided
        if not dense or design.device.type != "cpu" or data.ranks is not ALONE:
            return "needs dense features that all tasks share, on the CPU of one process"
        R, weights = problem.regularizer, design.split(problem.zeros())[0]
        if problem.smooth_terms or R is None or R.as_row_norms(weights) is None:
            return "takes an L1 penalty or norms of rows of weights, and squared Frobenius norms"
        return lacking_curvature(problem.loss)

    def chosen(self, weights: Tensor, kkt: Tensor) -> Tensor:
        """Mask (D,): non-zero rows, and as many of the others with the largest violations."""
        alive = (weights != 0).any(1)
        violation = torch.where(alive, 0.0, kkt.square().sum(1))
        wanted = min(max(self.smallest, int(alive.sum())), int((violation > 0).sum()))
        rows = alive.clone()
        rows[violation.topk(wanted).indices] = True
        return rows

    def pays(self, problem: object) -> bool:
        """Whether this solver can take the problem, with compiled loops, within its allowance.

        The smallest working set counts, in typical Newton steps. False for a problem that needs a
        Gram matrix of each of several tasks in each step: that did not pay.
        """
        if not isinstance(problem, Problem) or self.lacking(problem):
            return False
        (D, M), N = problem.design.split(problem.zeros())[0].shape, problem.data.shape[0]
        side = min(D, self.smallest)
        if N * max(side, M) > MOST_ENTRIES:
            return False
        exact = _is_exact(problem)
        fits = side**2 * (1 if exact else STEPS) <= 2 * D * M * self.allowance
        return fits and (exact or M == 1) and is_compiled("block_descent")

    def step(self, problem: Problem, state: BlockNewtonState) -> BlockNewtonState:
        if state.inner is not None:
            return self._accelerated(problem, state, state.inner)
        rows = torch.nonzero(state.rows).flatten()
        h, cautious = _curvatures(problem, state)
        passes, entries = gram_size(problem, rows, h)
        grams = state.grams + passes
        most = min(self.allowance, state.grams + problem.counts.left - AFTER)
        if grams > most or entries > MOST_ENTRIES:
            x, scores = state.x.to(problem.design.dtype), state.scores.to(problem.design.dtype)
            step = probed_step(problem, linearized_at(problem, x, scores))
            return self._accelerated(problem, state, MFISTA().start(problem, x, scores, step))
        x, scores, safe = self._newton_step(problem, state, rows, h, cautious)
        return self.moved(problem, state, x, scores, safe=safe, grams=grams)

    @staticmethod
    def _accelerated(
        problem: Problem, state: BlockNewtonState, inner: MFISTAState
    ) -> BlockNewtonState:
        inner = MFISTA().step(problem, inner)
        return replace(
            state,
            iteration=state.iteration + 1,
            objective=inner.objective,
            stalled=inner.stalled,
            x=inner.x,
            scores=inner.scores,
            due=inner.iteration % EVERY == 0,
            inner=inner,
        )

    def _newton_step(
        self, problem: Problem, state: BlockNewtonState, rows: Tensor, h: Tensor, cautious: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Point, scores, and mask of the tasks that stayed, after a Newton step."""
        data, design = problem.data, problem.design
        if not bool(state.residual.any()) or not (len(rows) or design.intercept):
            return state.x, state.scores, torch.zeros_like(state.safe)
        residuals = data.gradient(state.scores)
        share = len(rows) / len(state.rows)
        problem.counts.charge(forward=share, adjoint=share)
        models = row_models(problem, rows, h)
        norms = _norms(problem)
        weights = design.split(state.x)[0][rows].t().contiguous()
        found = block_descent(
            models.grams,
            models.slopes(residuals),
            weights,
            penalty=norms.factors[:, rows],
            groups=norms.groups,
            ridge=norms.ridge,
            reduction=self.reduction,
            sweeps=self.sweeps,
        )
        move = found - weights
        along, constant = models.along(residuals, move)
        line = _RowLine(
            data.rearranged(torch.t, torch.float64),
            state.scores.t(),
            residuals.t(),
            along.t(),
            constant,
            weights=weights,
            move=move,
            norms=norms._replace(factors=norms.factors[:, rows]),
        )
        tau = line.shared(line.searched(lengthened=line.summed(cautious.to(move)) > 0))
        x = state.x.clone()
        # a weight at zero is there without rounding
        x[rows] = torch.where(tau[:, None] == 1, found, weights + tau[:, None] * line.move).t()
        if design.intercept:
            x[-1] += tau * line.constant / design.unit
        return x, state.scores + tau * line.along.t(), tau == 0


@dataclass
class _RowLine(Line):
    """A line search in each group of tasks, with norms of rows and a ridge.

    Parameters
    ----------
    weights, move : Tensor, shape (M, k)
        Some rows of weights, task by task, and their change over a full step.
    norms : RowNorms
        Of these rows.
    """

    weights: Tensor
    move: Tensor
    norms: RowNorms

    def hold(self, finite: Tensor) -> None:
        self.move = torch.where(finite[:, None], self.move, 0.0)

    def summed(self, terms: Tensor) -> Tensor:
        sums = terms.new_zeros(len(self.norms.factors), *terms.shape[1:])
        return sums.index_add_(0, self.norms.groups, terms)

    def shared(self, units: Tensor) -> Tensor:
        return units[self.norms.groups]

    def lengths(self) -> Tensor:
        return self.summed(self.move.abs().sum(1))

    def most(self) -> Tensor:
        return (self.norms.factors * self._sizes(self.move)).sum(1)

    def penalties(self, tau: Tensor) -> Tensor:
        step = self.shared(tau)[:, None] * self.move
        squares = self.summed(step * (2 * self.weights + step))
        sizes = self._sizes(self.weights + step) + self._sizes(self.weights)
        longer = torch.where(sizes > 0, squares / torch.where(sizes > 0, sizes, 1.0), 0.0)
        return (self.norms.factors * longer).sum(1) + self.norms.ridge * squares.sum(1)

    def _sizes(self, weights: Tensor) -> Tensor:
        """Norms of the blocks of weights (M, k): (G, k)."""
        return self.summed(weights.square()).sqrt()


def _curvatures(problem: Problem, state: BlockNewtonState) -> tuple[Tensor, Tensor]:
    """Curvatures (N, M) of the models, and mask of the tasks in which they are the largest."""
    h = problem.data.curvature(state.scores)
    # without any curvature a task moves in a safe step only
    cautious = state.safe | (h.sum(0) == 0)
    if bool(cautious.any()):
        largest = problem.loss.curvature_bound * problem.data.converted(torch.float64)[1]
        h = torch.where(cautious, largest, h)
    return h, cautious


def _is_exact(problem: Problem) -> bool:
    """Whether one model serves all tasks, in every step, and is the loss itself."""
    weights = problem.data.converted(torch.float64)[1]
    return isinstance(problem.loss, Squared) and bool((weights == weights[:, :1]).all())


def _norms(problem: Problem) -> RowNorms:
    """Norms and ridge of the penalty, all terms together."""
    R, weights = problem.regularizer, problem.design.split(problem.zeros(torch.float64))[0]
    found = None if R is None else R.as_row_norms(weights)
    assert found is not None
    return found._replace(
        factors=found.factors.expand(-1, len(weights)), ridge=found.ridge + problem.ridge
    )
