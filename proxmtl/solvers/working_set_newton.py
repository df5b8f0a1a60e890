"""The base of Newton's methods on working sets, which look at all features between steps."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from proxmtl.counts import OutOfPassesError
from proxmtl.designs import SharedDesign
from proxmtl.designs.kept import few_rows
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.newton_steps import ROUNDING, no_worse_than_zero
from proxmtl.solvers.points import PointSolver, PointState
from proxmtl.solvers.requirements import check_problem

__all__ = ["WorkingSetNewton", "WorkingSetState", "enlarged"]

FINER = 0.1
"""Factor of the gap that is aimed at next, once a certificate was due and the run goes on."""


@dataclass
class WorkingSetState(PointState):
    """Point and scores in float64, and what the last look at all features has found."""

    rows: Tensor  # mask of the working sets: (D, M), or (D,) if all tasks have the same
    residual: Tensor  # KKT residual of each task, (M,); 0 where it is rounding
    safe: Tensor  # tasks that did not move in the last step, and take a safe one, (M,)
    due: bool  # whether the gap is thought to be reached
    aim: float  # relative gap at which a certificate is due
    estimates = True

    @property
    def long(self) -> bool:  # type: ignore[override]
        """Whether a certificate is due."""
        return self.due


W = TypeVar("W", bound=WorkingSetState)


@dataclass(frozen=True)
class WorkingSetNewton(PointSolver[W]):
    """Newton steps on weights that are not zero and on those that violate optimality the most.

    A subclass says what it lacks, chooses the sets, and takes the steps; it documents the fields.
    """

    tolerance: float = 0.0
    smallest: int = 1
    reduction: float = 0.1
    sweeps: int = 1
    state_type: ClassVar[type[Any]]
    needs_curvature = False

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance: got {self.tolerance}; it must be >= 0.")
        if self.smallest < 1 or self.sweeps < 1:
            raise ValueError(
                f"smallest and sweeps: got {self.smallest} and {self.sweeps}; use at least 1."
            )
        if not 0 < self.reduction < 1:
            raise ValueError(f"reduction: got {self.reduction}; it must lie in (0, 1).")

    @staticmethod
    @abstractmethod
    def lacking(problem: Problem) -> str:
        """What the problem lacks, as text; empty if nothing."""

    @abstractmethod
    def chosen(self, problem: Problem, weights: Tensor, kkt: Tensor) -> Tensor:
        """Mask of the working sets, from weights and KKT residuals (D, M)."""

    def penalties(self, problem: Problem, weights: Tensor) -> Tensor | float:  # noqa: ARG002
        """Penalty of each task that a start has to beat zero with, the problem's ridge aside."""
        return 0.0

    def check(self, problem: Problem) -> None:
        name = type(self).__name__
        check_problem(name, problem)
        reason = self.lacking(problem)
        if reason:
            raise UnsupportedError(f"{name}: {reason}; use FISTA or ProxNewton.")

    def init(self, problem: Problem, x0: Tensor) -> W:
        problem.check_point(x0)
        x = x0.to(torch.float64)
        weights, bias = problem.design.split(x)
        if bool(weights.any()):
            scores = problem.scores(x)
        else:
            scores = problem.data.zero_scores(torch.float64)
            if bias is not None:
                scores += problem.data.constant_scores(problem.design.unit * bias)
        x, scores = no_worse_than_zero(problem, x, scores, self.penalties(problem, weights))
        safe = torch.zeros(problem.data.n_tasks, dtype=torch.bool, device=x.device)
        kept: dict[str, Any] = {"iteration": 0, "passes": 0.0, "safe": safe}
        return self.surveyed(problem, x, scores, aim=self.tolerance, **kept)

    def solution(self, problem: Problem, state: W) -> Tensor:
        return state.x.to(problem.design.dtype)

    def check_resume(self, problem: Problem, state: W) -> None:
        super().check_resume(problem, state)
        wanted = problem.design.split(state.x)[0].shape[: state.rows.ndim]
        if state.rows.shape != wanted:
            raise ValueError(
                f"state: holds working sets of shape {tuple(state.rows.shape)}, the weights have "
                f"{tuple(wanted)}; resume on the problem it was made with."
            )

    def moved(
        self, problem: Problem, state: W, x: Tensor, scores: Tensor, *, safe: Tensor, **kept: Any
    ) -> W:
        """State after a step to a point with known scores; ``safe`` are the tasks that stayed."""
        try:
            return self.surveyed(
                problem,
                x,
                _computed_anew(problem, x, scores),
                safe=safe,
                iteration=state.iteration + 1,
                aim=FINER * state.aim if state.due else state.aim,
                passes=state.passes,
                stalled=torch.equal(x, state.x) and torch.equal(safe, state.safe),
                **kept,
            )
        except OutOfPassesError as error:
            raise OutOfPassesError(str(error), x.to(problem.design.dtype)) from error

    def surveyed(
        self,
        problem: Problem,
        x: Tensor,
        scores: Tensor,
        *,
        stalled: bool = False,
        aim: float,
        **kept: Any,
    ) -> W:
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
            gap = problem.gap_from(x, scores, residuals, grad)
            at_zero = float(data.value(data.zero_scores(torch.float64)))
            due = gap <= aim * max(abs(objective), 2 * at_zero)
        found: W = self.state_type(
            objective=objective,
            stalled=stalled,
            x=x,
            scores=scores,
            rows=self.chosen(problem, weights, kkt),
            residual=torch.where(size > ROUNDING * grad.norm(dim=0), size, 0.0),
            due=due,
            aim=aim,
            **kept,
        )
        return found


def enlarged(alive: Tensor, violation: Tensor, smallest: int) -> Tensor:
    """Working sets: what is alive, and as many others, those with the largest violations.

    Parameters
    ----------
    alive : Tensor of bool, shape (D,) or (D, M)
        By column, what isn't zero.
    violation : Tensor, same shape
        Of optimality, not negative.
    smallest : int
        Minimum number of others in a set.
    """
    alive = alive.t()
    violation = torch.where(alive, 0.0, violation.t())
    counts = alive.sum(-1, keepdim=True).clamp_min(smallest)
    most = min(int(counts.max()), violation.shape[-1])
    largest, where = violation.topk(most, dim=-1)
    wanted = (torch.arange(most, device=alive.device) < counts) & (largest > 0)
    return (alive | torch.zeros_like(alive).scatter_(-1, where, wanted)).t()


def _computed_anew(problem: Problem, x: Tensor, scores: Tensor) -> Tensor:
    """Scores of a point by a product where few rows of its weights are not zero, else those given.

    A certificate of the point, and a solve that starts there, compute the same ones, to the bit;
    their gradient is then that of the survey, which the design has kept.
    """
    design = problem.design
    if not isinstance(design, SharedDesign):
        return scores
    rows = few_rows(design.X, design.split(x)[0])
    if rows is None:
        return scores
    problem.counts.charge(forward=design.share * design.share_of(rows))
    return design.scores(x)
