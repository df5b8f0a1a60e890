"""What a solver of convex problems needs, asked before the first iteration."""

from __future__ import annotations

from typing import Protocol

import torch

from proxmtl.designs import Design
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError

__all__ = ["check_curvature", "check_first", "check_problem"]


class OnFeatures(Protocol):
    """A problem of any kind on the features of a design."""

    @property
    def design(self) -> Design:
        """The design."""


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


def check_curvature(problem: OnFeatures, curvature: float) -> float:
    """Return the curvature that a step is to be made of, if the working precision has room for it.

    Steps are of the size of one over it, and squares of gradients and moves of both: none may
    overflow, nor sink below the normal numbers. Zero (features that are all zero) passes.

    Raises
    ------
    ValueError
        If not: the features are far too large or too small.
    """
    info = torch.finfo(problem.design.dtype)
    least = info.tiny / info.eps
    if curvature != 0 and not least <= curvature <= 1 / least:
        raise ValueError(
            f"features: the curvature of the loss on them is {curvature:.3g}, and steps of one "
            f"over that overflow or vanish in {info.dtype}; rescale the features, such as by "
            "standardising them."
        )
    return curvature


def check_first(problem: OnFeatures, first: float) -> float:
    """Return a first step that was given, if it is a normal number in the working precision.

    Raises
    ------
    ValueError
        If not. Whether a step is of any use is another question.
    """
    info = torch.finfo(problem.design.dtype)
    if not info.tiny <= first <= info.max:
        raise ValueError(
            f"first: got {first:g}; in {info.dtype} a step must lie between {info.tiny:.3g} and "
            f"{info.max:.3g}. Leave it out to have one found."
        )
    return first
