"""Base of the regressors: real labels, their standardisation, predictions and R²."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from proxmtl.arrays import as_python, check_same_order
from proxmtl.estimators.base import LinearModel
from proxmtl.estimators.inputs import checked, each_task, stacked
from proxmtl.estimators.label_encoding import check_observed, read_values
from proxmtl.estimators.labels import EncodedLabels, TargetUnits
from proxmtl.estimators.losses import check_real_loss
from proxmtl.estimators.scoring import r2
from proxmtl.estimators.weights import pair_weights, score_weights
from proxmtl.label_arrays import SparseLabels, is_sparse
from proxmtl.label_coding import observed_labels

__all__ = ["LinearAttributeRegressor"]

Array = NDArray[Any]

BY_ATTRIBUTE = {"coef_": 0, "shared_coef_": 0, "shared_loadings_": 1, "S_": 1, "V_": 1}
"""Fitted arrays in units of the labels -> their axis of attributes."""


class LinearAttributeRegressor(RegressorMixin, LinearModel):  # type: ignore[misc]  # no stubs
    """Base of linear regressions of several attributes with missing labels.

    The labels of each attribute are centred (with an intercept) and divided by their standard
    deviation before the fit; coefficients are those for the labels as given. Strengths and the
    influence of an attribute are therefore independent of the units of its labels. With
    ``loss="huber"``, median and median deviation replace mean and standard deviation.

    Parameters
    ----------
    loss : {"squared", "huber"}
        Loss of a label; Huber's is linear beyond one unit of the labels, as below.

    Attributes
    ----------
    target_mean_, target_scale_ : ndarray of shape (M,)
        Centre and unit of the labels of each attribute. If all labels of an attribute are equal,
        its unit is 0, its coefficients are 0, and its intercept is that label.
    """

    loss: str = "squared"

    target_mean_: Array = field(init=False)
    target_scale_: Array = field(init=False)

    def _read(
        self, y: Any, names: Sequence[str] | None, *, classes: Any, warm: bool
    ) -> EncodedLabels:
        del classes, warm
        check_real_loss(as_python(self.loss))
        return read_values(y, names=names)

    def _check(self, labels: EncodedLabels, names: Sequence[str] | None) -> None:
        check_observed(labels.numbers, names)

    def _posed(self, labels: EncodedLabels, *, warm: bool) -> EncodedLabels:
        given = self._given
        if not warm:
            units = labels.units(centred=given.fit_intercept, robust=given.loss == "huber")
            self.target_mean_, self.target_scale_ = units
        units = TargetUnits(self.target_mean_, self.target_scale_)
        column = labels.beyond(units) if warm else None
        if column is not None:
            raise ValueError(
                f"Y: column {column} had one value only in the first set, which gives it no unit; "
                "fit on a set in which it varies."
            )
        return labels.in_units(units)

    def _units(self) -> tuple[Any, Any]:
        return self.target_mean_, np.where(self.target_scale_ > 0, self.target_scale_, 1.0)

    def _restore(self) -> None:
        scale = np.asarray(self.target_scale_)
        for name, axis in BY_ATTRIBUTE.items():
            if hasattr(self, name):
                array = getattr(self, name)
                setattr(self, name, array * (scale[:, np.newaxis] if axis == 0 else scale))
        self.intercept_ = self.intercept_ * scale + self.target_mean_

    @each_task
    def predict(self, X: Any) -> Array:
        """Predicted values, in the shape of the labels of `fit`.

        Features (N, D) are dense or sparse. For a list with such a matrix for each of M tasks, the
        result is a list of M vectors (N_m,), the predictions of each matrix for its own task.

        Raises
        ------
        ValueError
            If features are not finite, or so large that predictions overflow.
        """
        return self._scores(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        r"""Mean over the attributes of :math:`R^2` on observed labels.

        .. math:: R^2 = 1 - \frac{\sum_i c_i (y_i - \hat y_i)^2}{\sum_i c_i (y_i - \bar y)^2}

        Parameters
        ----------
        X
            Features as for `fit`.
        y
            Labels as for `fit`; an attribute with fewer than two different labels has no
            :math:`R^2` and is left out.
        sample_weight
            Weights as for `fit`.

        Raises
        ------
        ValueError
            If `y` has another shape than the predictions, no attribute has two different labels, or
            the weights are not valid for `fit`.
        """
        y, sample_weight = stacked(X, y, sample_weight)
        check_same_order(X, y=y, sample_weight=sample_weight)
        if is_sparse(y):
            pairs = SparseLabels.of(y)
            return mean_r2(self._by_attribute(X, pairs, pair_weights(pairs, sample_weight)))
        predicted = self.predict(checked(self, X))
        seen, where = observed_labels(y)
        if where.shape != predicted.shape:
            raise ValueError(
                f"y has shape {where.shape} and the predictions {predicted.shape}; "
                "give labels of the attributes that the model was fitted on."
            )
        values: Array = np.full(where.shape, np.nan)
        values[where] = seen
        values, predicted = values.reshape(len(values), -1), predicted.reshape(len(values), -1)
        weights = score_weights(~np.isnan(values), sample_weight)
        return mean_r2(zip(values.T, predicted.T, weights.T, strict=True))

    def _by_attribute(
        self, X: Any, pairs: SparseLabels, weights: Array
    ) -> Iterable[tuple[Array, ...]]:
        """Labels, predictions and weights of the pairs of each attribute."""
        order = np.argsort(pairs.tasks, kind="stable")
        ends = np.cumsum(np.bincount(pairs.tasks, minlength=pairs.shape[1]))[:-1]
        arrays = pairs.values.astype(np.float64), self._pair_scores(X, pairs), weights
        return zip(*(np.split(each[order], ends) for each in arrays), strict=True)


def mean_r2(attributes: Iterable[tuple[Array, ...]]) -> float:
    """Mean of R² over attributes with two different labels; each gives labels, scores, weights."""
    found = []
    for y_m, z_m, w_m in attributes:
        kept = w_m > 0
        if kept.any() and np.ptp(y_m[kept]) > 0:
            found.append(r2(y_m[kept], z_m[kept], w_m[kept]))
    if not found:
        raise ValueError(
            "y has no attribute with two different labels; R² has nothing to compare with."
        )
    return float(np.mean(found))
