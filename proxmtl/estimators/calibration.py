"""Sigmoids that map the scores of held-out rows to probabilities, one an attribute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

__all__ = ["Calibration", "Calibrations", "calibration"]

Array = NDArray[np.float64]

FLAT = 1e-3
"""Minimum slope of a sigmoid, per standard deviation of the scores."""
SHARP = 2.0
"""Typical slope of a sigmoid, per standard deviation of the scores."""
OFFSET = 0.5
"""Typical deviation of a sigmoid's log odds from what the scores say."""
BEYOND = 2.0
"""How far outside of the middle halves of both answers a score may lie, in widths of their span."""
FEWEST = 4
"""Scores of an answer that tell where its middle half is."""
WEIGHT = 1.0
"""Number of attributes that these typical values count as."""
STEPS, HALVINGS = 50, 30
"""Maximum number of Newton steps, and of halvings of one."""
_TINY = np.finfo(np.float64).tiny
ROUNDS, CHANGE = 30, 0.01
"""Maximum number of updates of the prior, and the relative change that ends them."""


class Calibration(NamedTuple):
    """Probabilities ``sigmoid(slope * (z + shift))`` of scores z, and how well they tell labels."""

    slopes: Array
    """Shape (M,), positive."""
    shifts: Array
    """Shape (M,)."""
    log_evidence: float
    """Logarithm of the likelihood of the labels, averaged over the prior of the sigmoids."""


class Calibrations:
    """Calibrations on the labels of a fit: scores that come again are not fitted again.

    Candidates that score alike are told apart by their calibrations, and the one that is chosen,
    often as the model without sharing too, needs its calibration once more.

    Parameters
    ----------
    signs, weights
        As for :func:`calibration`.
    """

    def __init__(self, signs: Array, weights: NDArray[np.floating]) -> None:
        self._signs, self._weights = signs, weights
        self._found: list[tuple[NDArray[np.floating], Calibration]] = []

    def __call__(self, held_out: NDArray[np.floating]) -> Calibration:
        """Return the calibration of held-out scores (N, M)."""
        for scores, known in self._found:
            if np.array_equal(scores, held_out, equal_nan=True):
                return known
        found = calibration(held_out, self._signs, self._weights)
        self._found.append((held_out, found))
        return found


def calibration(
    held_out: NDArray[np.floating], signs: Array, weights: NDArray[np.floating]
) -> Calibration:
    r"""Fit a sigmoid to the held-out scores of each attribute, by empirical Bayes.

    A sigmoid :math:`\sigma(a_m (z - p_m) + b_m)` with few labels has a slope and an offset that are
    largely chance, and an offset by chance costs right decisions. So these have a prior,

    .. math:: a_m \sim N(\alpha, \tau^2), \quad b_m \sim N(c_m, \sigma^2),

    whose :math:`\alpha, \tau, \sigma` are found from all attributes by expectation maximisation
    with Laplace's approximation: what attributes have in common, such as a ridge that makes scores
    too small, is corrected in all, and what one of them says alone counts as far as they differ.
    Three priors are averaged by their evidence: that scores are right but for their scale
    (:math:`p_m = c_m = 0`), as of models that fit too closely; that the score of a constant model
    is (:math:`p_m = c_m`, the log odds of the class), as of log odds that a strong penalty has
    drawn there; and that the mean score stands for these log odds (:math:`p_m` is that mean), as of
    losses whose scores are no log odds.

    A row whose features are far from those of the rows that were fitted, such as the only one with
    a feature that was constant on these, may have a score of any size, and alone make a sigmoid
    flat. So scores far outside of the middle halves of both answers count as nearer.

    Parameters
    ----------
    held_out
        Scores of held-out rows, (N, M); NaN for rows that never were, and for attributes that could
        not be fitted without a row, since only one answer was left.
    signs
        Labels -1, +1 and NaN, (N, M).
    weights
        Weights of the labels in the loss, (N, M); of each attribute they are divided by their mean.

    Raises
    ------
    ValueError
        If scores are infinite or overflow.

    References
    ----------
    Platt, "Probabilistic outputs for support vector machines", 1999; Tierney, Kadane, "Accurate
    approximations for posterior moments and marginal densities", JASA 81, 1986.
    """
    labels = _Labels.of(held_out, signs, weights)
    zero = np.zeros(labels.n_attributes)
    pivots = ((zero, zero), (labels.log_odds, labels.log_odds), (labels.mean, labels.log_odds))
    found = [_fitted(labels, *each) for each in pivots]
    evidences = np.array([evidence for _, _, evidence in found])
    share = np.exp(evidences - evidences.max())
    share /= share.sum()
    a, offset = (np.tensordot(share, [each[k] for each in found], 1) for k in (0, 1))
    # a score without information keeps a minimal slope, so that it still orders the rows
    least = FLAT / labels.spread
    offset = np.where(a < least, labels.log_odds - least * labels.mean, offset)
    a = np.maximum(a, least)
    return Calibration(a, offset / a, float(logsumexp(evidences) - np.log(len(found))))


@dataclass(frozen=True)
class _Labels:
    """Known labels of held-out rows, attribute after attribute, and figures of each attribute."""

    z: Array
    y: Array
    w: Array
    m: NDArray[np.intp]
    mean: Array
    """Of the scores, (M,)."""
    log_odds: Array
    """Of the positive class, (M,), with half a label more of each class."""
    spread: float
    """Standard deviation of the scores within attributes, of all of them."""

    @classmethod
    def of(
        cls, held_out: NDArray[np.floating], signs: Array, weights: NDArray[np.floating]
    ) -> _Labels:
        # a label without weight is none; an attribute may have no other
        positive, there, M = signs > 0, ~np.isnan(held_out), signs.shape[1]
        known = ~np.isnan(signs) & (weights > 0) & there.any(axis=1, keepdims=True)
        seen = known & there
        all_, scored = (_by_answer(weights, rows, positive) for rows in (known, seen))
        # Where an answer was lacking to fit on, the rows without a score are those that have it. So
        # each answer counts as often as it is known, and an attribute with no score of one of its
        # answers has nothing to tell: it is left to what attributes have in common.
        told = ((scored > 0) | (all_ == 0)).all(axis=0)
        held_out = _within_reach(held_out, seen, positive)
        share = np.divide(all_, scored, out=np.ones_like(all_), where=scored > 0)
        counted = np.where(positive, share[1], share[0]) * weights
        scores_of = there.sum(axis=0)
        mean = np.where(there, held_out, 0.0).sum(axis=0) / np.maximum(scores_of, 1)
        seen &= told
        m = np.nonzero(seen.T)[0]
        z, y, w = (each.T[seen.T].astype(np.float64) for each in (held_out, positive, counted))
        count = np.bincount(m, minlength=M)
        w = w * (count / np.bincount(m, w, M).clip(_TINY))[m]
        mean = np.where(told, np.bincount(m, w * z, M) / np.maximum(count, 1), mean)
        spread = np.sqrt(np.mean(w * np.square(z - mean[m]))) if len(z) else 1.0
        no, yes = all_ * (known.sum(axis=0) / all_.sum(axis=0).clip(_TINY))
        log_odds = np.log((yes + 0.5) / (no + 0.5))
        smallest = max(1e-6 * float(np.abs(mean).max()), 1e-12)
        return cls(z, y, w, m, mean, log_odds, max(float(spread), smallest))

    @property
    def n_attributes(self) -> int:
        return len(self.mean)

    def sums(self, values: Array) -> Array:
        """Sums over the labels of each attribute, (M,)."""
        return np.bincount(self.m, values, self.n_attributes).astype(np.float64, copy=False)


def _within_reach(
    scores: NDArray[np.floating], seen: NDArray[np.bool_], positive: NDArray[np.bool_]
) -> Array:
    """Scores (N, M), those far from the others of an attribute moved nearer."""
    near = scores.astype(np.float64)
    for column, rows, yes in zip(near.T, seen.T, positive.T, strict=True):
        parts = [column[rows & yes], column[rows & ~yes]]
        middle = [np.quantile(part, (0.25, 0.75)) for part in parts if len(part) >= FEWEST]
        if not middle or not all(np.isfinite(part).all() for part in parts):
            continue
        low, high = min(each[0] for each in middle), max(each[1] for each in middle)
        reach = BEYOND * (high - low)
        if reach > 0:  # most scores are the same, else
            np.clip(column, low - reach, high + reach, out=column)
    return near


def _by_answer(
    weights: NDArray[np.floating], rows: NDArray[np.bool_], positive: NDArray[np.bool_]
) -> Array:
    """Sums of the weights of some labels by answer, no and yes, and attribute, (2, M)."""
    sums = [np.where(rows & each, weights, 0.0).sum(axis=0) for each in (~positive, positive)]
    return np.stack(sums).astype(np.float64, copy=False)


def _fitted(labels: _Labels, pivot: Array, centre: Array) -> tuple[Array, Array, float]:
    """Slopes and log odds at a score of 0, and the evidence of their prior."""
    alpha = typical = SHARP / labels.spread
    tau2, sigma2 = (alpha / 2) ** 2, OFFSET**2
    n = labels.n_attributes + WEIGHT
    z = labels.z - pivot[labels.m]
    at = np.full(labels.n_attributes, alpha), centre.copy()
    for _ in range(ROUNDS):
        a, b, (va, vb), evidence = _posterior(labels, z, at, (alpha, centre), (tau2, sigma2))
        before = np.array([alpha, tau2, sigma2])
        alpha = max((WEIGHT * typical + a.sum()) / n, FLAT * typical)
        tau2 = (WEIGHT * (alpha / 2) ** 2 + np.sum(np.square(a - alpha) + va)) / n
        sigma2 = (WEIGHT * OFFSET**2 + np.sum(np.square(b - centre) + vb)) / n
        at = a, b
        now = np.array([alpha, tau2, sigma2])
        if (np.abs(now - before) <= CHANGE * now).all():
            break
    return a, b - a * pivot, evidence


def _posterior(
    labels: _Labels,
    z: Array,
    at: tuple[Array, Array],
    centres: tuple[float, Array],
    variances: tuple[float, float],
) -> tuple[Array, Array, tuple[Array, Array], float]:
    """Modes and variances of slopes and offsets under a Gaussian prior, and its log evidence."""
    (a, b), (alpha, centre), (pa, pb) = at, centres, (1 / variances[0], 1 / variances[1])
    m, y, w = labels.m, labels.y, labels.w

    def loss(a: Array, b: Array) -> Array:
        e = a[m] * z + b[m]
        fit = labels.sums(w * (np.logaddexp(0, e) - y * e))
        prior: Array = pa * np.square(a - alpha) + pb * np.square(b - centre)
        return fit + prior / 2

    value = loss(a, b)
    for _ in range(STEPS):
        p = expit(a[m] * z + b[m])
        slope, curve = w * (p - y), w * p * (1 - p)
        ga, gb = labels.sums(slope * z) + pa * (a - alpha), labels.sums(slope) + pb * (b - centre)
        haa, hab, hbb = (
            labels.sums(curve * z * z) + pa,
            labels.sums(curve * z),
            labels.sums(curve) + pb,
        )
        det = haa * hbb - hab * hab
        da, db = (hbb * ga - hab * gb) / det, (haa * gb - hab * ga) / det
        fall = ga * da + gb * db
        if not (fall > 1e-9).any():
            break
        step = np.ones_like(a)
        for _ in range(HALVINGS):
            new = loss(a - step * da, b - step * db)
            short = new > value - 1e-4 * step * fall + 1e-12 * (1 + value)
            if not short.any():
                break
            step = np.where(short, step / 2, step)
        a, b, value = a - step * da, b - step * db, new
    evidence = float(np.sum(-value - np.log(det) / 2 + np.log(pa * pb) / 2))
    if not np.isfinite(evidence):
        raise ValueError("calibration: the scores of held-out rows overflow.")
    return a, b, (hbb / det, haa / det), evidence
