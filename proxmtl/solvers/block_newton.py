"""BlockNewton: proximal Newton steps by block coordinate descent, for dense features."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from proxmtl.counts import OutOfPassesError
from proxmtl.designs import SharedDesign
from proxmtl.kernels import block_descent
from proxmtl.kernels.dispatch import is_compiled
from proxmtl.losses import Squared
from proxmtl.problem import Problem
from proxmtl.ranks import ALONE
from proxmtl.regularizers import RowNorms, UnsupportedError
from proxmtl.solvers.mfista import MFISTA, MFISTAState
from proxmtl.solvers.newton_steps import ROUNDING, Line, no_worse_than_zero
from proxmtl.solvers.points import PointSolver, PointState
from proxmtl.solvers.proximal import linearized_at, probed_step
from proxmtl.solvers.requirements import check_problem
from proxmtl.solvers.row_models import gram_size, row_models
from proxmtl.state import Saved

__all__ = ["BlockNewton", "BlockNewtonState"]

FINER = 0.1
"""Factor of the gap that is aimed at next, once a certificate was due and the run goes on."""
MOST_ENTRIES = 1 << 24
"""Entries of the largest Gram matrices, columns or scores: 128 MiB."""
AFTER = 1.5
"""Passes that a step needs beside its Gram matrices, at most."""
EVERY = 10
"""Accelerated steps between certificates."""
STEPS = 8
"""Typical number of Newton steps with a Gram matrix each."""


@dataclass
class BlockNewtonState(PointState):
    """Point and scores in float64, and what the last look at all features has found."""

    rows: Tensor  # mask of the working set, (D,)
    residual: float  # norm of the KKT residual; 0 where it is rounding
    safe: Tensor  # tasks that did not move in the last step, and take a safe one, (M,)
    due: bool  # whether the gap is thought to be reached
    aim: float  # relative gap at which a certificate is due
    grams: float  # passes that Gram matrices have taken
    inner: MFISTAState | None = None  # state of accelerated steps, once these follow
    nested: ClassVar[dict[str, type[Saved]]] = {"inner": MFISTAState}
    estimates = True

    @property
    def long(self) -> bool:  # type: ignore[override]
        """Whether a certificate is due."""
        return self.due


@dataclass(frozen=True)
class BlockNewton(PointSolver[BlockNewtonState]):
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
    needs_curvature = False

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance: got {self.tolerance}; it must be >= 0.")
        if self.smallest < 1 or self.sweeps < 1:
            raise ValueError(
                f"smallest and sweeps: got {self.smallest} and {self.sweeps}; use at least 1."
            )
        if not self.allowance >= 0:
            raise ValueError(f"allowance: got {self.allowance}; it must be >= 0.")
        if not 0 < self.reduction < 1:
            raise ValueError(f"reduction: got {self.reduction}; it must lie in (0, 1).")

    def check(self, problem: Problem) -> None:
        check_problem("BlockNewton", problem)
        reason = _lacking(problem)
        if reason:
            raise UnsupportedError(f"BlockNewton: {reason}; use FISTA or ProxNewton.")

    def pays(self, problem: object) -> bool:
        """Whether this solver can take the problem, with compiled loops, within its allowance.

        The smallest working set counts, in typical Newton steps. False for a problem that needs a
        Gram matrix of each of several tasks in each step: that did not pay.
        """
        if not isinstance(problem, Problem) or _lacking(problem):
            return False
        (D, M), N = problem.design.split(problem.zeros())[0].shape, problem.data.shape[0]
        side = min(D, self.smallest)
        if N * max(side, M) > MOST_ENTRIES:
            return False
        exact = _is_exact(problem)
        fits = side**2 * (1 if exact else STEPS) <= 2 * D * M * self.allowance
        return fits and (exact or M == 1) and is_compiled("block_descent")

    def init(self, problem: Problem, x0: Tensor) -> BlockNewtonState:
        problem.check_point(x0)
        x = x0.to(torch.float64)
        weights, bias = problem.design.split(x)
        if bool(weights.any()):
            scores = problem.scores(x)
        else:
            scores = problem.data.zero_scores(torch.float64)
            if bias is not None:
                scores += problem.data.constant_scores(problem.design.unit * bias)
        # the penalty of a task falls, too, where its weights become zero
        x, scores = no_worse_than_zero(problem, x, scores)
        safe = torch.zeros(problem.data.n_tasks, dtype=torch.bool)
        kept: dict[str, Any] = {"iteration": 0, "passes": 0.0, "safe": safe, "grams": 0.0}
        return self._surveyed(problem, x, scores, aim=self.tolerance, **kept)

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
        x, scores, safe = self._moved(problem, state, rows, h, cautious)
        try:
            return self._surveyed(
                problem,
                x,
                scores,
                safe=safe,
                iteration=state.iteration + 1,
                aim=FINER * state.aim if state.due else state.aim,
                grams=grams,
                passes=state.passes,
                stalled=torch.equal(x, state.x) and torch.equal(safe, state.safe),
            )
        except OutOfPassesError as error:
            raise OutOfPassesError(str(error), x.to(problem.design.dtype)) from error

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

    def solution(self, problem: Problem, state: BlockNewtonState) -> Tensor:
        return state.x.to(problem.design.dtype)

    def check_resume(self, problem: Problem, state: BlockNewtonState) -> None:
        super().check_resume(problem, state)
        wanted = problem.design.split(state.x)[0].shape[:1]
        if state.rows.shape != wanted:
            raise ValueError(
                f"state: holds a working set of {len(state.rows)} rows, the weights have "
                f"{wanted[0]}; resume on the problem it was made with."
            )

    def _moved(
        self, problem: Problem, state: BlockNewtonState, rows: Tensor, h: Tensor, cautious: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Point, scores, and mask of the tasks that stayed, after a Newton step."""
        data, design = problem.data, problem.design
        if not state.residual or not (len(rows) or design.intercept):
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

    def _surveyed(
        self,
        problem: Problem,
        x: Tensor,
        scores: Tensor,
        *,
        stalled: bool = False,
        aim: float,
        **kept: Any,
    ) -> BlockNewtonState:
        """State at a point with known scores: half a pass for the gradient of all features."""
        data, design, R = problem.data, problem.design, problem.regularizer
        assert R is not None
        residuals = data.gradient(scores)
        grad = problem.adjoint(residuals.to(design.dtype)).to(torch.float64)
        (weights, _), (slopes, of_bias) = design.split(x), design.split(grad)
        kkt = R.kkt_residual(weights, slopes + 2 * problem.ridge * weights)
        squares = kkt.square().sum(1)
        size = math.sqrt(float(squares.sum()) + float(_square(of_bias)))
        objective = float(data.value(scores) + problem.regularizer_value(x))
        due = not aim
        if aim and problem.has_gap:
            gap = problem.gap_from(x, scores, residuals, grad)
            at_zero = float(data.value(data.zero_scores(torch.float64)))
            due = gap <= aim * max(abs(objective), 2 * at_zero)
        return BlockNewtonState(
            objective=objective,
            stalled=stalled,
            x=x,
            scores=scores,
            rows=_chosen(weights, squares, self.smallest),
            residual=size if size > ROUNDING * float(grad.norm()) else 0.0,
            due=due,
            aim=aim,
            **kept,
        )


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


def _square(of_bias: Tensor | None) -> Tensor:
    return torch.zeros(()) if of_bias is None else of_bias.square().sum()


def _chosen(weights: Tensor, squares: Tensor, smallest: int) -> Tensor:
    """Mask (D,) of the working set: non-zero rows, and the largest violations of others."""
    alive = (weights != 0).any(1)
    violation = torch.where(alive, 0.0, squares)
    wanted = min(max(smallest, int(alive.sum())), int((violation > 0).sum()))
    rows = alive.clone()
    rows[violation.topk(wanted).indices] = True
    return rows


def _norms(problem: Problem) -> RowNorms:
    """Norms and ridge of the penalty, all terms together."""
    R, weights = problem.regularizer, problem.design.split(problem.zeros(torch.float64))[0]
    found = None if R is None else R.as_row_norms(weights)
    assert found is not None
    return found._replace(
        factors=found.factors.expand(-1, len(weights)), ridge=found.ridge + problem.ridge
    )


def _lacking(problem: Problem) -> str:
    """What the problem lacks for block coordinate descent, as text; empty if nothing."""
    design, data = problem.design, problem.data
    dense = isinstance(design, SharedDesign) and design.X.layout == torch.strided
    if not dense or design.device.type != "cpu" or data.ranks is not ALONE:
        return "needs dense features that all tasks share, on the CPU of one process"
    R, weights = problem.regularizer, design.split(problem.zeros())[0]
    if problem.smooth_terms or R is None or R.as_row_norms(weights) is None:
        return "takes an L1 penalty or norms of rows of weights, and squared Frobenius norms"
    if problem.loss.coupled:
        return f"needs tasks of their own, and {type(problem.loss).__name__} couples them"
    if not problem.loss.curved:
        return f"needs curvature, and {type(problem.loss).__name__} is linear far out"
    return ""
