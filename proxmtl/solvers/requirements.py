"""What a solver of convex problems needs, asked before the first iteration."""

from __future__ import annotations

from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError

__all__ = ["check_problem"]


def check_problem(solver: str, problem: object, *, nonconvex: bool = False) -> None:
    """Raise ``UnsupportedError`` unless ``solver`` can take the problem; say which solvers can.

    Parameters
    ----------
    solver : str
        Name for the message.
    problem : object
        To be a :class:`Problem`.
    nonconvex : bool
        The solver takes penalties that are not convex.
    """
    if not isinstance(problem, Problem):
        raise UnsupportedError(
            f"{solver} takes a Problem, not a {type(problem).__name__}; use LatentMTL, or PANOC or "
            "PALM, for a problem in blocks."
        )
    bent = [type(term).__name__ for term in problem.terms if not term.is_convex]
    if bent and not nonconvex:
        raise UnsupportedError(
            f"{solver} needs a convex penalty, and {', '.join(bent)} is not; use PGD, MFISTA or "
            "ProxNewton, which descend monotonically to a stationary point."
        )
