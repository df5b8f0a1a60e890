"""Encoded labels of the fitted rows, with their weights: -1 and +1, or real numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxmtl.label_arrays import SparseLabels
from proxmtl.machine import check_memory
from proxmtl.numerics import column_moments
from proxmtl.targets import ClassWeight, Coding

__all__ = ["EncodedLabels", "PairLabels", "TargetUnits"]

Array = NDArray[np.float64]

MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
TABLE_BYTES = 220
"""Of each label of a table: it, copies of it, and float32 scores of some 45 candidates."""
TIES = 1e-12
"""Relative rounding error of sums of weights."""


class TargetUnits(NamedTuple):
    """The map ``y -> (y - centre) / scale`` of real labels, attribute by attribute."""

    centre: Array
    """Shape (M,)."""
    scale: Array
    """Shape (M,), non-negative; 0 for an attribute whose labels are all the same."""

    def apply(self, values: Array) -> Array:
        """Convert labels (N, M) to these units; labels of a constant attribute become 0."""
        scale = np.where(self.scale > 0, self.scale, 1.0)
        moved: Array = (values - self.centre) / scale
        moved[(self.scale == 0) & ~np.isnan(values)] = 0.0
        return moved

    def restore(self, scores: NDArray[Any]) -> Array:
        """Convert predictions (N, M) back to the units of the given labels."""
        restored: Array = scores * self.scale + self.centre
        return restored


@dataclass(frozen=True)
class EncodedLabels:
    """Labels of N rows and M attributes, as signs or real numbers.

    Parameters
    ----------
    numbers : ndarray of shape (N, M)
        -1 and +1, or real numbers; NaN where a label is missing.
    weights : ndarray of shape (N,) or (N, M), or None
        Sample weights.
    coding : "signs" or "real"
        What the numbers are.
    class_weight
        Weights of the two classes of signs.
    classes : ndarray of shape (2,), optional
        The user's label values, negative first.
    is_vector : bool
        Whether the labels were given as a vector (N,); predictions then are, too.
    """

    numbers: Array
    weights: Array | None = None
    coding: Coding = "signs"
    class_weight: ClassWeight = None
    classes: NDArray[Any] | None = None
    is_vector: bool = False

    @property
    def observed(self) -> NDArray[np.bool_]:
        """Mask of the labels that are not missing, shape (N, M)."""
        return ~np.isnan(self.numbers)

    @property
    def strata(self) -> Array:
        """Strata for the folds: the class, or whether a real label is above the median.

        Shape (N, M), -1, +1 and NaN.
        """
        if self.coding == "signs":
            return self.numbers
        strata = np.full(self.numbers.shape, np.nan)
        for m, values in enumerate(self.numbers.T):
            seen = ~np.isnan(values)
            strata[seen, m] = np.where(values[seen] > np.median(values[seen]), 1.0, -1.0)
        return strata

    @property
    def learnable(self) -> NDArray[np.intp]:
        """Indices of attributes that can be fitted: with both classes, or with a real label."""
        if self.coding == "real":
            return np.flatnonzero(self.observed.any(axis=0))
        both = (self.numbers == 1).any(axis=0) & (self.numbers == -1).any(axis=0)
        return np.flatnonzero(both)

    def part(self, rows: Any, columns: Any = slice(None)) -> EncodedLabels:
        """Labels of some rows and attributes."""
        weights = None if self.weights is None else self.weights[rows]
        if weights is not None and weights.ndim == 2:
            weights = weights[:, columns]
        return replace(self, numbers=self.numbers[rows][:, columns], weights=weights)

    def weighted(self) -> tuple[EncodedLabels, NDArray[np.intp]]:
        """Select the rows of positive weight; return their labels and their indices.

        Labels of weight 0 become missing. With a weight for each label, a missing label gets the
        mean weight of the other labels of its row, which leaves the mean of the row (`per_row`)
        unchanged. A row without labels, which only contributes to the moments of the features,
        keeps its weights.
        """
        if self.weights is None:
            return self, np.arange(len(self.numbers))
        weights = self.weights
        positive = (weights > 0).reshape(len(self.numbers), -1)
        counted = positive & self.observed
        if weights.ndim == 2:
            total = np.where(counted, weights, 0.0).sum(axis=1, keepdims=True)
            mean = total / np.maximum(counted.sum(axis=1, keepdims=True), 1)
            bare = ~self.observed.any(axis=1, keepdims=True)
            weights = np.where(counted | bare, weights, mean)
        known = replace(self, weights=weights)
        if positive.all():
            return known, np.arange(len(self.numbers))
        known = replace(known, numbers=np.where(positive, self.numbers, np.nan))
        rows = np.flatnonzero(weights.reshape(len(weights), -1).any(axis=1))
        return known.part(rows), rows

    def per_row(self) -> Array | None:
        """Weight of each row, (N,), in the moments of the features; None if all are equal."""
        weights = self.weights
        return weights.mean(axis=1) if weights is not None and weights.ndim == 2 else weights

    def beyond(self, units: TargetUnits) -> int | None:
        """First attribute with a label that its units, of scale 0, cannot express."""
        moved = self.observed & (self.numbers != units.centre) & (units.scale == 0)
        return int(np.argmax(moved.any(axis=0))) if moved.any() else None

    def in_units(self, units: TargetUnits) -> EncodedLabels:
        """Convert real labels to these units."""
        return replace(self, numbers=units.apply(self.numbers))

    def units(self, *, centred: bool, robust: bool) -> TargetUnits:
        """Units that standardise real labels, so that losses of attributes are comparable.

        Parameters
        ----------
        centred : bool
            Whether the centre is the mean (there is an intercept) or 0.
        robust : bool
            Use medians, which are robust to outliers. If the median deviation is zero, because most
            labels are equal, the standard deviation is used.
        """
        found = [
            _unit(y[seen], w, centred=centred, robust=robust)
            for y, seen, w in zip(
                self.numbers.T, self.observed.T, self._weights_by_attribute(), strict=True
            )
        ]
        centre, scale = np.array(found).T
        return TargetUnits(centre, scale)

    def _weights_by_attribute(self) -> list[Array | None]:
        """Weights of the observed labels of each attribute."""
        if self.weights is None:
            return [None] * self.numbers.shape[1]
        weights = np.broadcast_to(self.weights.T, self.numbers.T.shape)
        return [w[seen] for w, seen in zip(weights, self.observed.T, strict=True)]


@dataclass(frozen=True)
class PairLabels(EncodedLabels):
    """Labels of some pairs of a row and an attribute: memory grows with their number alone.

    Parameters
    ----------
    numbers : SparseLabels
        -1 and +1, or real numbers, float64.
    weights : ndarray of shape (N,), or None
        Weights of the rows.
    """

    numbers: SparseLabels  # type: ignore[assignment]

    def dense(self) -> EncodedLabels:
        """The same labels as a table with NaN where there is none.

        Raises
        ------
        ValueError
            If a search on it would take more memory than is free.
        """
        N, M = self.numbers.shape
        check_memory(
            TABLE_BYTES * N * M,
            f"Y has {self.numbers.size:,} labels of {N:,} x {M:,}, which a cross-validation takes "
            "as a table; it and the scores of the candidates",
            "take fewer rows or attributes, or an estimator without cross-validation",
        )
        table = np.full((N, M), np.nan)
        table[self.numbers.rows, self.numbers.tasks] = self.numbers.values
        return EncodedLabels(
            table,
            weights=self.weights,
            coding=self.coding,
            class_weight=self.class_weight,
            classes=self.classes,
        )

    def part(self, rows: Any, columns: Any = slice(None)) -> PairLabels:
        """Labels of some rows, of ascending numbers, and all attributes."""
        assert columns == slice(None)
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, numbers=self.numbers.part(rows), weights=weights)

    def weighted(self) -> tuple[EncodedLabels, NDArray[np.intp]]:
        rows = np.arange(len(self.numbers))
        if self.weights is None or (self.weights > 0).all():
            return self, rows
        rows = np.flatnonzero(self.weights > 0)
        return self.part(rows), rows

    def beyond(self, units: TargetUnits) -> int | None:
        tasks = self.numbers.tasks
        moved = (self.numbers.values != units.centre[tasks]) & (units.scale[tasks] == 0)
        return int(tasks[moved].min()) if moved.any() else None

    def in_units(self, units: TargetUnits) -> EncodedLabels:
        tasks = self.numbers.tasks
        scale = np.where(units.scale > 0, units.scale, 1.0)[tasks]
        moved = (self.numbers.values - units.centre[tasks]) / scale
        moved[units.scale[tasks] == 0] = 0.0
        return replace(self, numbers=self.numbers.coded(moved))

    def units(self, *, centred: bool, robust: bool) -> TargetUnits:
        order = np.argsort(self.numbers.tasks, kind="stable")
        ends = np.cumsum(np.bincount(self.numbers.tasks, minlength=self.numbers.shape[1]))[:-1]
        values = np.split(self.numbers.values[order], ends)
        weights: list[Any] = [None] * len(values)
        if self.weights is not None:
            weights = np.split(self.weights[self.numbers.rows[order]], ends)
        pairs = zip(values, weights, strict=True)
        found = [_unit(y, w, centred=centred, robust=robust) for y, w in pairs]
        centre, scale = np.array(found).T
        return TargetUnits(centre, scale)


def _unit(
    values: Array, weights: Array | None, *, centred: bool, robust: bool
) -> tuple[float, float]:
    """Centre and scale of the labels of one attribute."""
    moments = column_moments(values[:, None], weights)
    mean, std = float(moments.mean[0]), float(moments.std[0])
    if bool(moments.constant[0]):
        std = 0.0
        if centred:
            return mean, std
    if robust:
        centre = _median(values, weights) if centred else 0.0
        scale = MAD * _median(np.abs(values - centre), weights)
        if scale > 0:
            return centre, scale
    return (mean, std) if centred else (0.0, math.hypot(mean, std))


def _median(values: Array, weights: Array | None) -> float:
    """Weighted median; a value of weight 2 counts as two values."""
    order = np.argsort(values, kind="stable")
    values = values[order]
    below = np.cumsum(np.ones(len(values)) if weights is None else weights[order])
    half, rounding = below[-1] / 2, TIES * below[-1]
    low = values[np.searchsorted(below, half - rounding)]
    high = values[np.searchsorted(below, half + rounding, side="right")]
    return float(low + (high - low) / 2)
