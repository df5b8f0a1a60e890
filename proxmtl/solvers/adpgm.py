"""AdPGM: proximal gradient method with a step adapted to the local curvature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.solvers.points import PointSolver, PointState
from proxmtl.solvers.proximal import linearized, objective_at, probed_step
from proxmtl.solvers.requirements import check_first, check_problem

__all__ = ["AdPGM", "AdPGMState"]


@dataclass
class AdPGMState(PointState):
    """Point, gradient, last step, ratio of the last two steps, and curvature along the last."""

    grad: Tensor
    step: float  # length of the step that led to x
    ratio: float  # of that step to the one before
    curvature: float  # met along that step


@dataclass(frozen=True)
class AdPGM(PointSolver[AdPGMState]):
    """Adaptive proximal gradient method, without Lipschitz constant or line search.

    ``t_k = min(t_{k-1} sqrt(2/3 + r_{k-1}), t_{k-1} / sqrt(max(2 (t_{k-1} l_k)^2 - 1, 0)))`` with
    ``r_k = t_k / t_{k-1}`` and the curvature along the last move, ``l_k = ||g_k - g_{k-1}|| /
    ||x_k - x_{k-1}||``; then ``x_{k+1} = prox_{t_k R}(x_k - t_k g_k)``. For convex problems only;
    the objective is not monotone. Costs one pass per iteration, and one more at the start.

    Parameters
    ----------
    first : float or None
        First step; None: one over the curvature along the gradient, found by a probe.

    References
    ----------
    Malitsky and Mishchenko, "Adaptive proximal gradient method for convex optimization", 2023.
    """

    first: float | None = None
    state_type = AdPGMState
    needs_curvature = False

    def __post_init__(self) -> None:
        if self.first is not None and not self.first > 0:
            raise ValueError(f"first: got {self.first}; a step must be > 0.")

    def check(self, problem: Problem) -> None:
        check_problem("AdPGM", problem)

    def init(self, problem: Problem, x0: Tensor) -> AdPGMState:
        problem.check_point(x0)
        x = x0.clone()
        model = linearized(problem, x)
        first = self.first
        step = probed_step(problem, model) if first is None else check_first(problem, first)
        value = objective_at(problem, x, model.scores)
        # a curvature of 1/step makes the first move one of length step
        return AdPGMState(0, value, False, 0.0, x, model.scores, model.grad, step, 1 / 3, 1 / step)

    def step(self, problem: Problem, state: AdPGMState) -> AdPGMState:
        longest = state.step * math.sqrt(2 / 3 + state.ratio)
        excess = 2 * (state.step * state.curvature) ** 2 - 1
        step = min(longest, state.step / math.sqrt(excess)) if excess > 0 else longest
        x, penalty = problem.prox(state.x - step * state.grad, step, warm_start=state.x)
        _, scores, value, grad = linearized(problem, x)
        move = float((x - state.x).norm())
        return AdPGMState(
            iteration=state.iteration + 1,
            objective=value + float(penalty),
            stalled=torch.equal(x, state.x),
            passes=state.passes,
            x=x,
            scores=scores,
            grad=grad,
            step=step,
            ratio=step / state.step,
            curvature=float((grad - state.grad).norm()) / move if move > 0 else 0.0,
        )
