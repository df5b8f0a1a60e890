r"""Confidence intervals of the scores of attributes.

Accuracies have Wilson's interval. Areas under the ROC curve have the same kind of interval, all
areas :math:`\theta` from which the one found is at most z standard deviations away, with the
variance of Hanley and McNeil in the form of Newcombe ("Confidence intervals for an effect size
measure based on the Mann-Whitney statistic, part 2", Statistics in Medicine 25, 2006, method 5),

.. math:: V(\theta) = \frac{\theta (1 - \theta)}{m n} \left[ 1 + N \left(
    \frac{1 - \theta}{2 - \theta} + \frac{\theta}{1 + \theta} \right) \right] ,

with m positives, n negatives and :math:`N = (m + n) / 2 - 1`. Average precisions have the logit
interval of Boyd, Eng and Page ("Area under the precision-recall curve", ECML PKDD 2013),

.. math:: \operatorname{logit} p \pm z / \sqrt{n \, p (1 - p)} ,

with the number n of positives and the empirical logit
:math:`p = (n \, \mathrm{AP} + 1/2) / (n + 1)`, which keeps the ends finite for an AP of 0 or 1.
Differences of two models on the same samples have the percentile interval of a bootstrap over
samples; all attributes and both models use the same resamples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtri

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "PairedDifferences",
    "accuracy_interval",
    "ap_interval",
    "auc_interval",
    "paired_differences",
]

Interval = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def accuracy_interval(accuracy: ArrayLike, n: ArrayLike, *, level: float = 0.95) -> Interval:
    """Lower and upper ends of Wilson's interval of accuracies; NaN where n is 0.

    Parameters
    ----------
    accuracy
        Fractions of correct predictions, any shape.
    n
        Number of labels, of the same shape or a scalar.
    level
        Probability of covering the true fraction.
    """
    p, n = np.broadcast_arrays(np.asarray(accuracy, float), np.asarray(n, float))
    z2 = _quantile(level) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = np.sqrt(z2 * (p * (1 - p) + z2 / (4 * n)) / n) / (1 + z2 / n)
    known = n > 0
    ends = (np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1))
    return np.where(known, ends[0], np.nan), np.where(known, ends[1], np.nan)


def ap_interval(ap: ArrayLike, positives: ArrayLike, *, level: float = 0.95) -> Interval:
    """Lower and upper ends of the logit interval of average precisions; NaN where AP is NaN.

    Parameters
    ----------
    ap
        Average precisions, any shape.
    positives
        Number of positive labels, of the same shape or a scalar.
    level
        Probability of covering the true value, approximately.
    """
    given, n = np.broadcast_arrays(np.asarray(ap, float), np.asarray(positives, float))
    p = (n * given + 0.5) / (n + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = _quantile(level) / np.sqrt(n * p * (1 - p))
        low, high = expit(logit(p) - half), expit(logit(p) + half)
    known = (n > 0) & np.isfinite(given)
    # near 0 or 1 the empirical logit is closer to 1/2 than AP; make the interval contain AP
    low, high = np.minimum(low, given), np.maximum(high, given)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def auc_interval(
    auc: ArrayLike, positives: ArrayLike, negatives: ArrayLike, *, level: float = 0.95
) -> Interval:
    """Lower and upper ends of Newcombe's interval of areas under the ROC curve.

    Parameters
    ----------
    auc
        Areas, any shape.
    positives, negatives
        Numbers of labels of each class, of the same shape or scalars.
    level
        Probability of covering the true area, approximately.

    Returns
    -------
    low, high : ndarray
        Between 0 and 1; NaN where the area is NaN or a class has no label.
    """
    given, m, n = np.broadcast_arrays(
        *(np.asarray(value, float) for value in (auc, positives, negatives))
    )
    known = (m > 0) & (n > 0) & np.isfinite(given)
    found, m, n = np.where(known, given, 0.5), np.where(known, m, 1.0), np.where(known, n, 1.0)
    z2 = _quantile(level) ** 2

    def outside(area: NDArray[np.float64]) -> NDArray[np.bool_]:
        spread = (1 - area) / (2 - area) + area / (1 + area)
        variance = area * (1 - area) * (1 + ((m + n) / 2 - 1) * spread) / (m * n)
        further: NDArray[np.bool_] = (area - found) ** 2 > z2 * variance
        return further

    ends = []
    for bound in (0.0, 1.0):  # bisection: outside at the bound, inside at the area found
        beyond, inside = np.full(found.shape, bound), found.copy()
        for _ in range(60):
            middle = (beyond + inside) / 2
            out = outside(middle)
            beyond, inside = np.where(out, middle, beyond), np.where(out, inside, middle)
        ends.append(np.where(known, inside, np.nan))
    return ends[0], ends[1]


class PairedDifferences(NamedTuple):
    """Differences of the average precision of two models on the same samples."""

    low: NDArray[np.float64]
    """Lower ends by attribute, (M,); NaN where too few resamples have a positive label, or all have
    the same difference though the rankings differ: then there are too few labels to tell."""
    high: NDArray[np.float64]
    mean_low: float
    """Lower end of the interval of the mean over the attributes."""
    mean_high: float
    n_resamples: int


def paired_differences(
    first: ArrayLike,
    second: ArrayLike,
    labels: ArrayLike,
    *,
    level: float = 0.95,
    work: int = 200_000_000,
    seed: int = 0,
) -> PairedDifferences:
    """Bootstrap intervals of the AP of the second model minus that of the first.

    Parameters
    ----------
    first, second
        (N, M) scores of the same samples.
    labels
        (N, M) labels, positive above 0; NaN = missing.
    level
        Probability of covering the true difference, approximately.
    work
        Limit of N M B with the number of resamples B, which is between 100 and 1,000.
    seed
        Seed of the resamples.
    """
    a, b, y = (np.asarray(value, float) for value in (first, second, labels))
    n_samples, n_attributes = y.shape
    n_resamples = int(np.clip(work / max(y.size, 1), 100, 1000))
    rng = np.random.default_rng(seed)
    found = np.full((n_resamples, n_attributes), np.nan)
    sorted_by = [[_Ranking(z[:, m], y[:, m]) for z in (a, b)] for m in range(n_attributes)]
    size = max(1, min(n_resamples, 4_000_000 // max(n_samples, 1)))
    for start in range(0, n_resamples, size):
        count = min(size, n_resamples - start)
        drawn = rng.integers(0, n_samples, (count, n_samples))
        weights = np.stack([np.bincount(row, minlength=n_samples) for row in drawn])
        for m, (ranked, other) in enumerate(sorted_by):
            difference = other.average_precision(weights) - ranked.average_precision(weights)
            found[start : start + count, m] = difference
    # no interval for an attribute without positives in half of the resamples, and none of width
    # zero, such as of two rankings that a few labels find perfect
    usable = np.isfinite(found).sum(axis=0) * 2 > n_resamples
    alike = np.array([ranked.is_like(other) for ranked, other in sorted_by])
    varies = np.nanmax(found[:, usable], axis=0) > np.nanmin(found[:, usable], axis=0)
    usable[usable] = varies | alike[usable]
    ends = np.full((2, n_attributes), np.nan)
    tails = [(1 - level) / 2, (1 + level) / 2]
    mean = np.full(2, np.nan)
    if usable.any():
        ends[:, usable] = np.nanquantile(found[:, usable], tails, axis=0)
        # the mean is over all attributes, with an interval of their own or without
        mean = np.nanquantile(_mean_of_finite(found), tails)
    return PairedDifferences(ends[0], ends[1], float(mean[0]), float(mean[1]), n_resamples)


class _Ranking:
    """Scores of one attribute in descending order, with the ends of their ties."""

    def __init__(self, scores: NDArray[np.float64], labels: NDArray[np.float64]) -> None:
        seen = np.flatnonzero(~np.isnan(labels) & ~np.isnan(scores))
        self.order = seen[np.argsort(-scores[seen], kind="stable")]
        ranked = scores[self.order]
        self.positive = labels[self.order] > 0
        self.ends = np.flatnonzero(np.append(np.diff(ranked) != 0, bool(len(ranked))))

    def is_like(self, other: _Ranking) -> bool:
        """Whether both have the same order, with the same ties."""
        same = np.array_equal(self.order, other.order) and np.array_equal(self.ends, other.ends)
        return bool(same)

    def average_precision(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """Average precision with the weights of each row, (B, N) -> (B,)."""
        drawn = weights[:, self.order]
        hits = np.cumsum(drawn * self.positive, axis=1)[:, self.ends]
        above = np.cumsum(drawn, axis=1)[:, self.ends]
        if not len(self.ends):
            return np.full(len(weights), np.nan)
        steps = np.diff(hits, axis=1, prepend=0)
        total = hits[:, -1]
        sums = (steps * (hits / np.maximum(above, 1))).sum(axis=1)
        return np.where(total > 0, sums / np.maximum(total, 1), np.nan)


def _mean_of_finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(values)
    sums: NDArray[np.float64] = np.where(known, values, 0.0).sum(axis=1)
    means: NDArray[np.float64] = sums / np.maximum(known.sum(axis=1), 1)
    return means


def _quantile(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level: got {level!r}; give a probability between 0 and 1.")
    return float(ndtri((1 + level) / 2))
