"""``solver="auto"``: the solver of a convex problem where none is named."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from proxmtl.designs import SharedDesign
from proxmtl.designs.columns import sparse_columns
from proxmtl.designs.fused import FUSED
from proxmtl.naming import no_such
from proxmtl.problem import Problem
from proxmtl.solvers.base import SOLVERS, Solver
from proxmtl.solvers.block_newton import BlockNewton
from proxmtl.solvers.coordinate_newton import CoordinateNewton
from proxmtl.solvers.correlation import are_correlated
from proxmtl.solvers.fista import FISTA
from proxmtl.solvers.mfista import MFISTA
from proxmtl.solvers.newton_cholesky import NewtonCholesky
from proxmtl.solvers.pdhg import PDHG
from proxmtl.solvers.prox_newton import ProxNewton
from proxmtl.solvers.quasi_newton import LBFGS
from proxmtl.state import State

__all__ = ["TABLE", "Choice", "Row", "choose", "made", "named_solver"]


class Row(NamedTuple):
    """A solver in the table of ``"auto"``, and what is expected of it."""

    solver: type[Solver[Any, Any, Any]]
    reason: str
    """Why it is taken, as the end of a sentence on the problem."""
    every: int
    """Iterations between certificates: each step of Newton's method is worth one; two solvers ask
    for one themselves when they are done."""
    iterations: float
    """Typical number to a relative gap of 1e-6."""


TABLE = {
    "exact": Row(NewtonCholesky, "exact Newton steps take fewer operations", 1, 6),
    "ridge": Row(LBFGS, "smooth, and one approximate Gram matrix serves all tasks", 50, 30),
    "sparse": Row(CoordinateNewton, "coordinate descent on working sets", 50, 8),
    "blocks": Row(BlockNewton, "block coordinate descent on Gram matrices of working sets", 50, 4),
    "bent": Row(MFISTA, "monotone steps where the penalty is not convex", 10, 60),
    "overlap": Row(PDHG, "linear in the memberships, where a prox may take many sweeps", 10, 200),
    "large": Row(ProxNewton, "Newton steps on working sets of features beyond caches", 10, 40),
    "tall": Row(FISTA, "accelerated steps, with more labels of a task than features", 10, 30),
    "wide": Row(FISTA, "accelerated steps, with fewer labels of a task than features", 10, 120),
}
"""By class of problem. The first class that a problem belongs to counts, in this order."""


FASTER = 4
"""Operations of a Gram matrix in the time of one of a pass."""
A_STEP = 1e7
"""Operations of a Gram matrix in the time that an accelerated step takes beside its pass."""
A_LABEL = 700
"""The same of each label: its loss, at two points."""
LONGER = 6
"""Typical number of accelerated steps on correlated features, relative to that of the table."""


class Choice(NamedTuple):
    """The solver that is expected to take the least time, and why."""

    solver: Solver[Problem, Any, Tensor]
    reason: str
    row: Row
    """What is expected of it."""


def choose(
    problem: Problem,
    *,
    tolerance: float = 0.0,
    most: float = math.inf,
    state: State | None = None,
    begun: str | None = None,
) -> Choice:
    """Choose the solver that is expected to take the least time, by `TABLE`.

    For a loss plus a ridge on shared features, :class:`NewtonCholesky` if it takes fewer operations
    by a cost model, else :class:`LBFGS`. For an L1 penalty on sparse features
    :class:`CoordinateNewton`, unless its loops can't be compiled (numba is missing or fails, or
    another backend was asked for). For an L1 penalty or norms of rows on dense features
    :class:`BlockNewton`, under the same condition, if there is a single task, or one Gram matrix
    serves all (squared loss, no missing labels), or the features are correlated, and steps with
    small working sets take less time than typical accelerated ones. For an L1 penalty on large
    dense features of a single task, more than labels, :class:`ProxNewton`. For overlapping groups
    with many memberships :class:`PDHG`. For all other problems :class:`FISTA`, which takes every
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
        State of a run to be resumed; the solver is then the one that made it, with its defaults.
    begun : str, optional
        Class of the solver that has begun the run, where that is known without a state.
    """
    for row in TABLE.values():
        if isinstance(state, row.solver.state_type) or row.solver.__name__ == begun:
            return Choice(made(row.solver, tolerance), "it made the state to resume", row)
    kind = _class_of(problem, most)
    row = TABLE[kind]
    if kind == "blocks":
        solver: Solver[Any, Any, Any] = BlockNewton(tolerance, allowance=_allowance(problem))
    else:
        solver = made(row.solver, tolerance)
    return Choice(solver, f"{_named(problem)}: {row.reason}", row)


def _class_of(problem: Problem, most: float) -> str:
    """Key of the row of `TABLE` that a problem belongs to."""
    if NewtonCholesky().is_cheaper(problem, most):
        return "exact"
    if LBFGS.serves(problem):
        return "ridge"
    if CoordinateNewton.serves(problem):
        return "sparse"
    if not all(term.is_convex for term in getattr(problem, "terms", ())):
        return "bent"
    if PDHG.serves(problem):
        return "overlap"
    if _is_in_blocks(problem):
        return "blocks"
    weights = problem.design.split(problem.zeros())[0]
    return "large" if _is_large(problem, weights) else _shape(problem, weights)


def _is_in_blocks(problem: Problem) -> bool:
    able = BlockNewton(allowance=math.inf).pays(problem)  # the allowance looks at features
    return able and BlockNewton(allowance=_allowance(problem)).pays(problem)


def _shape(problem: Problem, weights: Tensor) -> str:
    """Class of accelerated steps, by the number of labels."""
    return "tall" if problem.data.n_observed >= weights.numel() else "wide"


def _allowance(problem: Problem) -> float:
    """Passes of Gram matrices that take as long as typical accelerated steps.

    On small problems these are mostly what they do beside their passes. If working sets turn out to
    be large, the solve then takes about twice as long as with accelerated steps alone.
    """
    assert isinstance(problem.design, SharedDesign)
    weights = problem.design.split(problem.zeros())[0]
    steps = TABLE[_shape(problem, weights)].iterations
    labels = math.prod(problem.data.shape)
    beside = (A_STEP + A_LABEL * labels) / (4 * labels * len(weights))
    return (FASTER + beside) * steps * (LONGER if are_correlated(problem.design) else 1)


def _is_large(problem: Problem, weights: Tensor) -> bool:
    """Whether the reads of features are what takes time, and few features will matter.

    That is so for an L1 penalty on dense features of a single task, more than labels, that exceed
    the caches: a working set does not.
    """
    design, R = problem.design, problem.regularizer
    if not isinstance(design, SharedDesign) or design.X.device.type != "cpu" or R is None:
        return False
    wide = weights.shape[1] == 1 and len(weights) > problem.data.shape[0]
    size = design.X.numel() * design.X.element_size()
    dense = design.X.layout == torch.strided and size >= FUSED
    return wide and dense and not problem.smooth_terms and R.as_elastic_net(weights) is not None


def named_solver(name: str, tolerance: float = 0.0) -> Solver[Any, Any, Any] | None:
    """Return the solver of a name with its defaults, in any case; None for ``"auto"``.

    Raises
    ------
    ValueError
        If no solver that is registered has this name.
    """
    known = {solver.lower(): kind for solver, kind in SOLVERS.items()}
    asked = name.lower().replace("_", "").replace("-", "")
    if asked == "auto":
        return None
    if asked not in known:
        raise ValueError(f"solver: {no_such(name, ['auto', *sorted(SOLVERS, key=str.lower)])}")
    return made(known[asked], tolerance)


def made(solver: type[Solver[Any, Any, Any]], tolerance: float) -> Solver[Any, Any, Any]:
    """Return a solver with its defaults, told the accuracy if it asks for it."""
    aims = hasattr(solver, "tolerance")
    return solver(tolerance=tolerance) if aims else solver()  # type: ignore[call-arg]


def _named(problem: Problem) -> str:
    """Penalties and features of a problem in words."""
    penalties = [type(term).__name__ for term in getattr(problem, "regularizers", ())]
    X = getattr(problem.design, "X", None)
    dense = not isinstance(X, Tensor) or X.layout == torch.strided
    kind = "dense" if dense and sparse_columns(problem.design) is None else "sparse"
    return f"{' + '.join(penalties) or 'no penalty'} on {kind} features"
