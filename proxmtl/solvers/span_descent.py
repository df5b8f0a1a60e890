"""FISTA for penalties of the singular values, along regularization paths, in a cheap span."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from proxmtl.counts import OutOfPassesError
from proxmtl.solvers.newton_cholesky import NewtonDescent
from proxmtl.solvers.proximal import ROUNDING, lipschitz_step, probe_length, probed_curvature
from proxmtl.solvers.spans import Point, Span, Spectral
from proxmtl.solvers.steps import Backtracking

__all__ = ["Descent", "ahead", "descended", "penalty_at"]

S = TypeVar("S", "Descent", NewtonDescent)

ITERATIONS = 30
"""Maximum number of iterations of a descent; the rank converges long before the objective."""
TOLERANCE = 3e-4
"""A descent ends when one iteration of Newton's method, or three of FISTA, lower its objective by
less than this fraction."""


@dataclass(frozen=True)
class Descent:
    """State of FISTA with restart and backtracking on a span; see :class:`proxmtl.FISTA`."""

    span: Span
    penalty: Spectral
    point: Point
    objective: float
    step: float
    previous: Point
    momentum: float = 1.0
    room: bool = False
    stalled: bool = False

    @classmethod
    def start(
        cls, span: Span, penalty: Spectral, point: Point, step: float | None = None
    ) -> Descent:
        """State at a point; without a given step, a probe determines the first one."""
        value = penalty_at(penalty, point)
        step = _probed(span, point) if step is None else step
        return cls(span, penalty, point, span.loss(point) + value, step, point)

    def advanced(self) -> Descent:
        """One iteration."""
        span, rule = self.span, Backtracking()
        data = span.data
        step = self.step * (rule.growth if self.room else 1.0)
        while True:
            theta = (1 + math.sqrt(1 + 4 * self.momentum**2 * self.step / step)) / 2
            beta = (self.momentum - 1) / theta
            z = self.previous.towards(self.point, 1 + beta) if beta else self.point
            ahead = span.moved(z, span.gradient(z), step)
            new, penalty = span.prox(self.penalty, ahead, step)
            move = z.along(new, new)
            bregman = data.bregman(new.seen, z.seen)
            bound = move / (2 * step)
            accepted = not bregman > bound
            if not accepted:  # its rounding error takes another evaluation of the loss
                error = data.bregman_error(z.seen, float(data.value(z.seen)))
                accepted = not bregman > bound + error
            rounding = ROUNDING * torch.finfo(new.weights.dtype).eps
            if accepted or not math.isfinite(bregman) or move <= rounding**2 * new.squared:
                break
            step *= rule.shrink
        restart = -new.along(z, self.point) > 0
        return replace(
            self,
            point=new,
            objective=span.loss(new) + penalty,
            step=step,
            previous=new if restart else self.point,
            momentum=1.0 if restart else theta,
            room=bregman <= bound / rule.growth,
            stalled=move == 0,
        )


def penalty_at(penalty: Spectral, point: Point) -> float:
    """Value of a spectral penalty at a point."""
    gram = point.weights.to(torch.float64).T @ point.paired.to(torch.float64)
    return penalty.factor(gram, 0.0)[1]


def _probed(span: Span, point: Point) -> float:
    """First step, from a probe along the gradient: see :mod:`proxmtl.solvers.proximal`."""
    grad = span.slope(point)
    size = math.sqrt(max(grad.squared, 0.0))
    length = probe_length(span.problem, span.loss(point), size)
    if length == 0:
        return lipschitz_step(span.problem)
    there = point._replace(seen=point.seen - length * span.seen(grad).seen)
    change = math.sqrt(max(grad.along(*[span.slope(there)] * 2), 0.0))
    return 1 / probed_curvature(span.problem, length, size, change)


def ahead(found: list[tuple[float, Any]], strength: float, name: str) -> Any:
    """Extrapolate the last two solutions of a path to a strength, linearly in its logarithm.

    Returns the last solution if both are of the same strength.
    """
    (at, state) = found[-1]
    point = getattr(state, name)
    if len(found) < 2 or at == found[-2][0]:
        return point
    at_first, first = found[-2]
    beta = math.log(strength / at) / math.log(at / at_first)
    return getattr(first, name).towards(point, 1 + beta)


def descended(state: S, *, steps: int, most: float = ITERATIONS, tolerance: float = TOLERANCE) -> S:
    """Iterate until ``steps`` iterations lower the objective by at most ``tolerance`` (relative).

    Also ends after ``most`` iterations, or when the limit of passes is reached.
    """
    objectives = [state.objective]
    while len(objectives) <= most and not state.stalled:
        try:
            state = state.advanced()
        except OutOfPassesError:
            break
        objectives.append(state.objective)
        if len(objectives) > steps:
            fall = objectives[-1 - steps] - objectives[-1]
            if 0 <= fall <= tolerance * abs(objectives[-1]):
                break
    return state
