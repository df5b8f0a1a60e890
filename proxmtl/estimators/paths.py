"""Points near the minimisers along a path of penalties, each found from those before."""

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
    """Descend to each penalty of a path until the objective hardly falls, without a certificate.

    A solution moves nearly evenly with the logarithm of the strength, so that a descent starts from
    where the last two solutions point.

    Parameters
    ----------
    problem : Problem
        Without a penalty.
    path : sequence of Regularizer
        From the strongest on.
    alone : Tensor, optional
        Minimiser with the own parts of the path alone, for a path of :class:`SharedPlusOwn`. It is
        the start, and stays the solution as long as it leaves nothing to share.

    Yields
    ------
    Tensor
        Parameter of the problem, one for each penalty.
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
        # of features near the end of float32's range the weights overflow, and are no start
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
    """A start for a shared fit: near the minimiser with its own parts alone.

    None where exact steps do not find it within half of so many passes: from elsewhere an
    accelerated method is as fast.
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
