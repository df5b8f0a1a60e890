"""Standardisation of features for the solver, and of coefficients back to the given features."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxmtl.numerics import BLOCK_ELEMENTS, ROUNDING, column_moments
from proxmtl.row_sources import FeatureRows, MappedRows

__all__ = ["Standardization", "fit_standardization", "identity"]

Array = NDArray[Any]

LARGE = 1e300
"""For scales above this, the difference of two entries may overflow."""

SMALL = 1e-300
"""For scales below this, the coefficient on the given feature may overflow."""


class Standardization(NamedTuple):
    """The map ``x -> (x - mean) / scale`` of features, and its effect on linear models."""

    mean: NDArray[np.float64]
    """Shape (D,)."""
    scale: NDArray[np.float64]
    """Shape (D,), positive."""

    def apply(self, X: Array) -> Array:
        """Standardise features (N, D) into a new array of at least float32, in blocks of rows.

        A constant feature becomes exactly 0, even if its entries differ by rounding.
        """
        out: Array = np.empty(X.shape, np.result_type(X.dtype, np.float32))
        # differences of numbers near the limit of the range would overflow
        unit = np.where(self.scale > LARGE, 0.25, 1.0)
        mean, scale = self.mean * unit, self.scale * unit
        constant = np.flatnonzero(self.scale == 1)
        rounding = 2 * ROUNDING * np.abs(self.mean[constant])
        rows = max(1, BLOCK_ELEMENTS // max(1, X.shape[1]))
        for start in range(0, len(X), rows):
            block = X[start : start + rows]
            wide = block * unit if (unit != 1).any() else block
            centred = np.subtract(wide, mean, dtype=np.float64)
            if len(constant):
                some = centred[:, constant]
                some[np.abs(some) <= rounding] = 0.0
                centred[:, constant] = some
            out[start : start + rows] = np.divide(centred, scale, out=centred)
        return out

    def applied(self, rows: FeatureRows) -> FeatureRows:
        """Standardise rows when they are read, as `apply`; of float16 to float32."""
        return MappedRows(rows, self.apply, dtype=np.result_type(rows.dtype, np.float32))

    def check_foldable(self) -> None:
        """Raise ``ValueError`` if the scale of a feature is so small that coefficients overflow."""
        if (self.scale < SMALL).any():
            column = int(np.argmin(self.scale))
            raise ValueError(
                f"X: feature column {column} has a standard deviation of "
                f"{self.scale[column]:.3g}, and coefficients on it would overflow; give it in a "
                "smaller unit (multiply it), or leave it out."
            )

    def fold(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        r"""Convert a model on standardised features to the same model on the given features.

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
    """Return the standardisation that leaves features unchanged."""
    return Standardization(np.zeros(n_features), np.ones(n_features))


def fit_standardization(X: Array, weights: Array | None = None) -> Standardization:
    """Weighted mean and standard deviation of each feature, in float64.

    A feature that is constant up to rounding has scale 1: it is centred to zero and stays there.

    Parameters
    ----------
    X
        Features (N, D), of any real dtype, dense or sparse.
    weights
        Non-negative sample weights (N,); None: all equal.
    """
    moments = column_moments(X, weights)
    return Standardization(moments.mean.numpy(), moments.scale.numpy())
