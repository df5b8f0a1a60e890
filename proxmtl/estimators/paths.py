"""Points near the minimisers along a path of penalties, each found from those before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer, SharedPlusOwn, SquaredFrobenius
from proxmtl.solvers import FISTA, LBFGS, NewtonCholesky, Solver, State
from proxmtl.solvers.fista import FISTAState
from proxmtl.solvers.proximal import extrapolated

__all__ = ["alone_beside", "followed"]

S = TypeVar("S", bound=State)

ITERATIONS = 30
"""Of a descent, at most: ranks settle long before the optimum is reached."""
TOLERANCE = 3e-4
"""A descent ends when an iteration of Newton's method, or three of FISTA, lower its objective by
less than this share."""


def followed(
    problem: Problem,
    path: Sequence[SquaredFrobenius | SharedPlusOwn],
    alone: Tensor | None = None,
) -> Iterator[Tensor]:
    """Descend to each penalty of a path until the objective hardly falls, without a certificate.

    A solution moves nearly evenly with the logarithm of the strength, so that a descent starts from
    where the last two solutions point.

    Parameters
    ----------
    problem : Problem
        Without a penalty.
    path : sequence of Regularizer
        From the strongest on.
    alone : Tensor, optional
        Minimiser with the own parts of the path alone, for a path of :class:`SharedPlusOwn`. It is
        the start, and stays the solution as long as it leaves nothing to share.

    Yields
    ------
    Tensor
        Parameter of the problem, one for each penalty.
    """
    view = _labelled(problem).in_units()
    posed = [view.with_regularizers(penalty) for penalty in path]
    zero = view.zeros()
    if alone is not None:
        inside = view.inside(alone)
        # of features near the end of float32's range the weights overflow, and are no start
        zero, alone = (inside, alone) if bool(torch.isfinite(inside).all()) else (zero, None)
    for method, serves, steps in (
        (NewtonCholesky(), NewtonCholesky().is_cheaper, 1),
        (LBFGS(), LBFGS.serves, 3),
    ):
        if all(serves(each) for each in posed):
            yield from (view.outside(x) for x in _ridges(posed, method, zero, steps))
            return
    solver = FISTA()
    last: tuple[float, FISTAState] | None = None
    before: tuple[float, FISTAState] | None = None
    for each, penalty in zip(posed, path, strict=True):
        if alone is not None and last is None and _shares_nothing(each, penalty, zero):
            yield alone
            continue
        start = (
            solver.init(each, zero)
            if last is None
            else _ahead(each, before, last, penalty.strength)
        )
        before, last = last, (penalty.strength, _descended(each, solver, start, steps=3))
        yield view.outside(last[1].x)


def _ridges(
    posed: Sequence[Problem], solver: NewtonCholesky | LBFGS, start: Tensor, steps: int
) -> Iterator[Tensor]:
    """Points near the minimisers of ridges; what is kept of the features serves all of them."""
    state: Any = None
    for each in posed:
        state = solver.init(each, start) if state is None else solver.resumed(each, state)
        state = _descended(each, solver, state, steps=steps)
        yield state.x


def alone_beside(problem: Problem, penalty: Regularizer, passes: float) -> Tensor | None:
    """A start for a shared fit: near the minimiser with its own parts alone.

    None where exact steps do not find it within half of so many passes: from elsewhere an
    accelerated method is as fast.
    """
    if not isinstance(penalty, SharedPlusOwn):
        return None
    ridge = SquaredFrobenius(penalty.strength * penalty.own)
    if not NewtonCholesky().is_cheaper(problem.with_regularizers(ridge), passes / 2):
        return None
    (found,) = followed(problem, [ridge])
    return found


def _labelled(problem: Problem) -> Problem:
    """The problem on the rows that have a label: these are all that counts."""
    targets, design = problem.targets, problem.design
    observed = targets.weights > 0
    rows = torch.nonzero(observed if observed.ndim == 1 else observed.any(1)).flatten()
    if len(rows) == len(targets.weights):
        return problem
    part = design.take(rows)
    part.share = design.share * len(rows) / len(targets.weights)
    other = Problem(problem.loss, part, targets.take(rows))
    other.counts = problem.counts
    return other


def _shares_nothing(problem: Problem, penalty: Regularizer, point: Tensor) -> bool:
    return isinstance(penalty, SharedPlusOwn) and not penalty.rank(problem.design.split(point)[0])


def _ahead(
    problem: Problem,
    before: tuple[float, FISTAState] | None,
    last: tuple[float, FISTAState],
    strength: float,
) -> FISTAState:
    """Start of a descent, with the last one's step: no product, since scores are linear."""
    at, state = last
    x, scores = state.x, state.scores
    if before is not None:
        at_first, first = before
        beta = math.log(strength / at) / math.log(at / at_first)
        x, scores = extrapolated(first.x, x, beta), extrapolated(first.scores, scores, beta)
    return FISTA().start(problem, x, scores, state.step)


def _descended(problem: Problem, solver: Solver[Problem, S, Tensor], state: S, *, steps: int) -> S:
    """Iterate until the objective falls by a small part in so many steps."""
    objectives = [state.objective]
    while len(objectives) <= ITERATIONS and not state.stalled:
        state = solver.step(problem, state)
        objectives.append(state.objective)
        if len(objectives) > steps:
            fall = objectives[-1 - steps] - objectives[-1]
            if 0 <= fall <= TOLERANCE * abs(objectives[-1]):
                break
    return state
