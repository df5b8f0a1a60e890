"""FISTA: accelerated proximal gradient, the paper's APG."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.solvers.points import StepSolver, StepState
from proxmtl.solvers.proximal import extrapolated, objective_at, proximal_step, trial_step
from proxmtl.solvers.requirements import check_problem
from proxmtl.solvers.steps import GradientRestart, Restart

__all__ = ["FISTA", "FISTAState"]


@dataclass
class FISTAState(StepState):
    """State of FISTA: the last two iterates with their scores, and the momentum."""

    previous: Tensor
    previous_scores: Tensor
    momentum: float  # theta of the Nesterov sequence
    restarts: int


@dataclass(frozen=True)
class FISTA(StepSolver[FISTAState]):
    """Accelerated proximal gradient with restart and backtracking.

    ``x+ = prox_{t R}(z - t grad f(z))``, ``theta+ = (1 + sqrt(1 + 4 theta^2 t / t+)) / 2``,
    ``z = x+ + (theta - 1)/theta+ (x+ - x)``. An iteration costs one pass: scores are linear in the
    parameter, so those of ``z`` follow from those of ``x+`` and ``x``. A rejected step costs one
    more pass, because ``z`` depends on the step; only half a pass without momentum. Steps grow as
    long as the sufficient-decrease test has room to spare.

    Parameters
    ----------
    step_rule : Backtracking or ConstantStep
    restart : GradientRestart, FunctionRestart or NoRestart

    References
    ----------
    Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", 2009; Scheinberg,
    Goldfarb, Bai, "Fast first-order methods for composite convex optimization with backtracking",
    2014 (steps that grow).
    """

    restart: Restart = field(default_factory=GradientRestart)
    state_type = FISTAState

    def check(self, problem: Problem) -> None:
        check_problem("FISTA", problem)

    def start(self, problem: Problem, x: Tensor, scores: Tensor, step: float) -> FISTAState:
        return FISTAState(
            iteration=0,
            objective=objective_at(problem, x, scores),
            stalled=False,
            passes=0.0,
            x=x,
            previous=x,
            scores=scores,
            previous_scores=scores,
            momentum=1.0,
            step=step,
            room=False,
            restarts=0,
        )

    def step(self, problem: Problem, state: FISTAState) -> FISTAState:
        step = trial_step(state.step, self.step_rule, room=state.room)
        model = None
        while True:
            # the momentum depends on the ratio of the steps, so each trial step has another z
            theta, beta = _momentum(state.momentum, state.step, step)
            if model is None or beta:
                z = extrapolated(state.previous, state.x, beta)
                z_scores = extrapolated(state.previous_scores, state.scores, beta)
                model = self.model(problem, state, z, z_scores)
            trial = proximal_step(
                problem,
                model,
                step,
                self.step_rule,
                near=state.x,
                near_scores=state.scores,
                momentum=partial(self._next_momentum, state, model.z, theta, step),
            )
            if trial.accepted:
                break
            step *= self.step_rule.shrink
        new, z = trial.x, model.z
        restart = self.restart(z, new, state.x, trial.objective, state.objective)
        return FISTAState(
            iteration=state.iteration + 1,
            objective=trial.objective,
            stalled=torch.equal(new, state.x) and (not beta or torch.equal(z, state.x)),
            passes=state.passes,
            x=new,
            previous=new if restart else state.x,
            scores=trial.scores,
            previous_scores=trial.scores if restart else state.scores,
            momentum=1.0 if restart else theta,
            step=step,
            room=trial.room,
            restarts=state.restarts + int(restart),
            ahead=trial.ahead,
        )

    def _next_momentum(
        self, state: FISTAState, z: Tensor, theta: float, step: float, new: Tensor
    ) -> float:
        """Extrapolation of the next iteration, on the guess that this step will be accepted."""
        if self.restart(z, new, state.x, math.nan, math.nan):
            return 0.0
        longer = trial_step(step, self.step_rule, room=state.room)
        return _momentum(theta, step, longer)[1]


def _momentum(theta: float, last: float, step: float) -> tuple[float, float]:
    """Next theta of the Nesterov sequence and the extrapolation, for the last and this step."""
    following = (1 + math.sqrt(1 + 4 * theta**2 * last / step)) / 2
    return following, (theta - 1) / following
