"""MFISTA: accelerated proximal gradient method with a monotone objective."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.points import StepSolver, StepState
from proxmtl.solvers.proximal import extrapolated, objective_at, searched_step, trial_step
from proxmtl.solvers.requirements import check_problem

__all__ = ["MFISTA", "MFISTAState"]


@dataclass
class MFISTAState(StepState):
    """Best point so far, the point z of the next step, and their scores."""

    z: Tensor
    z_scores: Tensor
    momentum: float  # theta of the Nesterov sequence
    restarts: int
    residual: float  # norm of the gradient mapping where the last step started


@dataclass(frozen=True)
class MFISTA(StepSolver[MFISTAState]):
    """Monotone accelerated proximal gradient.

    ``p = prox_{t R}(z - t grad f(z))``; ``x+`` is the better of ``p`` and ``x``. With ``restart``,
    the momentum is dropped if ``p`` is not better by ``decrease * ||p - x||^2 / t``: the next step
    is then a proximal gradient step from ``x``, which decreases the objective. This safeguard makes
    the acceleration safe for nonconvex penalties. Without it, the next step is taken from
    ``z = x+ + (theta/theta+) (p - x+) + ((theta - 1)/theta+) (x+ - x)``. Costs one pass per
    iteration, and half a pass per rejected step. Objectives are compared up to rounding errors.

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

    restart: bool = True
    decrease: float = 1e-4
    state_type = MFISTAState

    def __post_init__(self) -> None:
        if not 0 <= self.decrease < 0.5:
            raise ValueError(f"decrease: got {self.decrease}; it must lie in [0, 1/2).")

    def check(self, problem: Problem) -> None:
        check_problem("MFISTA", problem, nonconvex=True)
        if not self.restart and not all(term.is_convex for term in problem.terms):
            raise UnsupportedError(
                "MFISTA(restart=False) needs a convex penalty; use MFISTA() or PGD."
            )

    def start(self, problem: Problem, x: Tensor, scores: Tensor, step: float) -> MFISTAState:
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
        step = trial_step(state.step, self.step_rule, room=state.room)
        theta = (1 + math.sqrt(1 + 4 * state.momentum**2)) / 2
        beta = (state.momentum - 1) / theta
        trial, step = searched_step(
            problem,
            self.model(problem, state, state.z, state.z_scores),
            step,
            self.step_rule,
            near=state.x,
            near_scores=state.scores,
            momentum=lambda _: beta,
        )
        p, p_scores = trial.x, trial.scores
        needed = 0.0
        if self.restart:
            needed = self.decrease * float((p - state.x).square().sum()) / step
        slack = 4 * torch.finfo(p.dtype).eps * abs(state.objective)
        better = trial.objective <= state.objective - needed + slack
        fresh = torch.equal(state.z, state.x)
        x, scores = (p, p_scores) if better else (state.x, state.scores)
        if better:
            z = extrapolated(state.x, x, beta)
            z_scores = extrapolated(state.scores, scores, beta)
        elif self.restart:
            z, z_scores, theta = x, scores, 1.0
        else:
            ahead = state.momentum / theta
            z, z_scores = extrapolated(p, x, -ahead), extrapolated(p_scores, scores, -ahead)
        return MFISTAState(
            iteration=state.iteration + 1,
            objective=trial.objective if better else state.objective,
            # a step from x without momentum left x as it was: the next one would be the same
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
