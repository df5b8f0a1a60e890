"""FISTA: accelerated proximal gradient, the paper's APG."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.base import Solver, State
from proxmtl.solvers.steps import Backtracking, GradientRestart, Restart, StepRule

__all__ = ["FISTA", "FISTAState"]


@dataclass
class FISTAState(State):
    """State of FISTA; scores of both points are kept so that none is computed twice."""

    x: Tensor  # last prox point: the solution
    previous: Tensor
    scores: Tensor  # of x
    previous_scores: Tensor
    momentum: float  # theta of the Nesterov sequence
    step: float
    room: bool  # the last step could have been longer
    restarts: int


@dataclass(frozen=True)
class FISTA(Solver[Problem, FISTAState, Tensor]):
    """Accelerated proximal gradient with restart and backtracking.

    ``x+ = prox_{t R}(z - t grad f(z))``, ``theta+ = (1 + sqrt(1 + 4 theta^2 t / t+)) / 2``,
    ``z = x+ + (theta - 1)/theta+ (x+ - x)``. One pass over the data an iteration: scores are linear
    in the parameter, so those of ``z`` follow from those of ``x+`` and ``x``, and the line search
    costs another pass only when a step is refused. Steps grow while the test leaves room. It
    compares the Bregman distance of the loss, summed sample by sample, so that it does not fail
    near the optimum in float32.

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

    step_rule: StepRule = field(default_factory=Backtracking)
    restart: Restart = field(default_factory=GradientRestart)
    state_type = FISTAState

    def check(self, problem: Problem) -> None:
        if not isinstance(problem, Problem):
            raise UnsupportedError(
                f"FISTA takes a convex Problem, not a {type(problem).__name__}; use LatentMTL, or "
                "PANOC or PALM."
            )

    def init(self, problem: Problem, x0: Tensor) -> FISTAState:
        problem.check_point(x0)
        x = x0.clone()
        scores = problem.scores(x)
        first = self.step_rule.first
        if first is None:
            first = 1 / problem.lipschitz if problem.lipschitz > 0 else 1.0
        return FISTAState(
            iteration=0,
            objective=self._objective(problem, x, scores),
            stalled=False,
            passes=0.0,
            x=x,
            previous=x,
            scores=scores,
            previous_scores=scores,
            momentum=1.0,
            step=first,
            room=False,
            restarts=0,
        )

    def step(self, problem: Problem, state: FISTAState) -> FISTAState:
        loss, targets = problem.loss, problem.targets
        smooth_curvature = sum(term.lipschitz for term in problem.smooth_terms)
        step = state.step * (self.step_rule.growth if state.room else 1.0)
        while True:
            # the momentum follows the ratio of the steps, so a refused step has another z
            theta = (1 + math.sqrt(1 + 4 * state.momentum**2 * state.step / step)) / 2
            beta = (state.momentum - 1) / theta
            z, z_scores = state.x, state.scores
            if beta:
                z = torch.lerp(state.previous, state.x, 1 + beta)
                z_scores = torch.lerp(state.previous_scores, state.scores, 1 + beta)
            value, residuals = loss.value_and_grad(z_scores, targets.labels, targets.weights)
            grad = problem.adjoint(residuals)
            _, extra_grad = problem.smooth_terms_value_and_grad(z)
            if extra_grad is not None:
                grad = grad + extra_grad
            new, penalty = problem.prox(z - step * grad, step, near=state.x)
            scores = problem.scores(new)
            if not self.step_rule.verifies:
                room = True
                break
            move = float((new - z).square().sum())
            bregman = float(loss.bregman(scores, z_scores, targets.labels, targets.weights))
            bound = move * (1 / step - smooth_curvature) / 2
            allowance = loss.bregman_error(z_scores, targets.weights, float(value))
            if not bregman > bound + allowance or not math.isfinite(bregman):
                longer = move * (1 / (step * self.step_rule.growth) - smooth_curvature) / 2
                room = bregman <= longer
                break
            step *= self.step_rule.shrink
        objective = float(
            loss.value(scores, targets.labels, targets.weights)
            + problem.smooth_terms_value_and_grad(new)[0]
            + penalty
        )
        restart = self.restart(z, new, state.x, objective, state.objective)
        return FISTAState(
            iteration=state.iteration + 1,
            objective=objective,
            stalled=torch.equal(new, state.x) and (not beta or torch.equal(z, state.x)),
            passes=state.passes,
            x=new,
            previous=new if restart else state.x,
            scores=scores,
            previous_scores=scores if restart else state.scores,
            momentum=1.0 if restart else theta,
            step=step,
            room=room,
            restarts=state.restarts + int(restart),
        )

    def check_resume(self, problem: Problem, state: FISTAState) -> None:
        super().check_resume(problem, state)
        if state.scores.shape != problem.targets.labels.shape:
            raise ValueError(
                f"state: holds scores of shape {tuple(state.scores.shape)}, the labels have "
                f"{tuple(problem.targets.labels.shape)}; resume on the data it was made with."
            )

    def solution(self, problem: Problem, state: FISTAState) -> Tensor:  # noqa: ARG002
        return state.x

    def _objective(self, problem: Problem, x: Tensor, scores: Tensor) -> float:
        targets = problem.targets
        value = problem.loss.value(scores, targets.labels, targets.weights)
        smooth = problem.smooth_terms_value_and_grad(x)[0]
        return float(value + smooth + problem.regularizer_value(x))
