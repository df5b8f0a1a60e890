"""PGD: proximal gradient descent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.solvers.points import StepSolver, StepState
from proxmtl.solvers.proximal import objective_at, searched_step, trial_step
from proxmtl.solvers.requirements import check_problem

__all__ = ["PGD", "PGDState"]


@dataclass
class PGDState(StepState):
    """Point, its scores, and the step."""


@dataclass(frozen=True)
class PGD(StepSolver[PGDState]):
    """Proximal gradient descent, ``x+ = prox_{t R}(x - t grad f(x))``.

    Monotone: with a verified step, ``F(x+) <= F(x) - ||x+ - x||^2 / (2 t)`` for convex ``R``, and
    ``F(x+) <= F(x)`` for any ``R`` with an exact prox. For convex ``R`` also ``F(x_k) - F* <=
    ||x_0 - x*||^2 / (2 k t)``. Costs one pass per iteration, and half a pass per rejected step.

    Parameters
    ----------
    step_rule : Backtracking or ConstantStep

    References
    ----------
    Lions and Mercier, "Splitting algorithms for the sum of two nonlinear operators", 1979; Beck,
    "First-order methods in optimization", 2017, chapter 10.
    """

    state_type = PGDState

    def check(self, problem: Problem) -> None:
        check_problem("PGD", problem, nonconvex=True)

    def start(self, problem: Problem, x: Tensor, scores: Tensor, step: float) -> PGDState:
        return PGDState(0, objective_at(problem, x, scores), False, 0.0, x, scores, step, False)

    def step(self, problem: Problem, state: PGDState) -> PGDState:
        step = trial_step(state.step, self.step_rule, room=state.room)
        model = self.model(problem, state, state.x, state.scores)
        trial, step = searched_step(
            problem, model, step, self.step_rule, near=state.x, near_scores=state.scores
        )
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
