"""CoordinateNewton: proximal Newton steps by coordinate descent, for sparse features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proxmtl.counts import OutOfPassesError
from proxmtl.designs.columns import SparseColumns, sparse_columns
from proxmtl.kernels import CoordinateStep, coordinate_descent
from proxmtl.kernels.dispatch import is_compiled
from proxmtl.problem import Problem
from proxmtl.solvers.newton_steps import PenalizedLine
from proxmtl.solvers.requirements import lacking_curvature
from proxmtl.solvers.working_set_newton import WorkingSetNewton, WorkingSetState, enlarged

__all__ = ["CoordinateNewton", "CoordinateNewtonState"]


@dataclass
class CoordinateNewtonState(WorkingSetState):
    """Working sets of the tasks, (D, M)."""


@dataclass(frozen=True)
class CoordinateNewton(WorkingSetNewton[CoordinateNewtonState]):
    """Newton's method for an L1 penalty on sparse features, by coordinate descent on working sets.

    Each task has a working set: its non-zero weights, and as many of the others with the largest
    KKT violations. An iteration takes one Newton step on these sets and then chooses new ones, by
    half a pass over all features. In a Newton step, coordinate descent minimises the quadratic
    model of the loss plus the penalty (and a ridge), and a line search on the objective follows
    (Armijo). Where it fails, the next model has the largest curvature of the loss, so that its
    minimiser is no higher, and the line search lengthens this step while the objective falls. An
    intercept is minimised exactly along with each coordinate. A task whose objective at the start
    is larger than at zero starts at zero. The objective never increases. Points and scores are kept
    in float64, whatever the dtype of the features.

    Reads of some columns for one task count as that fraction of a pass.

    Parameters
    ----------
    tolerance : float
        Relative duality gap that is sought; 0 if it is not known. A certificate is due in
        iterations in which an estimate of the gap is at most this; with 0 in all of them.
    smallest : int
        Minimum number of zero weights in the working set of a task.
    reduction : float
        Reduction of the KKT residual of the model at which its sweeps end, in (0, 1).
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
    sweeps: int = 200
    state_type = CoordinateNewtonState

    @staticmethod
    def serves(problem: object) -> bool:
        """Whether this solver can take the problem, and compiled loops are there for it.

        Without them an iteration takes a hundred times as long, which FISTA does not.
        """
        able = isinstance(problem, Problem) and not CoordinateNewton.lacking(problem)
        return able and is_compiled("coordinate_descent")

    @staticmethod
    def lacking(problem: Problem) -> str:
        columns = sparse_columns(problem.design)
        if columns is None or columns.features.values.device.type != "cpu":
            return "needs sparse features that all tasks share, on the CPU"
        R, weights = problem.regularizer, problem.design.split(problem.zeros())[0]
        if problem.smooth_terms or R is None or R.as_elastic_net(weights) is None:
            return "takes an L1 penalty, weighted or not, and squared Frobenius norms"
        return lacking_curvature(problem.loss)

    def penalties(self, problem: Problem, weights: Tensor) -> Tensor:
        penalty, ridge = _terms(problem, weights)
        return (penalty * weights.abs() + ridge * weights.square()).sum(0)

    def chosen(self, problem: Problem, weights: Tensor, kkt: Tensor) -> Tensor:  # noqa: ARG002
        """Masks (D, M): non-zero weights, and as many of the others with the largest violations."""
        return enlarged(weights != 0, kkt.abs(), self.smallest)

    def step(self, problem: Problem, state: CoordinateNewtonState) -> CoordinateNewtonState:
        sets = _WorkingSets(problem, state)
        safe = sets.newton_step(self.reduction, self.sweeps)
        return self.moved(problem, state, *sets.point(), safe=safe)


class _WorkingSets:
    """The working sets of the tasks that are not done, and the point that has been reached.

    Arrays of samples are task-major, (m, N) for m tasks; arrays (n,) list the columns of the first
    task's set, then those of the second, and so on.
    """

    def __init__(self, problem: Problem, state: CoordinateNewtonState) -> None:
        self.problem, self.state = problem, state
        columns = sparse_columns(problem.design)
        assert columns is not None
        self.columns: SparseColumns = columns
        self.x, self.scores = state.x.clone(), state.scores.t().clone()
        self.tasks = torch.nonzero(state.residual > 0).flatten()
        self.loss = problem.data.rearranged(self._of_tasks, torch.float64)
        weights = problem.design.split(state.x)[0]
        self.owner, self.features = torch.nonzero(self._of_tasks(state.rows), as_tuple=True)
        self.place = self.features, self.tasks[self.owner]
        penalty, ridge = _terms(problem, weights)
        self.ridge = ridge + problem.ridge
        self.weights, self.penalty = weights[self.place], penalty[self.place]
        self.origin = torch.zeros_like(self.weights)
        if columns.origin is not None:
            self.origin = columns.origin[self.features]

    def _of_tasks(self, samples: Tensor) -> Tensor:
        """Columns of the tasks, as rows."""
        found = samples.t()
        whole = len(self.tasks) == len(found)
        return found.contiguous() if whole else found[self.tasks]

    def point(self) -> tuple[Tensor, Tensor]:
        """Return the parameter and its scores."""
        return self.x, self.scores.t()

    def newton_step(self, reduction: float, sweeps: int) -> Tensor:
        """Step in each task that is not done; returns the mask of those that stay there, (M,)."""
        tasks = self.tasks
        if not len(tasks):
            return torch.zeros_like(self.state.safe)
        scores = self.scores[tasks]
        slopes, curvatures = self.loss.gradient(scores), self.loss.curvature(scores)
        cautious = self.state.safe[tasks]
        if bool(cautious.any()):
            largest = self.problem.loss.curvature_bound * self.loss.weights
            curvatures = torch.where(cautious[:, None], largest, curvatures)
        unit = self.problem.design.unit if self.problem.design.intercept else 0.0
        sizes = torch.bincount(self.owner, minlength=len(tasks))
        found = self._charged(
            slopes,
            curvatures,
            bounds=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
            columns=self.features,
            weights=self.weights,
            penalty=self.penalty,
            ridge=self.ridge,
            origin=self.origin,
            unit=unit,
            reduction=reduction,
            sweeps=sweeps,
        )
        move = found.weights - self.weights
        line = PenalizedLine(
            self.loss,
            scores,
            slopes,
            found.along,
            constant=found.shift + self._sums(self.origin * move),
            weights=self.weights,
            move=move,
            penalty=self.penalty,
            ridge=self.ridge,
            owner=self.owner,
        )
        tau = line.searched(lengthened=cautious)
        by_weight = tau[self.owner]
        moved = self.weights + by_weight * line.move
        # a weight at zero is there without rounding
        self.x[self.place] = torch.where(by_weight == 1, found.weights, moved)
        if unit:
            self.x[-1, tasks] += tau * line.constant / unit
        self.scores[tasks] = scores + tau[:, None] * line.along
        still = torch.zeros_like(self.state.safe)
        still[tasks] = tau == 0
        return still

    def _sums(self, terms: Tensor) -> Tensor:
        """Sums by task of terms of the weights."""
        return terms.new_zeros(len(self.tasks)).index_add_(0, self.owner, terms)

    def _charged(self, slopes: Tensor, curvatures: Tensor, **options: Any) -> CoordinateStep:
        """Coordinate descent within the passes that are left, which is charged for its reads."""
        counts = self.problem.counts
        a_product = max(1, self.columns.entries * len(self.state.safe))
        limit = None
        if counts.left < math.inf:
            sizes = self.columns.features.starts.diff()[self.features].to(torch.int64)
            largest = int(sizes.new_zeros(len(slopes)).index_add_(0, self.owner, sizes).max())
            limit = int(2 * counts.left * a_product / len(slopes)) - largest
            if limit < 3 * largest:  # no whole sweep, and the scores of its step
                raise OutOfPassesError(f"{counts.limit:g} passes")
        found = coordinate_descent(
            self.columns.features, slopes, curvatures, limit=limit, **options
        )
        looked, moved = (float(each) / a_product for each in found.read.sum(0))
        counts.charge(adjoint=looked, forward=moved)
        return found


def _terms(problem: Problem, weights: Tensor) -> tuple[Tensor, float]:
    """Weights of the L1 norm and the ridge of the penalty, all terms together."""
    R = problem.regularizer
    found = None if R is None else R.as_elastic_net(weights)
    assert found is not None
    return found
