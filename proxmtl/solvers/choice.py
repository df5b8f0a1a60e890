"""Which solver a convex problem is given to where none is named."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.solvers.base import Solver
from proxmtl.solvers.fista import FISTA
from proxmtl.solvers.newton_cholesky import NewtonCholesky
from proxmtl.solvers.quasi_newton import LBFGS
from proxmtl.state import State

__all__ = ["solver_for"]


def solver_for(
    problem: Problem,
    *,
    tolerance: float = 0.0,
    most: float = math.inf,
    state: State | None = None,
) -> Solver[Problem, Any, Tensor]:
    """Return the solver that should take the least time.

    Of a loss plus a ridge on shared features, :class:`NewtonCholesky` where the cost model has its
    exact steps cheaper, else :class:`LBFGS`. :class:`FISTA`, which takes every convex penalty, for
    the rest. The answer depends on the problem alone, not on the machine.

    Parameters
    ----------
    problem : Problem
    tolerance : float
        Relative duality gap that is asked for, if one is.
    most : float
        Passes that a solve may take.
    state : State, optional
        Of a run that is to be resumed: the solver is that which made it.
    """
    newton, quasi = NewtonCholesky(), LBFGS(tolerance=tolerance)
    for solver in (newton, quasi, FISTA()):
        if isinstance(state, solver.state_type):
            return solver
    if newton.is_cheaper(problem, most):
        return newton
    return quasi if LBFGS.serves(problem) else FISTA()
