"""Standardised features for the solver, coefficients for the features as they were given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Standardization", "fit_standardization", "identity"]

Array = NDArray[Any]


class Standardization(NamedTuple):
    """The map ``x -> (x - mean) / scale`` of features, and its effect on linear models."""

    mean: NDArray[np.float64]
    """Shape (D,)."""
    scale: NDArray[np.float64]
    """Shape (D,), positive."""

    def apply(self, X: Array) -> Array:
        """Standardise features (N, D) into a new array of the same dtype."""
        out: Array = X - self.mean.astype(X.dtype)
        out /= self.scale.astype(X.dtype)
        return out

    def fold(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        r"""Give the model on plain features that equals a model on standardised ones.

        .. math:: w' = w / s, \qquad b' = b - \langle m, w' \rangle

        Parameters
        ----------
        coef
            Shape (D, M).
        intercept
            Shape (M,).
        """
        folded = coef / self.scale[:, np.newaxis]
        return folded, intercept - self.mean @ folded


def identity(n_features: int) -> Standardization:
    """Leave features as they are."""
    return Standardization(np.zeros(n_features), np.ones(n_features))


def fit_standardization(X: Array, weights: Array | None = None) -> Standardization:
    """Weighted mean and standard deviation of each feature, in float64.

    A feature that is constant up to rounding has scale 1: it is centred to zero and stays there.

    Parameters
    ----------
    X
        Features (N, D).
    weights
        Non-negative sample weights (N,); None: all equal.
    """
    mean = np.average(X, axis=0, weights=weights).astype(np.float64)
    variance = np.empty_like(mean)
    # By blocks of columns: one more copy of all features in float64 may not fit in memory.
    for start in range(0, X.shape[1], 256):
        block = slice(start, start + 256)
        centred = X[:, block].astype(np.float64) - mean[block]
        variance[block] = np.average(centred**2, axis=0, weights=weights)
    rounding = 10 * np.finfo(X.dtype).eps * np.abs(mean)
    scale = np.sqrt(variance)
    scale[scale <= rounding] = 1.0
    return Standardization(mean, scale)
