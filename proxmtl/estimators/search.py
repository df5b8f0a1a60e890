"""Cross-validation of candidate strengths: folds, solutions on them, and their scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxmtl.estimators.clusters import groups_for
from proxmtl.estimators.grouping import part_of
from proxmtl.estimators.labels import EncodedLabels, TargetUnits
from proxmtl.estimators.racing import promising
from proxmtl.estimators.samples import Samples
from proxmtl.estimators.scales import Scale, Training
from proxmtl.estimators.scoring import Score
from proxmtl.estimators.watch import Watch
from proxmtl.groups import Groups
from proxmtl.losses import Huber, Loss
from proxmtl.problem import Problem
from proxmtl.targets import Reduction

__all__ = ["Fold", "GroupsOfFolds", "Searched", "folds_of", "given_splits", "joined", "search"]

logger = logging.getLogger(__name__)

Array = NDArray[Any]


@dataclass(frozen=True)
class Fold:
    """A training part, and the held-out rows.

    Attributes
    ----------
    training : Training
        Labels of the M' attributes that can be learnt from the training part.
    columns : ndarray of int, shape (M',)
        Indices of these attributes.
    units : TargetUnits or None
        Units of the training part's real labels, which its problems use.
    test : ndarray of int
        Indices of the held-out rows.
    X : Samples
        Features of the held-out rows, standardised with the training part's moments.
    """

    training: Training
    columns: NDArray[np.intp]
    units: TargetUnits | None
    test: NDArray[np.int64]
    X: Samples

    @property
    def problem(self) -> Problem:
        """Problem of the training part, without a penalty."""
        return self.training.problem

    def scores(self, points: Iterable[Tensor]) -> Iterator[Array]:
        """Linear scores of the held-out rows at each of some points, (n_test, M').

        Points are taken one by one, to save memory; of features in files all at once, to save
        reads.
        """
        if self.X.streamed:
            found = [self.problem.design.split(point) for point in points]
            coef = np.concatenate([weights.numpy() for weights, _ in found], axis=1)
            together = np.split(self.X.scores(coef, None), len(found), axis=1)
            for values, (_, bias) in zip(together, found, strict=True):
                yield self._restored(values if bias is None else values + bias.numpy())
            return
        for point in points:
            weights, bias = self.problem.design.split(point)
            offset = None if bias is None else bias.numpy()
            yield self._restored(self.X.scores(weights.numpy(), offset, self.columns))

    def _restored(self, values: Array) -> Array:
        return values if self.units is None else self.units.restore(values)


@dataclass
class GroupsOfFolds:
    """Groups of a training part's attributes: the given ones, or clusters of that part (cached)."""

    given: Groups | None
    found: dict[bytes, Groups] = field(default_factory=dict)

    def __call__(self, fold: Fold) -> Groups:
        if self.given is not None:
            return part_of(self.given, fold.columns)
        rows = fold.test.tobytes()
        if rows not in self.found:
            self.found[rows] = groups_for("auto", fold.problem, fold.training.sample_weight, None)
        return self.found[rows]


@dataclass(frozen=True)
class Searched:
    """Result of a search over C candidates on F folds.

    Attributes
    ----------
    scores : ndarray, shape (C, F, M)
        Score of each candidate, fold and attribute; NaN if the fold has no labels for it.
    held_out : ndarray of float32, shape (C, N, M)
        Linear scores of the rows when they were held out; NaN otherwise.
    folds : ndarray of int, shape (C,)
        Number of folds on which each candidate was solved (always the first ones).
    passes : float
        Passes over the features of all rows.
    """

    scores: NDArray[np.float64]
    held_out: NDArray[np.float32]
    folds: NDArray[np.intp]
    passes: float

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Mask of the candidates that were solved on all folds, (C,); one of them is chosen."""
        complete: NDArray[np.bool_] = self.folds == self.folds.max()
        return complete

    @property
    def by_fold(self) -> NDArray[np.float64]:
        """Mean score in each fold, (C, F), over the attributes that all candidates there scored.

        NaN if there are none, or if the candidate was not solved on the fold.
        """
        means = np.full(self.scores.shape[:2], np.nan)
        for f in range(self.scores.shape[1]):
            solved = np.flatnonzero(self.folds > f)
            scored = ~np.isnan(self.scores[solved, f]).any(axis=0)
            if scored.any():
                means[solved, f] = self.scores[solved, f][:, scored].mean(axis=1)
        return means

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean score over folds, then over attributes, (C,).

        NaN for a candidate that was not solved on all folds.
        """
        complete = self.scores[self.complete]
        scored = ~np.isnan(complete).any(axis=0)
        count = scored.sum(axis=0)
        sums = np.where(scored, complete, 0.0).sum(axis=1)
        found = np.full(len(self.scores), np.nan)
        found[self.complete] = (sums[:, count > 0] / count[count > 0]).mean(axis=1)
        return found


def joined(first: Searched, second: Searched) -> Searched:
    """Concatenate the candidates of two searches over the same folds."""
    return Searched(
        np.concatenate([first.scores, second.scores]),
        np.concatenate([first.held_out, second.held_out]),
        np.concatenate([first.folds, second.folds]),
        first.passes + second.passes,
    )


def given_splits(
    cv: Any, values: NDArray[np.float64], rows: NDArray[np.intp], n_given: int
) -> list[tuple[Array, Array]]:
    """Convert a user's splits to indices of the fitted rows.

    Parameters
    ----------
    cv
        A splitter, or pairs (train, test) of indices of the given rows.
    values
        Labels of the fitted rows, (N, M).
    rows
        Indices of the fitted rows among the given ones.
    n_given
        Number of given rows.
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
    X: Samples,
    labels: EncodedLabels,
    splits: Sequence[tuple[Array, Array]],
    *,
    loss: Loss,
    fit_intercept: bool,
    spread: NDArray[np.float64] | None,
    reduction: Reduction,
    known: Sequence[dict[Scale, NDArray[np.float64] | None]],
) -> Iterator[Fold]:
    """Yield the fold of each split; moments and units are those of its training part.

    ``spread`` are the standard deviations of the features before they were standardised; None if
    they are as given, and stay so. ``known`` holds what is known of their relevance in each split.
    """
    for (train, test), relevance in zip(splits, known, strict=True):
        part = labels.part(train)
        columns = part.learnable
        if not len(columns):
            continue
        rows, held_out = X.rows(train), X.rows(test)
        own = spread
        if spread is not None:
            moments = rows.moments(part.per_row())
            rows, held_out = rows.standardized(moments), held_out.standardized(moments)
            own = spread * moments.scale
        part, units = part.part(slice(None), columns), None
        if part.coding == "real":
            units = part.units(centred=fit_intercept, robust=isinstance(loss, Huber))
            part = part.in_units(units)
        training = Training(rows, part, columns, own, loss, fit_intercept, reduction, relevance)
        yield Fold(training, columns, units, np.asarray(test), held_out)


def search(
    folds: Iterator[Fold],
    labels: EncodedLabels,
    points: Callable[[Fold, NDArray[np.bool_]], Iterable[Tensor]],
    score: Score,
    *,
    n_folds: int,
    race_of: NDArray[np.intp],
    rival: NDArray[np.float64] | None,
    watch: Watch,
    name: str,
) -> Searched:
    """Solve the candidates on the folds and score the held-out rows.

    A candidate that is clearly worse on the first folds than another one of its race, or than the
    rival, is not solved on the other folds (:func:`promising`).

    Parameters
    ----------
    folds
        The folds; only one is in memory at a time.
    labels
        Labels of all rows, (N, M).
    points
        Maps a fold and a mask of candidates (C,) to the solutions of these candidates in order:
        parameters of the fold's design. They are consumed one by one, to save memory.
    score
        Maps labels and linear scores of held-out rows to a score per attribute; higher is better.
    n_folds
        Number of folds F.
    race_of : ndarray of int, shape (C,)
        Index of each candidate's race.
    rival : ndarray, shape (F, M), or None
        Scores of the best candidate of an earlier search on these folds.
    watch, name
        What keeps finished folds, and the name of this search.
    """
    n, n_attributes = labels.numbers.shape
    n_candidates = len(race_of)
    kept, solved = np.ones(n_candidates, dtype=np.bool_), np.zeros(n_candidates, dtype=np.intp)
    scores = held_out = None
    passes = 0.0
    for f, fold in enumerate(folds):
        if scores is None or held_out is None:
            scores = np.full((n_candidates, n_folds, n_attributes), np.nan)
            held_out = np.full((n_candidates, n, n_attributes), np.nan, dtype=np.float32)
        logger.info("cross-validation, fold %d of %d", f + 1, n_folds)
        found = watch.kept(
            f"{name}-fold-{f}",
            fold.problem,
            partial(
                _scored, fold, kept, labels, held_out[:, fold.test], points=points, score=score
            ),
        )
        held_out[:, fold.test], scores[:, f] = found["held_out"].numpy(), found["scores"].numpy()
        passes += found["passes"] * fold.problem.targets.n_entries / n
        solved[kept] = f + 1
        kept = promising(
            scores[:, : f + 1], kept, race_of, None if rival is None else rival[: f + 1]
        )
    two = "both classes" if labels.coding == "signs" else "two different labels"
    if scores is None or held_out is None:
        raise ValueError(f"cv: no training part has {two} of an attribute; use fewer folds.")
    if np.isnan(scores[kept]).any(axis=0).all():
        raise ValueError(
            f"cv: no fold holds out {two} of an attribute that its training part has too; "
            "give fewer folds, or rows in another order."
        )
    return Searched(scores, held_out, solved, passes)


def _scored(
    fold: Fold,
    kept: NDArray[np.bool_],
    labels: EncodedLabels,
    held_out: NDArray[np.float32],
    *,
    points: Callable[[Fold, NDArray[np.bool_]], Iterable[Tensor]],
    score: Score,
) -> dict[str, Any]:
    """Scores of the held-out rows of a fold, (C, n, M), put into those given; and their score."""
    known = labels.numbers[np.ix_(fold.test, fold.columns)]
    scores = np.full((len(kept), labels.numbers.shape[1]), np.nan)
    for c, values in zip(np.flatnonzero(kept), fold.scores(points(fold, kept)), strict=True):
        held_out[c][:, fold.columns] = values
        scores[c, fold.columns] = score(known, values, fold.columns)
    return {
        "held_out": torch.from_numpy(held_out),
        "scores": torch.from_numpy(scores),
        "passes": fold.problem.counts.passes,
    }
