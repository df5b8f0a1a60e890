"""A point of a path from the last one, by solves on the few features that matter there."""

from __future__ import annotations

import time
from typing import NamedTuple

from torch import Tensor

from proxmtl.minimization import minimize
from proxmtl.problem import Problem
from proxmtl.ranks import ALONE
from proxmtl.result import Certificate
from proxmtl.solvers.choice import choose
from proxmtl.solvers.working_set import can_restrict, restrict_features, select_working_set
from proxmtl.stopping import MaxIterations, RelativeGap, Stop

__all__ = ["SetSolve", "goal_of", "solve_on_sets"]

SMALLEST = 50
"""Zero rows in a working set, at least."""
ROUNDS = 4
"""Working sets that are tried before the solver has all features."""
FINER = 0.3
"""Share of the relative gap that a solve on a working set may leave."""


class SetSolve(NamedTuple):
    """Where solves on working sets have led, and what they took."""

    solution: Tensor
    certificate: Certificate | None
    """Of the solution, all features considered; None if the start is returned as it was."""
    reached: bool
    iterations: int
    passes: float
    seconds: float


def goal_of(problem: Problem, stop: Stop | None) -> float | None:
    """Relative gap to solve to on working sets, or None where the default solver is to do it all.

    It is where that chooses working sets itself, where a penalty has no gap or doesn't keep zero
    rows at zero, and where a rule asks for anything but a relative gap.
    """
    if not (stop is None or isinstance(stop, RelativeGap)) or problem.data.ranks is not ALONE:
        return None
    if not problem.has_gap or not can_restrict(problem):
        return None
    goal = 1e-6 if stop is None else stop.tolerance
    return None if choose(problem, tolerance=goal).solver.state_type.estimates else goal


def solve_on_sets(problem: Problem, start: Tensor, goal: float) -> SetSolve:
    """Solve on growing working sets until the gap of the whole problem is at most a goal.

    Ends without that where a set would hold more than half of the features, or after some rounds.

    Parameters
    ----------
    problem : Problem
        For which :func:`goal_of` gives a goal.
    start : Tensor
        A point near the solution with few non-zero rows, such as that of a larger strength.
    goal : float
        Relative duality gap.
    """
    begin, before = time.perf_counter(), problem.counts.passes
    x, certificate, reached, iterations = start.to(problem.design.dtype), None, False, 0
    for _ in range(ROUNDS):
        rows = select_working_set(problem, x, problem.scores(x), SMALLEST).rows
        if bool(rows.all()):
            break
        rule = RelativeGap(FINER * goal) | MaxIterations(2000)
        found = minimize(restrict_features(problem, rows), x0=x, stop=rule)
        x, iterations = found.solution, iterations + found.iterations
        certificate = problem.certificate(x)
        gap = certificate.relative_gap
        reached = gap is not None and gap <= goal
        if reached:
            break
    passes, seconds = problem.counts.passes - before, time.perf_counter() - begin
    return SetSolve(x, certificate, reached, iterations, passes, seconds)
