"""Probability thresholds of the attributes, chosen on scores of held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from proxmtl.estimators.labels import EncodedLabels

__all__ = ["check_threshold", "chosen_thresholds", "cut_of"]

Array = NDArray[np.float64]

CRITERIA = ("f1", "balanced_accuracy")
FEWEST = 10
"""Minimum number of labels of the rarer class for an empirical threshold."""
ROUNDING = 1e-12
"""Values of a criterion that differ by less than this count as equal."""
EDGE = 1e-15
"""Minimum distance of a threshold from 0 and 1, so that its logit is finite."""


def check_threshold(given: Any) -> None:
    """Raise ``ValueError`` unless ``given`` is the name of a criterion, or a probability."""
    number = isinstance(given, int | float) and not isinstance(given, bool) and 0 < given < 1
    if not number and given not in ("probability", *CRITERIA):
        raise ValueError(
            f"threshold: got {given!r}; use 'probability', 'f1', 'balanced_accuracy', or a "
            "probability between 0 and 1."
        )


def cut_of(thresholds: Array, slopes: Array) -> Array:
    """Decision values at which the probabilities equal the thresholds, (M,)."""
    cuts: Array = logit(thresholds) / slopes
    return cuts


def chosen_thresholds(
    given: str | float, held_out: NDArray[np.floating], labels: EncodedLabels, slopes: Array
) -> Array:
    """Thresholds of the attributes, as probabilities.

    Parameters
    ----------
    given
        A criterion, "probability" (1/2) or a probability for all.
    held_out
        Calibrated decision values of held-out rows, (N, M); NaN for rows that never were. Their
        probabilities are ``sigmoid(slope * value)``.
    labels
        Labels of the rows, with sample weights, and the class weights used in the calibration.
    slopes
        Slopes of the sigmoids, (M,).
    """
    n_attributes = held_out.shape[1]
    if not isinstance(given, str) or given == "probability":
        return np.full(n_attributes, 0.5 if isinstance(given, str) else float(given))
    weights = np.ones_like(labels.numbers)
    if labels.weights is not None:
        weights = np.broadcast_to(labels.weights.T, labels.numbers.T.shape).T
    found = np.full(n_attributes, 0.5)
    for m in range(n_attributes):
        seen = labels.observed[:, m] & ~np.isnan(held_out[:, m])
        if seen.any():
            y = (labels.numbers[seen, m] > 0).astype(np.float64)
            log_odds = slopes[m] * held_out[seen, m].astype(np.float64)
            if min(y.sum(), len(y) - y.sum()) < FEWEST:
                # too few labels for an empirical threshold: use their expectations instead
                y = expit(log_odds - np.log(_odds_factor(labels, m, weights[:, m])))
            found[m] = _best(given, expit(log_odds), y, weights[seen, m])
    return found


def _odds_factor(labels: EncodedLabels, m: int, weights: Array) -> float:
    """Weight of an attribute's positive class over that of its negative one."""
    if labels.class_weight is None:
        return 1.0
    if labels.class_weight == "balanced":
        negative, positive = (weights[labels.numbers[:, m] == sign].sum() for sign in (-1, 1))
        return float(negative / positive)
    negative, positive = labels.class_weight
    return positive / negative


def _best(criterion: str, p: Array, y: Array, weights: Array) -> float:
    """Best threshold for probabilities p of one attribute, by labels in [0, 1] or expectations."""
    levels, place = np.unique(p, return_inverse=True)
    yes, no = (np.bincount(place, weights * each, len(levels)) for each in (y, 1 - y))
    # candidate thresholds: one below each level, and one above all
    hits, false = (np.append(np.cumsum(each[::-1])[::-1], 0.0) for each in (yes, no))
    if hits[0] == 0 or false[0] == 0:
        return 0.5  # only one class is expected: there is nothing to choose
    if criterion == "f1":
        value = 2 * hits / (hits + false + hits[0])
    else:
        value = hits / hits[0] + (false[0] - false) / false[0]
    edges = np.concatenate([[0.0], levels, [1.0]])
    middles = (edges[:-1] + edges[1:]) / 2
    best = np.flatnonzero(value >= value.max() - ROUNDING)
    middle = middles[best[np.argmin(np.abs(middles[best] - 0.5))]]
    return float(np.clip(middle, EDGE, 1 - EDGE))
