"""CoordinateNewton: proximal Newton steps by coordinate descent, for sparse features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proxmtl.certified import Measured, duality_gap
from proxmtl.counts import OutOfPassesError
from proxmtl.data_term import SummedLoss
from proxmtl.designs.columns import SparseColumns, sparse_columns
from proxmtl.kernels import coordinate_descent
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.points import PointSolver, PointState
from proxmtl.solvers.requirements import check_problem

__all__ = ["CoordinateNewton", "CoordinateNewtonState"]

FINER = 0.1
"""Factor of the gap that is aimed at next, once a certificate was due and the run goes on."""

SUFFICIENT = 1e-4
"""Fraction of the predicted decrease that the line search requires."""

TRIALS = 6
"""Steps that the line search tries, each half the one before."""

ROUNDING = 16 * torch.finfo(torch.float64).eps
"""Rounding error of a sum, relative to the sum of its absolute terms."""


@dataclass
class CoordinateNewtonState(PointState):
    """Point and scores in float64, and what the last look at all features has found."""

    rows: Tensor  # masks of the working sets, (D, M)
    residual: Tensor  # KKT residual of each task, (M,); 0 where it is rounding
    due: bool  # whether the gap is thought to be reached
    aim: float  # relative gap at which a certificate is due

    @property
    def long(self) -> bool:  # type: ignore[override]
        """Whether a certificate is due."""
        return self.due


@dataclass(frozen=True)
class CoordinateNewton(PointSolver[CoordinateNewtonState]):
    """Newton's method for an L1 penalty on sparse features, by coordinate descent on working sets.

    Each task has a working set: its non-zero weights, and as many of the others with the largest
    KKT violations. On this set, coordinate descent minimises the quadratic model of the loss plus
    the penalty (and a ridge), and a line search on the objective follows (Armijo). After the steps
    that reduce the KKT residual of the set to ``reduction`` times the last full one, half a pass
    over all features chooses the next set. An intercept is minimised exactly along with each
    coordinate. The objective never increases. Points and scores are kept in float64, whatever the
    dtype of the features.

    Reads of some columns for one task count as that fraction of a pass.

    Parameters
    ----------
    tolerance : float
        Relative duality gap that is sought; 0 if it is not known. A certificate is due in
        iterations in which an estimate of the gap is at most this; with 0 in all of them.
    smallest : int
        Minimum number of zero weights in the working set of a task.
    reduction : float
        Reduction of the KKT residual after which the working sets are renewed, in (0, 1).
    steps : int
        Maximum number of Newton steps on one working set.
    sweeps : int
        Maximum number of sweeps of coordinate descent in a Newton step.

    References
    ----------
    Yuan, Ho, Lin, "An improved GLMNET for l1-regularized logistic regression", 2012; Johnson and
    Guestrin, "Blitz: a principled meta-algorithm for scaling sparse optimization", 2015 (working
    sets).
    """

    tolerance: float = 0.0
    smallest: int = 1000
    reduction: float = 0.1
    steps: int = 10
    sweeps: int = 50
    state_type = CoordinateNewtonState
    needs_curvature = False

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance: got {self.tolerance}; it must be >= 0.")
        if min(self.smallest, self.steps, self.sweeps) < 1:
            raise ValueError(
                f"smallest, steps and sweeps: got {self.smallest}, {self.steps} and "
                f"{self.sweeps}; use at least 1."
            )
        if not 0 < self.reduction < 1:
            raise ValueError(f"reduction: got {self.reduction}; it must lie in (0, 1).")

    def check(self, problem: Problem) -> None:
        check_problem("CoordinateNewton", problem)
        reason = _lacking(problem)
        if reason:
            raise UnsupportedError(f"CoordinateNewton: {reason}; use FISTA or ProxNewton.")

    @staticmethod
    def serves(problem: object) -> bool:
        """Whether this solver can take the problem."""
        return isinstance(problem, Problem) and not _lacking(problem)

    def init(self, problem: Problem, x0: Tensor) -> CoordinateNewtonState:
        problem.check_point(x0)
        x = x0.to(torch.float64)
        weights, bias = problem.design.split(x)
        if bool(weights.any()):
            scores = problem.scores(x)
        else:
            scores = problem.data.zero_scores(torch.float64)
            if bias is not None:
                scores += problem.data.constant_scores(problem.design.unit * bias)
        return self._surveyed(problem, x, scores, iteration=0, aim=self.tolerance, passes=0.0)

    def step(self, problem: Problem, state: CoordinateNewtonState) -> CoordinateNewtonState:
        sets = _WorkingSets(problem, state, self.reduction)
        try:
            for _ in range(self.steps):
                if not sets.newton_step(self.sweeps):
                    break
            x, scores = sets.point()
            return self._surveyed(
                problem,
                x,
                scores,
                iteration=state.iteration + 1,
                aim=FINER * state.aim if state.due else state.aim,
                passes=state.passes,
                stalled=torch.equal(x, state.x),
            )
        except OutOfPassesError as error:
            reached = sets.point()[0].to(problem.design.dtype)
            raise OutOfPassesError(str(error), reached) from error

    def solution(self, problem: Problem, state: CoordinateNewtonState) -> Tensor:
        return state.x.to(problem.design.dtype)

    def check_resume(self, problem: Problem, state: CoordinateNewtonState) -> None:
        super().check_resume(problem, state)
        wanted = problem.design.split(state.x)[0].shape
        if state.rows.shape != wanted:
            raise ValueError(
                f"state: holds working sets of shape {tuple(state.rows.shape)}, the weights have "
                f"{tuple(wanted)}; resume on the problem it was made with."
            )

    def _surveyed(
        self,
        problem: Problem,
        x: Tensor,
        scores: Tensor,
        *,
        stalled: bool = False,
        aim: float,
        **kept: Any,
    ) -> CoordinateNewtonState:
        """State at a point with known scores: half a pass for the gradient of all features."""
        data, design, R = problem.data, problem.design, problem.regularizer
        assert R is not None
        residuals = data.gradient(scores)
        grad = problem.adjoint(residuals.to(design.dtype)).to(torch.float64)
        (weights, _), (slopes, of_bias) = design.split(x), design.split(grad)
        kkt = R.kkt_residual(weights, slopes + 2 * problem.ridge * weights)
        square = kkt.square().sum(0)
        if of_bias is not None:
            square = square + of_bias.square()
        size = square.sqrt()
        objective = float(data.value(scores) + problem.regularizer_value(x))
        due = not aim
        if aim and problem.has_gap:
            gap = duality_gap(problem, x, Measured(scores, residuals, grad, None), objective)
            at_zero = float(data.value(data.zero_scores(torch.float64)))
            due = gap <= aim * max(abs(objective), 2 * at_zero)
        return CoordinateNewtonState(
            objective=objective,
            stalled=stalled,
            x=x,
            scores=scores,
            rows=_chosen(weights, kkt, self.smallest),
            residual=torch.where(size > ROUNDING * grad.norm(dim=0), size, 0.0),
            due=due,
            aim=aim,
            **kept,
        )


class _WorkingSets:
    """The problem on the working sets of its tasks, and the point that has been reached there.

    Arrays of samples are task-major, (M, N); arrays (n,) list the columns of the first task's set,
    then those of the second, and so on.
    """

    def __init__(self, problem: Problem, state: CoordinateNewtonState, reduction: float) -> None:
        self.problem, self.state = problem, state
        columns = sparse_columns(problem.design)
        assert columns is not None
        self.columns: SparseColumns = columns
        self.loss = problem.data.rearranged(lambda each: each.t().contiguous(), torch.float64)
        weights, bias = problem.design.split(state.x)
        self.owner, self.features = torch.nonzero(state.rows.t(), as_tuple=True)
        penalty, self.ridge = _terms(problem, weights)
        self.weights = weights[self.features, self.owner]
        self.penalty = penalty[self.features, self.owner]
        self.origin = self.weights.new_zeros(len(self.weights))
        if columns.origin is not None:
            self.origin = columns.origin[self.features]
        self.sizes = columns.features.starts.diff()[self.features]
        self.bias = None if bias is None else bias.clone()
        self.scores = state.scores.t().contiguous()
        self.targets = reduction * state.residual
        self.open = state.residual > 0
        self.safe = torch.zeros_like(self.open)
        """Tasks whose last step was refused: the next has the largest curvature of the loss."""

    def point(self) -> tuple[Tensor, Tensor]:
        """Return the parameter and its scores."""
        design = self.problem.design
        weights = design.split(self.state.x)[0].clone()
        weights[self.features, self.owner] = self.weights
        return design.join(weights, self.bias), self.scores.t()

    def newton_step(self, sweeps: int) -> bool:
        """Step in each open task; False if there is none left."""
        tasks = torch.nonzero(self.open).flatten()
        if not len(tasks):
            return False
        own = self.open[self.owner]
        loss, scores = self.loss, self.scores
        if len(tasks) < len(self.open):
            loss, scores = loss.rearranged(lambda each: each[tasks]), scores[tasks]
        counts, whole = self.problem.counts, 2 * self.columns.entries * len(self.open)
        counts.charge(adjoint=2 * float(self.sizes[own].sum()) / max(1, whole))
        limit = None if counts.left == torch.inf else int(counts.left * whole / len(tasks))
        slopes = loss.gradient(scores)
        curvatures = torch.where(self.safe[tasks, None], self._bound(loss), loss.curvature(scores))
        found = coordinate_descent(
            self.columns.features,
            slopes,
            curvatures,
            bounds=torch.cat([tasks.new_zeros(1), self._per_task(own, tasks).cumsum(0)]),
            columns=self.features[own],
            weights=self.weights[own],
            penalty=self.penalty[own],
            targets=self.targets[tasks],
            ridge=self.ridge,
            origin=self.origin[own],
            unit=self.problem.design.unit if self.bias is not None else 0.0,
            sweeps=sweeps,
            limit=limit,
        )
        looked, moved = (2 * float(n) / max(1, whole) for n in found.read.sum(0))
        looked -= 2 * float(self.sizes[own].sum()) / max(1, whole)
        counts.charge(adjoint=max(looked, 0.0), forward=moved)
        done = ~(found.residual > self.targets[tasks])
        if limit is not None and not moved and not bool(done.all() | (found.along != 0).any()):
            raise OutOfPassesError(f"{counts.limit:g} passes")
        place = torch.zeros_like(self.open, dtype=torch.int64)
        place[tasks] = torch.arange(len(tasks))
        line = _Line(
            loss,
            scores,
            found.along,
            (slopes * found.along),
            self.weights[own],
            found.weights - self.weights[own],
            self.penalty[own],
            self.ridge,
            place[self.owner[own]],
        )
        tau = line.searched()
        self.weights[own] = torch.where(
            tau[line.owner] == 1, found.weights, self.weights[own] + tau[line.owner] * line.move
        )
        self.scores[tasks] = scores + tau[:, None] * found.along
        if self.bias is not None:
            shift = found.shift + line.sums(self.origin[own] * line.move)
            self.bias[tasks] += tau * shift / self.problem.design.unit
        # a refused safe step is one of rounding errors
        self.open[tasks] = ~done & ((tau > 0) | ~self.safe[tasks])
        self.safe[tasks] = tau == 0
        return bool(self.open.any())

    def _bound(self, loss: SummedLoss) -> Tensor:
        return self.problem.loss.curvature_bound * loss.converted(torch.float64)[1]

    def _per_task(self, own: Tensor, tasks: Tensor) -> Tensor:
        return torch.bincount(self.owner[own], minlength=len(self.open))[tasks]


@dataclass
class _Line:
    """The objective of each task along a step; without cancellation, since steps become small."""

    loss: SummedLoss
    scores: Tensor
    along: Tensor
    slopes: Tensor  # terms of the slope of the loss, (M, N)
    weights: Tensor
    move: Tensor
    penalty: Tensor
    ridge: float
    owner: Tensor  # task of each weight

    def sums(self, terms: Tensor) -> Tensor:
        """Sums by task of terms of the weights."""
        return terms.new_zeros(len(self.scores)).index_add_(0, self.owner, terms)

    def searched(self) -> Tensor:
        """Return the step length of each task: 1, a power of 1/2, or 0 if none is accepted."""
        tau = torch.ones(len(self.scores), dtype=torch.float64, device=self.scores.device)
        slope = self.slopes.sum(1)
        sizes = self.slopes.abs().sum(1) + self.sums(self.penalty * self.move.abs())
        predicted = slope + self._penalty(tau)
        for _ in range(TRIALS):
            bregman = self.loss.bregman_terms(
                self.scores + tau[:, None] * self.along, self.scores
            ).sum(1)
            change = tau * slope + bregman + self._penalty(tau)
            accepted = change <= SUFFICIENT * tau * predicted + ROUNDING * sizes
            if bool(accepted.all()):
                return tau
            tau = torch.where(accepted, tau, tau / 2)
        return torch.where(accepted, tau, 0.0)

    def _penalty(self, tau: Tensor) -> Tensor:
        """What the penalty changes by."""
        step = tau[self.owner] * self.move
        absolute = self.penalty * ((self.weights + step).abs() - self.weights.abs())
        return self.sums(absolute + self.ridge * step * (2 * self.weights + step))


def _chosen(weights: Tensor, kkt: Tensor, smallest: int) -> Tensor:
    """Masks (D, M) of the working sets: non-zero weights, and the largest violations of others."""
    alive = (weights != 0).t()
    violation = torch.where(alive, 0.0, kkt.t().abs())
    counts = alive.sum(1).clamp_min(smallest)
    most = min(int(counts.max()), violation.shape[1])
    largest, where = violation.topk(most, dim=1)
    places = torch.arange(most, device=weights.device)
    wanted = (places < counts[:, None]) & (largest > 0)
    return (alive | torch.zeros_like(alive).scatter_(1, where, wanted)).t()


def _terms(problem: Problem, weights: Tensor) -> tuple[Tensor, float]:
    """Weights of the L1 norm, and the ridge, all terms together."""
    R = problem.regularizer
    found = None if R is None else R.as_elastic_net(weights)
    assert found is not None
    return found[0], found[1] + problem.ridge


def _lacking(problem: Problem) -> str:
    """What the problem lacks for coordinate descent, as text; empty if nothing."""
    columns = sparse_columns(problem.design)
    if columns is None or columns.features.values.device.type != "cpu":
        return "needs sparse features that all tasks share, on the CPU"
    R, weights = problem.regularizer, problem.design.split(problem.zeros())[0]
    if problem.smooth_terms or R is None or R.as_elastic_net(weights) is None:
        return "takes an L1 penalty, weighted or not, and squared Frobenius norms"
    if problem.loss.coupled:
        return f"needs tasks of their own, and {type(problem.loss).__name__} couples them"
    if not problem.loss.curved:
        return f"needs curvature, and {type(problem.loss).__name__} is linear far out"
    return ""
