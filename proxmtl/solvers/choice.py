"""The default solver of a convex problem."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.solvers.base import Solver
from proxmtl.solvers.coordinate_newton import CoordinateNewton
from proxmtl.solvers.fista import FISTA
from proxmtl.solvers.mfista import MFISTA
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
    """Return the solver that is expected to take the least time.

    For a loss plus a ridge on shared features, :class:`NewtonCholesky` if it takes fewer operations
    by a cost model, else :class:`LBFGS`. For an L1 penalty on sparse features
    :class:`CoordinateNewton`, unless its loops can't be compiled (numba is missing or fails, or
    another backend was asked for). For all other problems :class:`FISTA`, which takes every
    convex penalty, and :class:`MFISTA` for penalties that are not convex. The choice depends on the
    problem and these packages, not on the speed of the machine.

    Parameters
    ----------
    problem : Problem
    tolerance : float
        Requested relative duality gap; 0 if it is not known.
    most : float
        Limit of the passes of the solve.
    state : State, optional
        State of a run to be resumed; the solver is then the one that made it.
    """
    newton, quasi = NewtonCholesky(), LBFGS(tolerance=tolerance)
    sparse = CoordinateNewton(tolerance=tolerance)
    for solver in (newton, quasi, sparse, FISTA(), MFISTA()):
        if isinstance(state, solver.state_type):
            return solver
    if newton.is_cheaper(problem, most):
        return newton
    if LBFGS.serves(problem):
        return quasi
    if CoordinateNewton.serves(problem):
        return sparse
    bent = not all(term.is_convex for term in getattr(problem, "terms", ()))
    return MFISTA() if bent else FISTA()
