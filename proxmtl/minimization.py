"""The entry point for convex problems."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from proxmtl.arrays import as_float_tensor
from proxmtl.problem import Problem
from proxmtl.result import Result
from proxmtl.solvers.base import Callback, Solver
from proxmtl.solvers.choice import solver_for
from proxmtl.solvers.loop import run
from proxmtl.state import State
from proxmtl.stopping import MaxIterations, RelativeGap, RelativeKKT, Stop

__all__ = ["minimize"]


@torch.no_grad()
def minimize(
    problem: Problem,
    solver: Solver[Problem, Any, Tensor] | None = None,
    x0: Tensor | None = None,
    stop: Stop | None = None,
    *,
    tol: float | None = None,
    max_iter: int | None = None,
    state: State | None = None,
    callback: Callback | None = None,
) -> Result[Tensor]:
    """Minimise a problem and certify the answer.

    Parameters
    ----------
    problem : Problem
    solver : Solver, optional
        Default: that of least cost for the problem. Of a loss plus a ridge on shared features
        :class:`LBFGS`, or :class:`NewtonCholesky` where labels or features are few; of the rest,
        such as features of each task, :class:`FISTA`.
    x0 : Tensor, optional
        Start, the parameter's shape; default zero. Not modified.
    stop : Stop, optional
        Default ``RelativeGap(tol) | MaxIterations(max_iter)``, with ``RelativeKKT`` in place of the
        gap where the problem has none.
    tol : float, optional
        Relative accuracy of the default rule; default 1e-6.
    max_iter : int, optional
        Iterations of the default rule; default 2000.
    state : State, optional
        Resume from a previous result's ``state`` with the same problem and solver.
    callback : callable, optional
        Receives a :class:`Progress` after each iteration; a true return value stops.

    Returns
    -------
    Result
        ``solution``, ``status`` (a sentence), ``certificate`` measured at the solution, history.

    Raises
    ------
    ValueError
        If ``x0`` or ``state`` do not fit the problem, or ``tol`` or ``max_iter`` is given beside a
        ``stop``.
    UnsupportedError
        If the solver needs something the problem lacks; before the first iteration.
    """
    _check("solver", solver, Solver, "FISTA()")
    _check("stop", stop, Stop, "MaxIterations(100)")
    start = problem.zeros() if x0 is None else as_float_tensor("x0", x0).to(problem.design.dtype)
    problem.check_point(start)
    tolerance = 0.0
    if stop is None:
        tolerance = 1e-6 if tol is None else tol
        accuracy = (RelativeGap if problem.has_gap else RelativeKKT)(tolerance)
        stop = accuracy | MaxIterations(2000 if max_iter is None else max_iter)
    elif tol is not None or max_iter is not None:
        raise ValueError("tol, max_iter: are those of the default rule; put them into stop.")
    if solver is None:
        solver = solver_for(problem, tolerance=tolerance, most=stop.most_passes, state=state)
    return run(problem, solver, start, stop, state=state, callback=callback)


def _check(name: str, given: object, kind: type, example: str) -> None:
    if given is not None and not isinstance(given, kind):
        raise ValueError(
            f"{name}: got {given!r}; give a {kind.__name__} object, for example {example}."
        )
