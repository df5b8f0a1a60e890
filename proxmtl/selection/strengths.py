"""Strengths of a problem's penalties: reading them, replacing them, and grids of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError

__all__ = ["check_increasing", "check_strengths", "geometric", "strength_grid", "with_strengths"]


def geometric(first: float, last: float, n: int) -> list[float]:
    """``n`` numbers from ``first`` to ``last`` with a constant ratio, both ends exact.

    Raises
    ------
    ValueError
        If ``n < 1`` or an end is not positive and finite.
    """
    if n < 1:
        raise ValueError(f"n: got {n}; a grid has at least one strength.")
    for end in (first, last):
        if not (math.isfinite(end) and end > 0):
            raise ValueError(f"strengths: got an end of {end}; it must be finite and > 0.")
    if n == 1:
        return [first]
    inner = [first * (last / first) ** (i / (n - 1)) for i in range(1, n - 1)]
    return [first, *inner, last]


def strength_grid(problem: Problem, n: int = 20, ratio: float = 1e-2) -> list[float]:
    """``n`` strengths of the non-smooth penalty, from the critical one down to ``ratio`` of it.

    At the first the solution is zero, at the second it is not (unless the loss says otherwise).

    Raises
    ------
    UnsupportedError
        If there is no non-smooth penalty, or its critical strength is not finite (a part of the
        parameter is left unpenalised) or zero (the labels do not depend on the features).
    ValueError
        If ``ratio`` is not in (0, 1).
    """
    if not 0 < ratio < 1:
        raise ValueError(f"ratio: got {ratio}; it must lie in (0, 1).")
    critical = problem.critical_strength()
    if not (math.isfinite(critical) and critical > 0):
        raise UnsupportedError(
            f"strengths: the critical strength of this problem is {critical}, there is no grid "
            "that starts from it; give the strengths."
        )
    return geometric(critical, ratio * critical, n)


def with_strengths(problem: Problem, strengths: float | Sequence[float]) -> Problem:
    """Return the problem with other strengths.

    Parameters
    ----------
    problem : Problem
    strengths : float or sequence of float
        One for each of ``problem.regularizers``, in their order; or a single number for the
        non-smooth one (where there is none: for the only one), the others being kept.

    Raises
    ------
    ValueError
        If the number of strengths is not that of the penalties.
    """
    terms = list(problem.regularizers)
    if isinstance(strengths, (int, float)):
        moving = list(problem.terms) or terms
        if len(moving) != 1:
            kind = "non-smooth penalties" if problem.terms else "squared norms"
            raise ValueError(
                f"strengths: got one number, and the problem has {len(moving)} {kind}; give a "
                f"strength for each of its {len(terms)} penalties."
            )
        new = [r.with_strength(float(strengths)) if r is moving[0] else r for r in terms]
        return problem.with_regularizers(new)
    given = [float(strength) for strength in strengths]
    if len(given) != len(terms):
        raise ValueError(
            f"strengths: got {len(given)}, the problem has {len(terms)} penalties; give one each."
        )
    pairs = zip(terms, given, strict=True)
    return problem.with_regularizers([term.with_strength(strength) for term, strength in pairs])


def check_strengths(strengths: Sequence[float]) -> list[float]:
    """Strengths as floats; ``ValueError`` unless there is one and all are finite and >= 0."""
    given = [float(strength) for strength in strengths]
    if not given or not all(math.isfinite(s) and s >= 0 for s in given):
        raise ValueError(f"strengths: got {given}; give at least one, finite and >= 0.")
    return given


def check_increasing(strengths: Sequence[float]) -> list[float]:
    """Strengths as floats; ``ValueError`` unless they are positive and strictly increasing."""
    given = check_strengths(strengths)
    if given[0] == 0 or any(b <= a for a, b in itertools.pairwise(given)):
        raise ValueError(
            f"strengths: got {given}; the factored model's path goes upwards from a positive "
            "strength, since a collapsed model stays collapsed."
        )
    return given
