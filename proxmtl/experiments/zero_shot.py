"""Zero-shot classification from attributes: Platt calibration and DAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from proxmtl.experiments.labels import as_float_matrix
from proxmtl.numerics import column_moments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "PlattCalibration",
    "ZeroShot",
    "attribute_priors",
    "direct_attribute_prediction",
    "fit_platt",
    "same_signature",
]

PRIOR_MARGIN = 1e-3
"""Minimum distance of priors from 0 and 1, for attributes of all or none of the classes."""


@dataclass(frozen=True)
class PlattCalibration:
    """Probabilities of attributes from scores: ``p_m = 1 / (1 + exp(A_m z_m + B_m))``.

    Attributes
    ----------
    slope, offset : ndarray, shape (M,)
        A (negative if larger scores mean that the attribute is present) and B.
    """

    slope: NDArray[np.float64]
    offset: NDArray[np.float64]

    def probabilities(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Probabilities (N, M) of scores (N, M)."""
        out: NDArray[np.float64] = expit(-(np.asarray(scores) * self.slope + self.offset))
        return out

    def log_odds(self, scores: ArrayLike) -> NDArray[np.float64]:
        """``log p - log(1 - p)``, exact where p would round to 0 or 1."""
        return -(np.asarray(scores, dtype=np.float64) * self.slope + self.offset)


def fit_platt(scores: ArrayLike, labels: ArrayLike) -> PlattCalibration:
    """Fit Platt's sigmoid to the scores of each attribute.

    Maximum likelihood with targets ``(N+ + 1) / (N+ + 2)`` and ``1 / (N- + 2)`` in place of 1 and
    0, by Newton's method with a line search.

    Parameters
    ----------
    scores : array, shape (N, M)
        Scores of samples on which the model was *not* fitted; training scores are optimistic.
    labels : array, shape (N, M)
        1 = present, 0 or -1 = absent, NaN = missing.

    Raises
    ------
    ValueError
        If the shapes differ, a score is not finite, or an attribute has no observed label.

    References
    ----------
    Platt, "Probabilistic outputs for support vector machines", 1999; Lin, Lin, Weng, "A note on
    Platt's probabilistic outputs for support vector machines", 2007.
    """
    Z, Y = as_float_matrix(scores, "scores"), as_float_matrix(labels, "labels")
    if Z.shape != Y.shape:
        raise ValueError(f"labels: shape {Y.shape}; the scores have {Z.shape}.")
    if not np.isfinite(Z).all():
        raise ValueError("scores: hold NaN or infinite values.")
    empty = np.flatnonzero(np.isnan(Y).all(axis=0))
    if len(empty):
        raise ValueError(f"labels: attributes {empty[:6].tolist()} have no observed label.")
    seen = ~np.isnan(Y)
    pairs = [_platt(z[s], y[s] > 0) for z, y, s in zip(Z.T, Y.T, seen.T, strict=True)]
    slope, offset = np.array(pairs).T
    return PlattCalibration(slope, offset)


def _platt(z: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """``(A, B)`` of one attribute."""
    n_yes, n_no = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (n_yes + 1) / (n_yes + 2), 1 / (n_no + 2))
    # scores in units of their spread: the Hessian is then well conditioned
    moments = column_moments(z[:, None])
    middle, spread = float(moments.mean), float(moments.std)
    if spread <= 1e-10 * float(np.abs(z).max()):  # constant to rounding: the slope is undetermined
        return 0.0, float(np.log((n_no + 1) / (n_yes + 1)))
    X = np.stack([(z - middle) / spread, np.ones_like(z)], axis=1)
    theta = np.array([0.0, np.log((n_no + 1) / (n_yes + 1))])

    def cost(at: NDArray[np.float64]) -> float:
        f = X @ at
        return float(np.sum(target * f + np.logaddexp(0, -f)))

    value = cost(theta)
    for _ in range(100):
        p = expit(-(X @ theta))
        grad = X.T @ (target - p)
        if np.abs(grad).max() <= 1e-12 * len(z):
            break
        hessian = (X * (p * (1 - p))[:, None]).T @ X + 1e-12 * np.eye(2)
        step = -np.linalg.solve(hessian, grad)
        length, slope = 1.0, float(grad @ step)
        while length > 1e-10 and not cost(theta + length * step) <= value + 1e-4 * length * slope:
            length /= 2
        if length <= 1e-10:
            break
        theta = theta + length * step
        value = cost(theta)
    A = theta[0] / spread
    return A, theta[1] - A * middle


def attribute_priors(class_attributes: ArrayLike) -> NDArray[np.float64]:
    """Fraction of the training classes (Z, M) with each attribute, kept away from 0 and 1."""
    mean: NDArray[np.float64] = _signatures(class_attributes).mean(axis=0)
    return np.clip(mean, PRIOR_MARGIN, 1 - PRIOR_MARGIN)


def same_signature(class_attributes: ArrayLike) -> list[list[int]]:
    """Groups of two or more classes with the same attributes."""
    found: dict[bytes, list[int]] = {}
    for number, row in enumerate(_signatures(class_attributes)):
        found.setdefault(row.tobytes(), []).append(number)
    return [classes for classes in found.values() if len(classes) > 1]


@dataclass(frozen=True)
class ZeroShot:
    """Classes predicted from attributes.

    Attributes
    ----------
    log_posterior : ndarray, shape (N, Z)
        Normalised: its exponentials sum to 1 over the classes.
    best : ndarray of bool, shape (N, Z)
        The classes with the largest posterior: more than one in a tie.
    """

    log_posterior: NDArray[np.float64]
    best: NDArray[np.bool_]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) index of the best class; the first one of a tie."""
        out: NDArray[np.int64] = self.best.argmax(axis=1)
        return out

    @property
    def tied(self) -> NDArray[np.bool_]:
        """(N,) whether more than one class is best."""
        out: NDArray[np.bool_] = self.best.sum(axis=1) > 1
        return out

    def accuracy_by_class(self, classes: ArrayLike) -> NDArray[np.float64]:
        """Accuracy on the samples of each class, (Z,); NaN for a class without samples.

        In a tie of k classes, the right one counts 1/k, the expectation of a random guess. The
        usual score is the mean over the classes.

        Parameters
        ----------
        classes : array of int, shape (N,)
            True class of each sample, a column of ``log_posterior``.
        """
        truth = np.asarray(classes)
        n_classes = self.best.shape[1]
        if truth.shape != (len(self.best),) or truth.min() < 0 or truth.max() >= n_classes:
            raise ValueError(
                f"classes: give one number in 0..{n_classes - 1} for each of the {len(self.best)} "
                "samples."
            )
        share = self.best[np.arange(len(truth)), truth] / self.best.sum(axis=1)
        counts = np.bincount(truth, minlength=n_classes)
        hits = np.bincount(truth, weights=share, minlength=n_classes)
        shares: NDArray[np.float64] = np.full(n_classes, np.nan)
        np.divide(hits, counts, out=shares, where=counts > 0)
        return shares


def direct_attribute_prediction(
    log_odds: ArrayLike, class_attributes: ArrayLike, priors: ArrayLike | float = 0.5
) -> ZeroShot:
    """Direct attribute prediction (DAP) with its prior correction.

    ``log p(z|x) = const + sum_m a_m^z log(p_m / pi_m) + (1 - a_m^z) log((1 - p_m) / (1 - pi_m))``
    for classes that are equally likely beforehand. Up to a constant that is a sum over attributes,
    ``a^z' (log-odds of p - log-odds of pi)``.

    Parameters
    ----------
    log_odds : array, shape (N, M)
        ``log p_m - log(1 - p_m)``, from :meth:`PlattCalibration.log_odds`.
    class_attributes : array, shape (Z, M)
        Signatures of the candidate classes, 0 and 1.
    priors : array, shape (M,), or number
        ``pi``, from :func:`attribute_priors` of the training classes.

    Raises
    ------
    ValueError
        If shapes do not fit, a signature is not of 0 and 1, or a prior is not inside (0, 1).

    References
    ----------
    Lampert, Nickisch, Harmeling, "Attribute-based classification for zero-shot visual object
    categorization", 2014.
    """
    odds, signatures = as_float_matrix(log_odds, "log_odds"), _signatures(class_attributes)
    pi = np.asarray(priors, dtype=np.float64)
    if odds.shape[1] != signatures.shape[1] or pi.shape not in ((), (signatures.shape[1],)):
        raise ValueError(
            f"class_attributes, priors: shapes {signatures.shape} and {pi.shape} for log-odds of "
            f"shape {odds.shape}; all need the same attributes."
        )
    if not ((pi > 0) & (pi < 1)).all():
        raise ValueError("priors: must lie inside (0, 1); attribute_priors keeps them there.")
    evidence = (odds - (np.log(pi) - np.log1p(-pi))) @ signatures.T
    # classes with one signature get one value: a product may round their columns differently
    for classes in same_signature(signatures):
        evidence[:, classes] = evidence[:, classes[:1]]
    best = evidence == evidence.max(axis=1, keepdims=True)
    return ZeroShot(evidence - np.logaddexp.reduce(evidence, axis=1, keepdims=True), best)


def _signatures(class_attributes: ArrayLike) -> NDArray[np.float64]:
    rows = as_float_matrix(class_attributes, "class_attributes")
    if not np.isin(rows, (0.0, 1.0)).all():
        raise ValueError(
            "class_attributes: must be 0 and 1; threshold continuous values (AwA's at their "
            "overall mean), and recode -1 as 0."
        )
    return rows
