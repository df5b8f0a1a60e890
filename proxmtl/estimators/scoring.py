"""Scores of held-out rows, by name, for binary and for real labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit
from scipy.stats import rankdata

from proxmtl.estimators.labels import TargetUnits
from proxmtl.naming import no_such

__all__ = [
    "REAL_SCORINGS",
    "SCORINGS",
    "Score",
    "Scoring",
    "of_classes",
    "of_values",
    "r2",
    "scoring_of",
]

Array = NDArray[Any]
Scoring: TypeAlias = Callable[[Array, Array], float]
"""``(labels, scores) -> float`` of one attribute; higher is better."""
Score: TypeAlias = Callable[[Array, Array, NDArray[np.intp]], NDArray[np.float64]]
"""``(labels (n, M'), scores (n, M'), indices of these attributes) -> (M',)``; NaN: no score."""


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


SCORINGS: dict[str, Scoring] = {
    "average_precision": _average_precision,
    "roc_auc": _roc_auc,
    "neg_log_loss": _neg_log_loss,
}
"""Scores of one attribute on held-out rows, ``(labels, decision values)``; higher is better."""


def r2(values: Array, predicted: Array, weights: Array | None = None) -> float:
    """R² of one attribute, whose values must not all be equal."""
    deviations = values - values[0]  # the mean of labels far from zero would lose digits
    deviations = deviations - np.average(deviations, weights=weights)
    unit = np.abs(deviations).max()  # so that squares neither overflow nor underflow
    w = np.ones(len(values)) if weights is None else weights
    residual = np.sum(w * np.square((values - predicted) / unit))
    return float(1 - residual / np.sum(w * np.square(deviations / unit)))


def _neg_squared(values: Array, predicted: Array) -> float:
    return -float(np.square(values - predicted).mean())


def _neg_absolute(values: Array, predicted: Array) -> float:
    return -float(np.abs(values - predicted).mean())


REAL_SCORINGS: dict[str, Scoring] = {
    "r2": r2,
    "neg_mean_squared_error": _neg_squared,
    "neg_mean_absolute_error": _neg_absolute,
}
"""Scores of one attribute with real labels on held-out rows, ``(labels, predictions)``."""


def scoring_of(given: str | Scoring, known: Mapping[str, Scoring]) -> Scoring:
    """Return the scoring with this name, or a given callable."""
    if callable(given):
        return given
    if given not in known:
        raise ValueError(f"scoring: {no_such(given, known)}")
    return known[given]


def of_classes(scoring: Scoring) -> Score:
    """Make a `Score` of labels -1 and +1, passed on as 0 and 1; NaN unless both occur."""

    def score(signs: Array, values: Array, columns: NDArray[np.intp]) -> NDArray[np.float64]:
        del columns
        out = np.full(signs.shape[1], np.nan)
        for m, (y, z) in enumerate(zip(signs.T, values.T, strict=True)):
            seen = ~np.isnan(y)
            labels = y[seen] > 0
            if labels.any() and not labels.all():
                out[m] = scoring(labels, z[seen])
        return out

    return score


def of_values(scoring: Scoring, units: TargetUnits | None) -> Score:
    """Make a `Score` of real labels; NaN unless two different ones occur.

    Parameters
    ----------
    scoring
        Score of one attribute.
    units
        Units from which labels and predictions are converted back; None: they are not converted.
    """

    def score(values: Array, predicted: Array, columns: NDArray[np.intp]) -> NDArray[np.float64]:
        if units is not None:
            own = TargetUnits(units.centre[columns], units.scale[columns])
            values, predicted = own.restore(values), own.restore(predicted)
        out = np.full(values.shape[1], np.nan)
        for m, (y, z) in enumerate(zip(values.T, predicted.T, strict=True)):
            seen = ~np.isnan(y)
            if seen.any() and np.ptp(y[seen]) > 0:
                out[m] = scoring(y[seen], z[seen])
        return out

    return score
