"""Bases of solvers whose state holds a point and its scores, with or without a step length."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.solvers.base import Solver
from proxmtl.solvers.proximal import (
    Linearization,
    check_scores,
    linearized_at,
    looked_ahead,
    starting_step,
)
from proxmtl.solvers.steps import Backtracking, StepRule
from proxmtl.state import State

__all__ = ["PointSolver", "PointState", "StepSolver", "StepState"]


@dataclass
class PointState(State):
    """A point, which is the solution if the run ends there, and its scores."""

    x: Tensor
    scores: Tensor


P = TypeVar("P", bound=PointState)


class PointSolver(Solver[Problem, P, Tensor]):
    """Solver of convex problems with a :class:`PointState`."""

    def check_resume(self, problem: Problem, state: P) -> None:
        super().check_resume(problem, state)
        check_scores(problem, state.scores)

    def solution(self, problem: Problem, state: P) -> Tensor:  # noqa: ARG002
        return state.x


@dataclass
class StepState(PointState):
    """A point, its scores, and the length of the last step."""

    step: float
    room: bool
    """Whether a longer step would have passed the sufficient-decrease test."""
    ahead: tuple[Any, ...] | None = field(default=None, kw_only=True)
    """Fields of the :class:`Linearization` at the start of the next step, if known already."""


S = TypeVar("S", bound=StepState)


@dataclass(frozen=True)
class StepSolver(PointSolver[S]):
    """Base of solvers that take proximal gradient steps, of lengths set by a step rule."""

    step_rule: StepRule = field(default_factory=Backtracking)
    needs_curvature = False

    @abstractmethod
    def start(self, problem: Problem, x: Tensor, scores: Tensor, step: float) -> S:
        """State at a point whose scores are known, without momentum; takes no product."""

    def init(self, problem: Problem, x0: Tensor) -> S:
        problem.check_point(x0)
        x = x0.clone()
        scores, model = looked_ahead(problem, x, x, x, 0.0)
        step = starting_step(problem, self.step_rule, x, scores, model)
        return replace(self.start(problem, x, scores, step), ahead=model)

    def resumed(self, problem: Problem, state: S) -> S:
        """Without the linearization that was read ahead, unless it is one of this problem.

        Data may be the same and the loss or a smoothing another; then it would mislead one step.
        """
        if state.ahead is None:
            return state
        z, scores, value, _ = state.ahead
        if z.shape == state.x.shape and scores.shape == problem.data.shape:
            here = problem.data.value(scores) + problem.smooth_terms_value_and_grad(z)[0]
            if math.isclose(float(here), value, rel_tol=math.sqrt(torch.finfo(z.dtype).eps)):
                return state
        return replace(state, ahead=None)

    @staticmethod
    def model(problem: Problem, state: S, z: Tensor, scores: Tensor) -> Linearization:
        """Linearization at a point with known scores; costs half a pass, unless known already."""
        if state.ahead is not None and torch.equal(state.ahead[0], z):
            return Linearization(*state.ahead)
        return linearized_at(problem, z, scores)
