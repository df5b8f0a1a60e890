"""The entry point for convex problems."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from proxmtl.arrays import as_float_tensor
from proxmtl.problem import Problem
from proxmtl.result import Result
from proxmtl.solvers.base import Callback, Solver
from proxmtl.solvers.checkpoints import Kept, Store, begun_by, resumed
from proxmtl.solvers.choice import choose, named_solver
from proxmtl.solvers.loop import run
from proxmtl.state import State
from proxmtl.stopping import MaxIterations, MaxPasses, RelativeGap, RelativeKKT, Stop

__all__ = ["minimize"]


@torch.no_grad()
def minimize(
    problem: Problem,
    solver: Solver[Problem, Any, Tensor] | str | None = "auto",
    x0: Tensor | None = None,
    stop: Stop | None = None,
    *,
    tol: float | None = None,
    max_iter: int | None = None,
    max_passes: float | None = None,
    state: State | None = None,
    callback: Callback | None = None,
    checkpoint: Store | None = None,
) -> Result[Tensor]:
    """Minimise the objective of a problem and certify the solution.

    Parameters
    ----------
    problem : Problem
    solver : Solver or str
        A solver, or the name of one with its defaults, such as ``"fista"``, in any case. "auto", or
        None: the solver expected to be fastest; ``result.solver_reason`` says why. For a loss plus
        a ridge on shared features that is :class:`LBFGS`, or :class:`NewtonCholesky` if labels or
        features are few; for an L1 penalty on sparse features :class:`CoordinateNewton`,
        and for one or for norms of rows on dense features :class:`BlockNewton`, if there is a
        single task, or the loss is squared and no label is missing, or features are many and
        correlated, where numba can compile them;
        for an L1 penalty on dense features of a single task, more than labels and too large for
        caches, else :class:`ProxNewton`; for penalties that are not convex :class:`MFISTA`;
        for all other problems (other penalties, features of each task) :class:`FISTA`. A run that
        is resumed goes on with the one of these that began it.
    x0 : Tensor, optional
        Starting point, in the shape of the parameter; default zero. Not modified.
    stop : Stop, optional
        Stopping rule. Default ``RelativeGap(tol) | MaxIterations(max_iter)``, with ``RelativeKKT``
        in place of ``RelativeGap`` for a problem without a duality gap (``result.why_no_gap``).
    tol : float, optional
        Relative accuracy in the default stopping rule; default 1e-6.
    max_iter : int, optional
        Maximum number of iterations in the default stopping rule; default 2000.
    max_passes : float, optional
        Maximum number of passes over the data in the default stopping rule; default: no limit.
    state : State, optional
        Resume from a previous result's ``state`` with the same problem and solver.
    callback : callable, optional
        Called with a :class:`Progress` after each iteration; a true return value stops the run.
    checkpoint : Checkpoint, optional
        Keeps the run in a folder, from which the same call goes on after an interruption
        (:class:`proxmtl.io.Checkpoint`).

    Returns
    -------
    Result
        With the ``solution``, its ``status``, its ``certificate`` and the ``history`` of the run.

    Raises
    ------
    ValueError
        If ``x0`` or ``state`` does not fit the problem, there is no solver of that name, ``tol``,
        ``max_iter`` or ``max_passes`` is given as well as ``stop``, or ``checkpoint`` as well as
        ``state``.
    InputError
        If the checkpoint is damaged or of another solve.
    UnsupportedError
        If the problem lacks something that the solver needs; raised before the first iteration.
    """
    if not hasattr(problem, "certificate"):
        seen = type(problem).__name__
        raise ValueError(f"problem: got a {seen}; make one by Problem.of(X, Y, penalties).")
    _check("stop", stop, Stop, "MaxIterations(100)")
    start = problem.zeros() if x0 is None else as_float_tensor("x0", x0).to(problem.design.dtype)
    problem.check_point(start)
    if tol is not None and not tol > 0:
        raise ValueError(f"tol: got {tol!r}; it must be > 0.")
    if max_iter is not None and not max_iter >= 1:
        raise ValueError(f"max_iter: got {max_iter!r}; it must be at least 1.")
    if stop is not None and any(each is not None for each in (tol, max_iter, max_passes)):
        raise ValueError(
            "tol, max_iter, max_passes: are those of the default rule; put them into stop."
        )
    tolerance = (1e-6 if tol is None else tol) if stop is None else 0.0
    named = named_solver(solver, tolerance) if isinstance(solver, str) else solver
    _check("solver", named, Solver, 'FISTA(), or "auto"')
    every, reason = 10, ""
    if named is None:
        most = stop.most_passes if stop is not None else max_passes or math.inf
        begun = begun_by(checkpoint, problem.data.ranks)
        chosen = choose(problem, tolerance=tolerance, most=most, state=state, begun=begun)
        named, reason, every = chosen.solver, chosen.reason, chosen.row.every
    if stop is None:
        accuracy = (RelativeGap if problem.has_gap else RelativeKKT)(tolerance, every=every)
        stop = accuracy | MaxIterations(2000 if max_iter is None else max_iter)
        if max_passes is not None:
            stop |= MaxPasses(max_passes)
    kept = Kept.of(checkpoint, named, problem.data, problem.regularizers)
    result = run(
        problem,
        named,
        start,
        stop,
        state=state,
        snapshot=resumed(kept, named, state),
        callback=callback,
        keeper=kept,
    )
    return replace(result, solver_reason=reason, why_no_gap=getattr(problem, "why_no_gap", ""))


def _check(name: str, given: object, kind: type, example: str) -> None:
    if given is not None and not isinstance(given, kind):
        raise ValueError(
            f"{name}: got {given!r}; give a {kind.__name__} object, for example {example}."
        )
