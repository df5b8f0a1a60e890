"""PGD: proximal gradient descent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.solvers.base import Solver
from proxmtl.solvers.proximal import (
    Model,
    check_scores,
    growing,
    looked_ahead,
    model_at,
    objective_at,
    proximal_step,
    starting_step,
)
from proxmtl.solvers.requirements import check_problem
from proxmtl.solvers.steps import Backtracking, StepRule
from proxmtl.state import State

__all__ = ["PGD", "PGDState"]


@dataclass
class PGDState(State):
    """Point, its scores, and the step."""

    x: Tensor
    scores: Tensor
    step: float
    room: bool  # the last step could have been longer
    ahead: tuple[Any, ...] | None = None
    """Fields of the :class:`Model` at x, if it has been read along with the scores."""


@dataclass(frozen=True)
class PGD(Solver[Problem, PGDState, Tensor]):
    """Proximal gradient descent, ``x+ = prox_{t R}(x - t grad f(x))``.

    Monotone: with a verified step ``F(x+) <= F(x) - ||x+ - x||^2 / (2 t)`` for convex ``R``, and
    ``F(x+) <= F(x)`` for any ``R`` whose prox is exact, convex or not. ``F(x_k) - F* <=
    ||x_0 - x*||^2 / (2 k t)``. One pass over the data an iteration, half a one more per
    refused step.

    Parameters
    ----------
    step_rule : Backtracking or ConstantStep

    References
    ----------
    Lions and Mercier, "Splitting algorithms for the sum of two nonlinear operators", 1979; Beck,
    "First-order methods in optimization", 2017, chapter 10.
    """

    step_rule: StepRule = field(default_factory=Backtracking)
    state_type = PGDState
    needs_curvature = False

    def check(self, problem: Problem) -> None:
        check_problem("PGD", problem, nonconvex=True)

    def init(self, problem: Problem, x0: Tensor) -> PGDState:
        problem.check_point(x0)
        x = x0.clone()
        scores, model = looked_ahead(problem, x, x, x, 0.0)
        step = starting_step(problem, self.step_rule, x, scores, model)
        value = objective_at(problem, x, scores)
        return PGDState(0, value, False, 0.0, x, scores, step, False, model)

    def step(self, problem: Problem, state: PGDState) -> PGDState:
        step = growing(state.step, self.step_rule, room=state.room)
        if state.ahead is None:
            model = model_at(problem, state.x, state.scores)
        else:
            model = Model(*state.ahead)
        while True:
            trial = proximal_step(
                problem,
                model,
                step,
                self.step_rule,
                near=state.x,
                near_scores=state.scores,
                momentum=lambda _: 0.0,
            )
            if trial.accepted:
                break
            step *= self.step_rule.shrink
        return PGDState(
            iteration=state.iteration + 1,
            objective=trial.objective,
            stalled=torch.equal(trial.x, state.x),
            passes=state.passes,
            x=trial.x,
            scores=trial.scores,
            step=step,
            room=trial.room,
            ahead=trial.ahead,
        )

    def check_resume(self, problem: Problem, state: PGDState) -> None:
        super().check_resume(problem, state)
        check_scores(problem, state.scores)

    def solution(self, problem: Problem, state: PGDState) -> Tensor:  # noqa: ARG002
        return state.x
