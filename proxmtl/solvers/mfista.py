"""MFISTA: accelerated proximal gradient that never lets the objective rise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.base import Solver
from proxmtl.solvers.proximal import (
    Model,
    check_scores,
    extrapolated,
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

__all__ = ["MFISTA", "MFISTAState"]


@dataclass
class MFISTAState(State):
    """Best point so far, the point to step from, and their scores."""

    x: Tensor
    z: Tensor
    scores: Tensor
    z_scores: Tensor
    momentum: float  # theta of the Nesterov sequence
    step: float
    room: bool
    restarts: int
    residual: float  # norm of the gradient mapping where the last step started
    ahead: tuple[Any, ...] | None = None
    """Fields of the :class:`Model` at z, if it has been read already."""


@dataclass(frozen=True)
class MFISTA(Solver[Problem, MFISTAState, Tensor]):
    """Monotone accelerated proximal gradient.

    ``p = prox_{t R}(z - t grad f(z))``; ``x+`` is the better of ``p`` and ``x``. With ``restart``,
    a ``p`` that is no better (by ``decrease * ||p - x||^2 / t``) drops the momentum: the next step
    is the plain one from ``x``, which descends; this safeguard is what makes acceleration safe for
    penalties that are not convex. Without it, ``z = x+ + (theta/theta+) (p - x+) +
    ((theta - 1)/theta+) (x+ - x)`` goes on through ``p``. One pass an iteration, half a one
    more per refused step; objectives are compared up to rounding.

    Parameters
    ----------
    step_rule : Backtracking or ConstantStep
    restart : bool
        False: the original rule, for convex penalties only.
    decrease : float
        ``>= 0``; with ``restart`` only.

    References
    ----------
    Beck and Teboulle, "Fast gradient-based algorithms for constrained total variation image
    denoising and deblurring problems", 2009; Li and Lin, "Accelerated proximal gradient methods for
    nonconvex programming", 2015 (the safeguard).
    """

    step_rule: StepRule = field(default_factory=Backtracking)
    restart: bool = True
    decrease: float = 1e-4
    state_type = MFISTAState
    needs_curvature = False

    def __post_init__(self) -> None:
        if not 0 <= self.decrease < 0.5:
            raise ValueError(f"decrease: got {self.decrease}; it must lie in [0, 1/2).")

    def check(self, problem: Problem) -> None:
        check_problem("MFISTA", problem, nonconvex=True)
        if not self.restart and not all(term.is_convex for term in problem.terms):
            raise UnsupportedError(
                "MFISTA(restart=False) needs a convex penalty; use MFISTA() or PGD."
            )

    def init(self, problem: Problem, x0: Tensor) -> MFISTAState:
        problem.check_point(x0)
        x = x0.clone()
        scores, model = looked_ahead(problem, x, x, x, 0.0)
        step = starting_step(problem, self.step_rule, x, scores, model)
        return replace(self.start(problem, x, scores, step), ahead=model)

    def start(self, problem: Problem, x: Tensor, scores: Tensor, step: float) -> MFISTAState:
        """State at a point whose scores are known, without momentum: no pass."""
        return MFISTAState(
            iteration=0,
            objective=objective_at(problem, x, scores),
            stalled=False,
            passes=0.0,
            x=x,
            z=x,
            scores=scores,
            z_scores=scores,
            momentum=1.0,
            step=step,
            room=False,
            restarts=0,
            residual=math.inf,
        )

    def step(self, problem: Problem, state: MFISTAState) -> MFISTAState:
        step = growing(state.step, self.step_rule, room=state.room)
        theta = (1 + math.sqrt(1 + 4 * state.momentum**2)) / 2
        if state.ahead is not None and torch.equal(state.ahead[0], state.z):
            model = Model(*state.ahead)
        else:
            model = model_at(problem, state.z, state.z_scores)
        while True:
            trial = proximal_step(
                problem,
                model,
                step,
                self.step_rule,
                near=state.x,
                near_scores=state.scores,
                momentum=lambda _: (state.momentum - 1) / theta,
            )
            if trial.accepted:
                break
            step *= self.step_rule.shrink
        p, p_scores = trial.x, trial.scores
        needed = 0.0
        if self.restart:
            needed = self.decrease * float((p - state.x).square().sum()) / step
        slack = 4 * torch.finfo(p.dtype).eps * abs(state.objective)
        better = trial.objective <= state.objective - needed + slack
        fresh = torch.equal(state.z, state.x)
        x, scores = (p, p_scores) if better else (state.x, state.scores)
        if better:
            ahead = (state.momentum - 1) / theta
            z = extrapolated(state.x, x, ahead)
            z_scores = extrapolated(state.scores, scores, ahead)
        elif self.restart:
            z, z_scores, theta = x, scores, 1.0
        else:
            ahead = state.momentum / theta
            z, z_scores = extrapolated(p, x, -ahead), extrapolated(p_scores, scores, -ahead)
        return MFISTAState(
            iteration=state.iteration + 1,
            objective=trial.objective if better else state.objective,
            # the plain step from x is tried again with the same outcome
            stalled=fresh and torch.equal(x, state.x) and torch.equal(z, x),
            passes=state.passes,
            x=x,
            z=z,
            scores=scores,
            z_scores=z_scores,
            momentum=theta,
            step=step,
            room=trial.room,
            restarts=state.restarts + int(self.restart and not better),
            residual=trial.residual,
            ahead=trial.ahead,
        )

    def check_resume(self, problem: Problem, state: MFISTAState) -> None:
        super().check_resume(problem, state)
        check_scores(problem, state.scores)

    def solution(self, problem: Problem, state: MFISTAState) -> Tensor:  # noqa: ARG002
        return state.x
