"""Approximate solutions along a regularization path, with warm starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer, SharedPlusOwn, SquaredFrobenius
from proxmtl.solvers import NewtonCholesky
from proxmtl.solvers.newton_cholesky import NewtonDescent
from proxmtl.solvers.span_descent import Descent, ahead, descended
from proxmtl.solvers.spans import labelled, span_of

__all__ = ["alone_beside", "followed"]


def followed(
    problem: Problem,
    path: Sequence[SquaredFrobenius | SharedPlusOwn],
    alone: Tensor | None = None,
) -> Iterator[Tensor]:
    """Solve the problem approximately for each penalty of a path, without certificates.

    Solutions are nearly linear in the logarithm of the strength, so each descent starts from the
    linear extrapolation of the last two solutions.

    Parameters
    ----------
    problem : Problem
        Without a penalty.
    path : sequence of Regularizer
        In order of decreasing strength.
    alone : Tensor, optional
        For a path of :class:`SharedPlusOwn`: the minimiser with the ridge on own parts only. It is
        the start, and remains the solution as long as nothing is shared.

    Yields
    ------
    Tensor
        Parameter of the problem for each penalty.
    """
    view = labelled(problem).in_units()
    newton = NewtonCholesky()
    if path and all(newton.is_cheaper(view.with_regularizers(penalty)) for penalty in path):
        solved: list[tuple[float, NewtonDescent]] = []
        for penalty in path:
            each = view.with_regularizers(penalty)
            start = (
                NewtonDescent.start(each, ahead(solved, penalty.strength, "at"))
                if solved
                else NewtonDescent.from_zero(each)
            )
            solved = [*solved[-1:], (penalty.strength, descended(start, steps=1))]
            yield view.outside(solved[-1][1].at.point(each)[0])
        return
    span = span_of(problem)
    view = span.problem
    zero = view.zeros()
    if alone is not None:
        inside = view.inside(alone)
        # for features near the limits of float32 the weights may overflow: no valid start
        zero, alone = (inside, alone) if bool(torch.isfinite(inside).all()) else (zero, None)
    found: list[tuple[float, Descent]] = []
    for penalty in path:
        if alone is not None and not found and _shares_nothing(view, penalty, zero):
            yield alone
            continue
        begun = (
            Descent.start(span, penalty, ahead(found, penalty.strength, "point"), found[-1][1].step)
            if found
            else Descent.start(span, penalty, span.at(zero))
        )
        found = [*found[-1:], (penalty.strength, descended(begun, steps=3))]
        yield view.outside(span.parameter(found[-1][1].point))


def alone_beside(problem: Problem, penalty: Regularizer, passes: float) -> Tensor | None:
    """Start of a fit with sharing: an approximate minimiser with own parts only.

    None if exact Newton steps do not find it within half of ``passes``: any other start would not
    make an accelerated method faster.
    """
    if not isinstance(penalty, SharedPlusOwn):
        return None
    ridge = SquaredFrobenius(penalty.strength * penalty.own)
    if not NewtonCholesky().is_cheaper(problem.with_regularizers(ridge), passes / 2):
        return None
    (found,) = followed(problem, [ridge])
    return found


def _shares_nothing(problem: Problem, penalty: Regularizer, point: Tensor) -> bool:
    return isinstance(penalty, SharedPlusOwn) and not penalty.rank(problem.design.split(point)[0])
