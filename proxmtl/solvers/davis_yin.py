"""Davis-Yin splitting: two proximable penalties, with one prox of each per iteration."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer, UnsupportedError
from proxmtl.solvers.base import Solver
from proxmtl.solvers.proximal import (
    Linearization,
    check_scores,
    first_step,
    linearized,
    objective_at,
    probed_step,
    sufficient_decrease,
    term_prox,
    trial_step,
)
from proxmtl.solvers.requirements import check_problem
from proxmtl.solvers.steps import Backtracking, StepRule
from proxmtl.state import State

__all__ = ["DavisYin", "DavisYinState"]


@dataclass
class DavisYinState(State):
    """Point, its scores, smooth value and gradient, and a subgradient u of the first penalty."""

    x: Tensor
    scores: Tensor
    smooth: float  # value of the smooth part
    grad: Tensor
    dual: Tensor
    step: float
    room: bool  # whether a longer step would have passed the test


@dataclass(frozen=True)
class DavisYin(Solver[Problem, DavisYinState, Tensor]):
    """Three-operator splitting of ``f + g + h`` with ``f`` smooth, ``g`` and ``h`` proximable.

    ``p = prox_{t h}(x - t (u + grad f(x)))``, ``x+ = prox_{t g}(p + t u)``, ``u+ = u + (p - x+)/t``
    where ``u`` is a subgradient of ``g`` at ``x``. The sufficient-decrease test is made at ``p``.
    An iteration costs 1.5 passes, or 1 with :class:`ConstantStep`. The ridge is part of ``g``.

    ``x`` has the zeros that ``g`` induces, but those of ``h`` only in the limit. The point returned
    is therefore one proximal gradient step further, with the prox of ``g + h`` (in closed form or
    iterative): its objective is no larger, and it has the exact zeros of both penalties. That prox
    is computed only for certificates. The objective in the history is that of ``x``.

    Parameters
    ----------
    step_rule : Backtracking or ConstantStep

    References
    ----------
    Davis and Yin, "A three-operator splitting scheme and its optimization applications", 2017;
    Pedregosa and Gidel, "Adaptive three operator splitting", 2018.
    """

    step_rule: StepRule = field(default_factory=Backtracking)
    state_type = DavisYinState
    needs_curvature = False

    def check(self, problem: Problem) -> None:
        check_problem("DavisYin", problem)
        if len(problem.terms) > 2:
            names = " + ".join(type(term).__name__ for term in problem.terms)
            raise UnsupportedError(
                f"DavisYin splits two penalties, and the problem has {names}; use PDHG, which "
                "takes any number, or FISTA."
            )

    def init(self, problem: Problem, x0: Tensor) -> DavisYinState:
        problem.check_point(x0)
        rule, start = self.step_rule, None
        if rule.probes:
            start = linearized(problem, x0)
        step = first_step(problem, rule) if start is None else probed_step(problem, start)
        # start with a prox, so that the first penalty is finite and has a known subgradient
        x, _ = term_prox(problem, _ordered(problem)[0], x0, step, ridge=problem.ridge)
        dual = _without_intercept(problem, (x0 - x) / step)
        known = start if start is not None and torch.equal(x, x0) else None
        model = known or linearized(problem, x)
        value = self._objective(problem, model, step)
        return DavisYinState(
            0, value, False, 0.0, x, model.scores, model.value, model.grad, dual, step, False
        )

    def step(self, problem: Problem, state: DavisYinState) -> DavisYinState:
        first, second = _ordered(problem)
        model = Linearization(state.x, state.scores, state.smooth, state.grad)
        step, room = trial_step(state.step, self.step_rule, room=state.room), True
        while True:
            p, _ = term_prox(problem, second, state.x - step * (state.dual + state.grad), step)
            if not self.step_rule.verifies:
                break
            scores = problem.scores(p)
            accepted, room = sufficient_decrease(
                problem, model, p, scores, step, rule=self.step_rule
            )
            if accepted:
                break
            step *= self.step_rule.shrink
        ahead = p + step * state.dual
        x, _ = term_prox(problem, first, ahead, step, ridge=problem.ridge)
        dual = _without_intercept(problem, (ahead - x) / step)
        new = linearized(problem, x)
        return DavisYinState(
            iteration=state.iteration + 1,
            objective=self._objective(problem, new, step),
            stalled=torch.equal(x, state.x) and torch.equal(dual, state.dual),
            passes=state.passes,
            x=x,
            scores=new.scores,
            smooth=new.value,
            grad=new.grad,
            dual=dual,
            step=step,
            room=room,
        )

    def check_resume(self, problem: Problem, state: DavisYinState) -> None:
        problem.check_point(state.x)
        check_scores(problem, state.scores)

    def start_claim(self, problem: Problem, state: DavisYinState) -> float:  # noqa: ARG002
        return -math.inf  # the objective at the start is unknown: the first prox moved the point

    def solution(self, problem: Problem, state: DavisYinState) -> Tensor:
        return problem.prox(state.x - state.step * state.grad, state.step)[0]

    @staticmethod
    def _objective(problem: Problem, at: Linearization, step: float) -> float:
        """Objective at ``x``, or at :meth:`solution` if a penalty is infinite at ``x``."""
        value = objective_at(problem, at.z, at.scores)
        if value == math.inf:
            value = float(problem.objective(problem.prox(at.z - step * at.grad, step)[0]))
        return value


def _ordered(problem: Problem) -> tuple[Regularizer | None, Regularizer | None]:
    """The two penalties; an indicator first, so that the iterates stay in its set."""
    ordered = sorted(problem.terms, key=lambda term: not term.is_constraint)
    first, second, *_ = [*ordered, None, None]
    return first, second


def _without_intercept(problem: Problem, dual: Tensor) -> Tensor:
    """Set the intercept row of a penalty's subgradient to exactly zero, without rounding errors."""
    penalised, bias = problem.design.split(dual)
    return problem.design.join(penalised, None if bias is None else torch.zeros_like(bias))
