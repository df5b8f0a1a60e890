"""Checks before the first iteration that a problem has what a solver needs."""

from __future__ import annotations

from typing import Protocol

import torch

from proxmtl.designs import Design
from proxmtl.losses import Loss
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError

__all__ = ["check_curvature", "check_first", "check_problem", "lacking_curvature"]


class OnFeatures(Protocol):
    """Any problem with a design."""

    @property
    def design(self) -> Design:
        """The design."""


def check_problem(solver: str, problem: object, *, nonconvex: bool = False) -> None:
    """Raise ``UnsupportedError`` unless a solver can take the problem; name solvers that can.

    Parameters
    ----------
    solver : str
        Name of the solver, for the message.
    problem : object
        Must be a :class:`Problem`.
    nonconvex : bool
        Whether the solver takes penalties that are not convex.
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


def lacking_curvature(loss: Loss) -> str:
    """What a loss lacks for Newton steps of each task, as text; empty if nothing."""
    if loss.coupled:
        return f"needs tasks of their own, and {type(loss).__name__} couples them"
    return "" if loss.curved else f"needs curvature, and {type(loss).__name__} is linear far out"


def check_curvature(problem: OnFeatures, curvature: float) -> float:
    """Return a curvature, if steps of one over it are representable in the working precision.

    Neither the curvature nor its inverse, nor their squares, in which gradients and moves are
    measured, may overflow or be subnormal. Zero (all features are zero) is accepted.

    Raises
    ------
    ValueError
        If the curvature is out of range: the features are far too large or too small.
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
    """Return a user's first step, if it is a normal number in the working precision.

    Raises
    ------
    ValueError
        If it is not. Whether the step is a useful one is not checked.
    """
    info = torch.finfo(problem.design.dtype)
    if not info.tiny <= first <= info.max:
        raise ValueError(
            f"first: got {first:g}; in {info.dtype} a step must lie between {info.tiny:.3g} and "
            f"{info.max:.3g}. Leave it out to have one found."
        )
    return first
