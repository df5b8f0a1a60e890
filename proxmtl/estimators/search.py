"""Strengths chosen by cross-validation: every candidate on every fold, along warm paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit
from scipy.stats import rankdata
from torch import Tensor

from proxmtl.estimators.samples import Samples
from proxmtl.losses import Loss
from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer
from proxmtl.solvers import FISTA, NewtonCholesky, Solver, State
from proxmtl.targets import ClassWeight, Reduction

__all__ = [
    "SCORINGS",
    "Fold",
    "Searched",
    "folds_of",
    "followed",
    "given_splits",
    "joined",
    "scoring_of",
    "search",
]

Array = NDArray[Any]
S = TypeVar("S", bound=State)

SEARCH_ITERATIONS = 30
"""Iterations of a candidate on a fold, at most: ranks settle long before the optimum is reached."""
SEARCH_TOLERANCE = 3e-4
"""A candidate's descent ends when an iteration of Newton's method, or three of FISTA, lower its
objective by less than this share."""

# A search scores thousands of short vectors: these take microseconds where scikit-learn's checks
# take milliseconds. They are held to its functions by tests.


def _average_precision(labels: NDArray[np.bool_], values: Array) -> float:
    order = np.argsort(-values, kind="stable")
    found = np.cumsum(labels[order])
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)  # of equal values
    recall = found[last] / found[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * found[last] / (last + 1)))


def _roc_auc(labels: NDArray[np.bool_], values: Array) -> float:
    positives = int(labels.sum())
    ranks = rankdata(values)[labels].sum() - positives * (positives + 1) / 2
    return float(ranks / (positives * (len(labels) - positives)))


def _neg_log_loss(labels: NDArray[np.bool_], values: Array) -> float:
    return float(log_expit(np.where(labels, values, -values).astype(np.float64)).mean())


SCORINGS: dict[str, Callable[[Array, Array], float]] = {
    "average_precision": _average_precision,
    "roc_auc": _roc_auc,
    "neg_log_loss": _neg_log_loss,
}
"""Scores of one attribute on held-out rows, ``(labels, decision values)``; higher is better."""


def scoring_of(given: str | Callable[[Array, Array], float]) -> Callable[[Array, Array], float]:
    """Return a scoring by its name, or as it is given."""
    if callable(given):
        return given
    if given not in SCORINGS:
        raise ValueError(f"scoring: got {given!r}; use one of {', '.join(map(repr, SCORINGS))}.")
    return SCORINGS[given]


@dataclass(frozen=True)
class Fold:
    """One training part as a problem without a penalty, and the rows held out.

    Attributes
    ----------
    problem : Problem
        Of the attributes that have both classes in the training part.
    sample_weight : ndarray, shape (n,) or (n, M'), or None
        Of the training part; of its labels end to end where tasks have rows of their own.
    columns : ndarray of int, shape (M',)
        These attributes.
    test : ndarray of int
        Rows held out.
    X : Samples
        Their features, standardised with the training part's moments.
    """

    problem: Problem
    sample_weight: NDArray[np.float64] | None
    columns: NDArray[np.int64]
    test: NDArray[np.int64]
    X: Samples

    def scores(self, point: Tensor) -> Array:
        """Decision values of the rows held out, (n_test, M')."""
        weights, bias = self.problem.design.split(point)
        return self.X.scores(weights.numpy(), None if bias is None else bias.numpy(), self.columns)


@dataclass(frozen=True)
class Searched:
    """What the folds said.

    Attributes
    ----------
    scores : ndarray, shape (C, F, M)
        Score of each candidate, fold and attribute; NaN where the fold has no label to score it.
    held_out : ndarray of float32, shape (C, N, M)
        Decision values of each candidate for rows while they were held out; NaN elsewhere.
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
    cv: Any, signs: NDArray[np.float64], rows: NDArray[np.intp], n_given: int
) -> list[tuple[Array, Array]]:
    """Splits of a splitter, or pairs of row numbers, as numbers of the rows that are fitted.

    Parameters
    ----------
    cv
        A splitter, or pairs (train, test).
    signs
        Labels of the rows that are fitted, (N, M).
    rows
        Numbers of these among the rows that were given, which is what the splits count.
    n_given
        Number of rows that were given.
    """
    place = np.full(n_given, -1)
    place[rows] = np.arange(len(rows))
    if hasattr(cv, "split") and not isinstance(cv, str):
        labels = np.full((n_given, signs.shape[1]), np.nan)
        labels[rows] = signs
        splits = list(cv.split(place[:, None], labels[:, 0] if signs.shape[1] == 1 else labels))
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
    X: Samples,
    signs: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    splits: Sequence[tuple[Array, Array]],
    *,
    loss: Loss,
    fit_intercept: bool,
    standardize: bool,
    reduction: Reduction,
    class_weight: ClassWeight,
) -> Iterator[Fold]:
    """Pose the training part of each split; moments are those of the training part alone."""
    for train, test in splits:
        part = signs[train]
        columns = np.flatnonzero((part == 1).any(axis=0) & (part == -1).any(axis=0))
        if not len(columns):
            continue
        rows, held_out = X.rows(train), X.rows(test)
        own = None if weights is None else weights[train]
        if standardize:
            per_row = own.mean(axis=1) if own is not None and own.ndim == 2 else own
            moments = rows.moments(per_row)
            rows, held_out = rows.standardized(moments), held_out.standardized(moments)
        posed = rows.posed(
            part,
            own,
            intercept=fit_intercept,
            class_weight=class_weight,
            reduction=reduction,
            columns=columns,
        )
        problem = Problem(loss, posed.design, posed.targets)
        yield Fold(problem, posed.sample_weight, columns, np.asarray(test), held_out)


def search(
    folds: Iterator[Fold],
    signs: NDArray[np.float64],
    points: Callable[[Fold], Iterable[Tensor]],
    scoring: Callable[[Array, Array], float],
    *,
    n_folds: int,
    n_candidates: int,
) -> Searched:
    """Solve every candidate on every fold and score the rows held out.

    Parameters
    ----------
    folds
        The folds; one is held in memory at a time.
    signs
        Labels -1, +1 and NaN, (N, M).
    points
        Gives the solution of each candidate on a fold, in the same order for every fold: parameters
        of the fold's design. Made while the last is scored, so that warm starts cost no memory.
    scoring
        ``(labels in {0, 1}, decision values) -> float`` of one attribute; higher is better.
    n_folds, n_candidates
        Numbers of folds F and of candidates C.
    """
    n, n_attributes = signs.shape
    scores = held_out = None
    passes = 0.0
    for f, fold in enumerate(folds):
        if scores is None or held_out is None:
            scores = np.full((n_candidates, n_folds, n_attributes), np.nan)
            held_out = np.full((n_candidates, n, n_attributes), np.nan, dtype=np.float32)
        for c, point in zip(range(n_candidates), points(fold), strict=True):
            values = fold.scores(point)
            held_out[c][np.ix_(fold.test, fold.columns)] = values
            scores[c, f, fold.columns] = _scores(
                signs[np.ix_(fold.test, fold.columns)], values, scoring
            )
        passes += fold.problem.counts.passes * fold.problem.targets.labels.shape[0] / n
    if scores is None or held_out is None:
        raise ValueError("cv: no training part has both classes of an attribute; use fewer folds.")
    if np.isnan(scores).any(axis=0).all():
        raise ValueError(
            "cv: no fold holds out both classes of an attribute that its training part has too; "
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


def _scores(
    signs: NDArray[np.float64], values: Array, scoring: Callable[[Array, Array], float]
) -> NDArray[np.float64]:
    """Score of each attribute, NaN where the rows held out do not show both of its classes."""
    out = np.full(signs.shape[1], np.nan)
    for m, (y, z) in enumerate(zip(signs.T, values.T, strict=True)):
        seen = ~np.isnan(y)
        labels = y[seen] > 0
        if labels.any() and not labels.all():
            out[m] = scoring(labels, z[seen])
    return out
