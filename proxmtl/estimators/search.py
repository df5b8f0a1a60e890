"""Strengths chosen by cross-validation: every candidate on every fold, along warm paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from proxmtl.arrays import as_float_tensor
from proxmtl.designs import SharedDesign
from proxmtl.estimators.labels import Labels, TargetUnits
from proxmtl.estimators.scoring import Score
from proxmtl.estimators.standardize import fit_standardization
from proxmtl.losses import Huber, Loss
from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer
from proxmtl.solvers import FISTA, NewtonCholesky, Solver, State
from proxmtl.targets import Reduction

__all__ = ["Fold", "Searched", "folds_of", "followed", "given_splits", "joined", "search"]

Array = NDArray[Any]
S = TypeVar("S", bound=State)

SEARCH_ITERATIONS = 30
"""Iterations of a candidate on a fold, at most: ranks settle long before the optimum is reached."""
SEARCH_TOLERANCE = 3e-4
"""A candidate's descent ends when an iteration of Newton's method, or three of FISTA, lower its
objective by less than this share."""


@dataclass(frozen=True)
class Fold:
    """One training part as a problem without a penalty, and the rows held out.

    Attributes
    ----------
    problem : Problem
        Of the attributes that can be learnt from the training part.
    labels : Labels
        Of the training part, (n, M'); real ones in units of their own.
    units : TargetUnits or None
        These units.
    columns : ndarray of int, shape (M',)
        These attributes.
    test : ndarray of int
        Rows held out.
    X : ndarray, shape (n_test, D)
        Their features, standardised with the training part's moments.
    """

    problem: Problem
    labels: Labels
    units: TargetUnits | None
    columns: NDArray[np.intp]
    test: NDArray[np.int64]
    X: Array

    def scores(self, point: Tensor) -> Array:
        """Scores of the rows held out, (n_test, M')."""
        weights, bias = self.problem.design.split(point)
        values: Array = self.X @ weights.numpy()
        values = values if bias is None else values + bias.numpy()
        return values if self.units is None else self.units.restore(values)


@dataclass(frozen=True)
class Searched:
    """What the folds said.

    Attributes
    ----------
    scores : ndarray, shape (C, F, M)
        Score of each candidate, fold and attribute; NaN where the fold has no label to score it.
    held_out : ndarray of float32, shape (C, N, M)
        Scores that each candidate gave rows while they were held out; NaN elsewhere.
    passes : float
        Passes over the features, in units of all rows.
    """

    scores: NDArray[np.float64]
    held_out: NDArray[np.float32]
    passes: float

    @property
    def by_fold(self) -> NDArray[np.float64]:
        """Mean over the attributes in each fold, (C, F): those scored by every candidate.

        NaN for a fold that scores none.
        """
        scored = ~np.isnan(self.scores).any(axis=0)
        counted = np.where(scored, self.scores, 0.0)
        count = scored.sum(axis=1)
        means: NDArray[np.float64] = counted.sum(axis=2) / np.where(count > 0, count, np.nan)
        return means

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean of each candidate over the folds of each attribute, then over attributes, (C,)."""
        scored = ~np.isnan(self.scores).any(axis=0)
        count = scored.sum(axis=0)
        sums = np.where(scored, self.scores, 0.0).sum(axis=1)
        found: NDArray[np.float64] = (sums[:, count > 0] / count[count > 0]).mean(axis=1)
        return found


def joined(first: Searched, second: Searched) -> Searched:
    """Candidates of two searches over the same folds."""
    return Searched(
        np.concatenate([first.scores, second.scores]),
        np.concatenate([first.held_out, second.held_out]),
        first.passes + second.passes,
    )


def given_splits(
    cv: Any, values: NDArray[np.float64], rows: NDArray[np.intp], n_given: int
) -> list[tuple[Array, Array]]:
    """Splits of a splitter, or pairs of row numbers, as numbers of the rows that are fitted.

    Parameters
    ----------
    cv
        A splitter, or pairs (train, test).
    values
        Labels of the rows that are fitted, (N, M).
    rows
        Numbers of these among the rows that were given, which is what the splits count.
    n_given
        Number of rows that were given.
    """
    place = np.full(n_given, -1)
    place[rows] = np.arange(len(rows))
    if hasattr(cv, "split") and not isinstance(cv, str):
        labels = np.full((n_given, values.shape[1]), np.nan)
        labels[rows] = values
        splits = list(cv.split(place[:, None], labels[:, 0] if values.shape[1] == 1 else labels))
    else:
        try:
            splits = [(np.asarray(train), np.asarray(test)) for train, test in cv]
        except (TypeError, ValueError):
            raise ValueError(
                f"cv: got {cv!r}; give a number of folds, a splitter, or pairs of row numbers "
                "(train, test)."
            ) from None
    if not splits:
        raise ValueError("cv: gave no split (an iterator gives its splits once; give a list).")
    parts = ((place[train], place[test]) for train, test in splits)
    return [(train[train >= 0], test[test >= 0]) for train, test in parts]


def folds_of(
    X: Array,
    labels: Labels,
    splits: Sequence[tuple[Array, Array]],
    *,
    loss: Loss,
    fit_intercept: bool,
    standardize: bool,
    reduction: Reduction,
) -> Iterator[Fold]:
    """Pose the training part of each split; moments and units are those of that part alone."""
    for train, test in splits:
        part = labels.part(train)
        columns = part.learnable
        if not len(columns):
            continue
        rows = X[train]
        held_out = X[test]
        if standardize:
            moments = fit_standardization(rows, part.per_row())
            rows, held_out = moments.apply(rows), moments.apply(held_out)
        part, units = part.part(slice(None), columns), None
        if part.coding == "real":
            units = part.units(centred=fit_intercept, robust=isinstance(loss, Huber))
            part = part.in_units(units)
        features = as_float_tensor("X", rows)
        targets = part.targets(reduction, features)
        problem = Problem(loss, SharedDesign(features, intercept=fit_intercept), targets)
        yield Fold(problem, part, units, columns, np.asarray(test), held_out)


def search(
    folds: Iterator[Fold],
    labels: Labels,
    points: Callable[[Fold], Iterable[Tensor]],
    score: Score,
    *,
    n_folds: int,
    n_candidates: int,
) -> Searched:
    """Solve every candidate on every fold and score the rows held out.

    Parameters
    ----------
    folds
        The folds; one is held in memory at a time.
    labels
        Of all rows, (N, M).
    points
        Gives the solution of each candidate on a fold, in the same order for every fold: parameters
        of the fold's design. Made while the last is scored, so that warm starts cost no memory.
    score
        Of labels and scores of rows held out, attribute by attribute; higher is better.
    n_folds, n_candidates
        Numbers of folds F and of candidates C.
    """
    n, n_attributes = labels.numbers.shape
    scores = held_out = None
    passes = 0.0
    for f, fold in enumerate(folds):
        if scores is None or held_out is None:
            scores = np.full((n_candidates, n_folds, n_attributes), np.nan)
            held_out = np.full((n_candidates, n, n_attributes), np.nan, dtype=np.float32)
        known = labels.numbers[np.ix_(fold.test, fold.columns)]
        for c, point in zip(range(n_candidates), points(fold), strict=True):
            values = fold.scores(point)
            held_out[c][np.ix_(fold.test, fold.columns)] = values
            scores[c, f, fold.columns] = score(known, values, fold.columns)
        passes += fold.problem.counts.passes * fold.problem.targets.labels.shape[0] / n
    two = "both classes" if labels.coding == "signs" else "two different labels"
    if scores is None or held_out is None:
        raise ValueError(f"cv: no training part has {two} of an attribute; use fewer folds.")
    if np.isnan(scores).any(axis=0).all():
        raise ValueError(
            f"cv: no fold holds out {two} of an attribute that its training part has too; "
            "give fewer folds, or rows in another order."
        )
    return Searched(scores, held_out, passes)


def followed(problem: Problem, path: Sequence[Regularizer]) -> Iterator[Tensor]:
    """Yield points near the minimisers along a path of penalties, each found from the last.

    Each is descended to until the objective hardly falls, without a certificate.
    """
    problem = problem.in_units()
    posed = [problem.with_regularizers(penalty) for penalty in path]
    newton = NewtonCholesky()
    if all(newton.is_cheaper(each) for each in posed):
        state = newton.init(posed[0], problem.zeros())
        for each in posed:
            state = _descended(each, newton, newton.resumed(each, state), steps=1)
            yield problem.outside(state.x)
        return
    solver, point = FISTA(), problem.zeros()
    for each in posed:
        point = _descended(each, solver, solver.init(each, point), steps=3).x
        yield problem.outside(point)


def _descended(problem: Problem, solver: Solver[Problem, S, Tensor], state: S, *, steps: int) -> S:
    """Iterate until the objective falls by a small part in so many steps."""
    objectives = [state.objective]
    while len(objectives) <= SEARCH_ITERATIONS and not state.stalled:
        state = solver.step(problem, state)
        objectives.append(state.objective)
        if len(objectives) > steps:
            fall = objectives[-1 - steps] - objectives[-1]
            if 0 <= fall <= SEARCH_TOLERANCE * abs(objectives[-1]):
                break
    return state
