"""BlockNewton: proximal Newton steps by block coordinate descent, for dense features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from proxmtl.designs import SharedDesign
from proxmtl.kernels import block_descent
from proxmtl.kernels.dispatch import is_compiled
from proxmtl.losses import Squared
from proxmtl.problem import Problem
from proxmtl.ranks import ALONE
from proxmtl.regularizers import RowNorms
from proxmtl.solvers.correlation import are_correlated
from proxmtl.solvers.mfista import MFISTA, MFISTAState
from proxmtl.solvers.newton_steps import Line, PenalizedLine
from proxmtl.solvers.proximal import linearized_at, probed_step
from proxmtl.solvers.requirements import lacking_curvature
from proxmtl.solvers.row_models import gram_size, row_models
from proxmtl.solvers.working_set_newton import WorkingSetNewton, WorkingSetState, enlarged
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
ASIDE = 1 << 23
"""Operations of a Gram matrix in the time of a task's step beside it, half a millisecond."""
COMMON = 6
"""Tasks whose steps take as long as what a step does once for all tasks."""


@dataclass
class BlockNewtonState(WorkingSetState):
    """Working sets (D,) of all tasks, or (D, M) of each; and what is known of Gram matrices."""

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
    loss itself. Where tasks need matrices of their own and the penalty is an L1 norm, each has a
    working set of its own as well, and rests once its KKT residual is rounding. Where a line search
    fails, the next model has the largest curvature of the loss, so that its minimiser is no higher,
    and the line search lengthens this step while the objective falls. An intercept is minimised
    exactly along with each block. A task whose loss at the start is larger than at zero starts at
    zero. The objective never increases. Points and scores are kept in float64, whatever the dtype
    of the features.

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

    def chosen(self, problem: Problem, weights: Tensor, kkt: Tensor) -> Tensor:
        """Mask (D,) or (D, M): what is not zero, and as many others of the largest violations."""
        alive, violation = weights != 0, kkt.abs()
        if not _is_apart(problem):
            alive, violation = alive.any(1), kkt.square().sum(1)
        return enlarged(alive, violation, self.smallest)

    def resumed(self, problem: Problem, state: BlockNewtonState) -> BlockNewtonState:
        """The state with working sets in the form that the problem takes."""
        state = super().resumed(problem, state)
        rows, apart = state.rows, _is_apart(problem)
        if apart == (rows.ndim == 2):
            return state
        rows = rows[:, None].expand(-1, len(state.safe)) if apart else rows.any(1)
        return replace(state, rows=rows.clone())

    def pays(self, problem: object) -> bool:
        """Whether this solver can take the problem, with compiled loops, within its allowance.

        The smallest working set counts, in typical Newton steps, and what these do beside their
        Gram matrices. A problem that needs a Gram matrix of each of several tasks in each step has
        to have correlated features: on others accelerated steps are few.
        """
        if not isinstance(problem, Problem) or self.lacking(problem):
            return False
        design, N = problem.design, problem.data.shape[0]
        assert isinstance(design, SharedDesign)
        D, M = design.split(problem.zeros())[0].shape
        side = min(D, self.smallest)
        if N * max(side, M) > MOST_ENTRIES or not is_compiled("block_descent"):
            return False
        size, most = side**2, 2 * D * self.allowance
        if _is_exact(problem):
            return size <= M * most
        beside = ASIDE * (1 + COMMON / M) / (2 * N)
        return STEPS * (size + beside) <= most and (M == 1 or are_correlated(design))

    def step(self, problem: Problem, state: BlockNewtonState) -> BlockNewtonState:
        if state.inner is not None:
            return self._accelerated(problem, state, state.inner)
        h, cautious = _curvatures(problem, state)
        parts = _parts(problem, state)
        sizes = [gram_size(problem, rows, h[:, tasks]) for tasks, rows, _ in parts]
        grams = state.grams + sum(passes for passes, _ in sizes)
        most = min(self.allowance, state.grams + problem.counts.left - AFTER)
        if grams > most or max((entries for _, entries in sizes), default=0) > MOST_ENTRIES:
            x, scores = state.x.to(problem.design.dtype), state.scores.to(problem.design.dtype)
            step = probed_step(problem, linearized_at(problem, x, scores))
            return self._accelerated(problem, state, MFISTA().start(problem, x, scores, step))
        residuals = problem.data.gradient(state.scores)
        steps = [self._descent(problem, state, part, residuals, h) for part in parts]
        x, scores, safe = _searched(problem, state, parts, steps, residuals, cautious)
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

    def _descent(
        self,
        problem: Problem,
        state: BlockNewtonState,
        part: _Part,
        residuals: Tensor,
        h: Tensor,
    ) -> _Step:
        """The step to the minimiser of the model, of tasks that share a working set."""
        tasks, rows, norms = part
        share = len(rows) * len(tasks) / (len(state.rows) * len(state.safe))
        problem.counts.charge(forward=share, adjoint=share)
        models = row_models(problem, rows, h[:, tasks])
        mine = residuals[:, tasks]
        weights = state.x[rows[:, None], tasks].t().contiguous()
        found = block_descent(
            models.grams,
            models.slopes(mine),
            weights,
            penalty=norms.factors,
            groups=norms.groups,
            ridge=norms.ridge,
            reduction=self.reduction,
            sweeps=self.sweeps,
        )
        along, constant = models.along(mine, found - weights)
        return _Step(weights, found, along.t(), constant)


class _Step(NamedTuple):
    """A full step of m tasks on k rows of weights."""

    weights: Tensor
    """Before it, (m, k)."""
    found: Tensor
    """After it, (m, k)."""
    along: Tensor
    """Change of the scores, (m, N)."""
    constant: Tensor
    """Change of the intercepts times their unit, (m,)."""


class _Part(NamedTuple):
    """Tasks that share a working set, and take a Newton step together."""

    tasks: Tensor
    """(m,), int64."""
    rows: Tensor
    """Their working set, (k,), ascending."""
    norms: RowNorms
    """Of the weights (k, m)."""


def _parts(problem: Problem, state: BlockNewtonState) -> list[_Part]:
    """Those that have a step to take."""
    norms, tasks = _norms(problem), torch.arange(len(state.safe))
    if state.rows.ndim == 1:
        rows = torch.nonzero(state.rows).flatten()
        moves = bool(state.residual.any()) and (len(rows) or problem.design.intercept)
        return [_Part(tasks, rows, _of_rows(norms, rows))] if moves else []
    found = []
    for m in tasks[state.residual > 0].tolist():
        task, rows = tasks[m : m + 1], torch.nonzero(state.rows[:, m]).flatten()
        factors = norms.factors[norms.groups[task]]
        mine = norms._replace(groups=torch.zeros_like(task), factors=factors)
        if len(rows) or problem.design.intercept:
            found.append(_Part(task, rows, _of_rows(mine, rows)))
    return found


def _of_rows(norms: RowNorms, rows: Tensor) -> RowNorms:
    return norms._replace(factors=norms.factors[:, rows])


def _searched(  # noqa: PLR0917 - what is known of a step
    problem: Problem,
    state: BlockNewtonState,
    parts: Sequence[_Part],
    steps: Sequence[_Step],
    residuals: Tensor,
    cautious: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Point, scores, and mask of the tasks that stayed, after a line search along full steps."""
    x, scores, safe = state.x.clone(), state.scores.clone(), torch.zeros_like(state.safe)
    if not parts:
        return x, scores, safe
    tasks = torch.cat([part.tasks for part in parts])
    weights = torch.cat([step.weights.flatten() for step in steps])
    found = torch.cat([step.found.flatten() for step in steps])
    rows = torch.cat([part.rows.repeat(len(part.tasks)) for part in parts])
    sizes = torch.tensor([len(part.rows) for part in parts for _ in part.tasks])
    owner = torch.repeat_interleave(sizes)
    known = (
        problem.data.rearranged(lambda each: each.t()[tasks], torch.float64),
        scores.t()[tasks],
        residuals.t()[tasks],
        torch.cat([step.along for step in steps]),
        torch.cat([step.constant for step in steps]),
    )
    line: PenalizedLine | _RowLine
    if state.rows.ndim == 1:
        shape, norms = steps[0].weights.shape, parts[0].norms
        line = _RowLine(*known, weights.view(shape), (found - weights).view(shape), norms)
    else:
        factors = torch.cat([part.norms.factors.flatten() for part in parts])
        ridge = parts[0].norms.ridge
        line = PenalizedLine(*known, weights, found - weights, factors, ridge, owner)
    lengthened = line.summed(cautious[tasks].to(x)) > 0
    tau = line.shared(line.searched(lengthened=lengthened))
    by_weight = tau[owner]
    moved = weights + by_weight * line.move.flatten()
    # a weight at zero is there without rounding
    x[rows, tasks[owner]] = torch.where(by_weight == 1, found, moved)
    if problem.design.intercept:
        x[-1, tasks] += tau * line.constant / problem.design.unit
    scores[:, tasks] += (tau[:, None] * line.along).t()
    safe[tasks] = tau == 0
    return x, scores, safe


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


def _is_apart(problem: Problem) -> bool:
    """Whether several tasks have nothing in common: no model, and no term of the penalty."""
    R, weights = problem.regularizer, problem.design.split(problem.zeros())[0]
    several = weights.shape[1] > 1 and not _is_exact(problem)
    return several and R is not None and R.as_elastic_net(weights) is not None


def _norms(problem: Problem) -> RowNorms:
    """Norms and ridge of the penalty, all terms together."""
    R, weights = problem.regularizer, problem.design.split(problem.zeros(torch.float64))[0]
    found = None if R is None else R.as_row_norms(weights)
    assert found is not None
    return found._replace(
        factors=found.factors.expand(-1, len(weights)), ridge=found.ridge + problem.ridge
    )
