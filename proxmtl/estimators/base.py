"""What both estimators share: inputs, standardisation, predictions and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Self, dataclass_transform

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from proxmtl.arrays import as_python, check_same_order
from proxmtl.estimators.samples import Samples, checked, each_task, stacked
from proxmtl.estimators.standardize import Standardization, identity
from proxmtl.estimators.state import from_state, to_state
from proxmtl.estimators.targets import Targets, encode_targets
from proxmtl.estimators.weights import class_factors, sample_weights
from proxmtl.io.model import ModelState
from proxmtl.label_coding import signs_of
from proxmtl.targets import ClassWeight

__all__ = ["LinearAttributeClassifier"]

Array = NDArray[Any]
Callback = Callable[[Any], None]


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class FieldsAsParameters:
    """Base of estimators whose constructor is made from their fields, without a decorator.

    An annotated name of a class body is a parameter, with its default; one that `fit` sets is
    ``name_: type = field(init=False)``. A class that writes ``__init__`` itself, as scikit-learn's
    do, keeps it, and so do the classes that inherit it: their fields are no parameters.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Make a subclass a dataclass, unless its constructor is a written one."""
        super().__init_subclass__(**options)
        owner = next(each for each in cls.__mro__ if "__init__" in vars(each))
        if owner is object or "__dataclass_fields__" in vars(owner):
            dataclass(kw_only=True, eq=False, repr=False)(cls)


class LinearAttributeClassifier(
    FieldsAsParameters,
    ClassifierMixin,  # type: ignore[misc]  # no stubs
    BaseEstimator,  # type: ignore[misc]
):
    """Base of linear classifiers of several binary attributes with missing labels.

    Features may be dense or sparse, of all attributes or a matrix for each: see `fit`. A subclass
    implements `_solve`. A parameter is a field, here or there: scikit-learn reads them
    from the constructor, which is made from the fields. A subclass needs no decorator::

        class Mine(LassoClassifier):
            strength: float = 0.5  # another default
            depth: int = 3         # a parameter more

    Attributes
    ----------
    coef_ : ndarray of shape (M, D)
        Coefficients on the features as given.
    intercept_ : ndarray of shape (M,)
        Intercepts.
    label_values_ : ndarray of shape (2,)
        The two label values, negative first.
    classes_ : ndarray
        What scikit-learn asks for. Labels of several attributes: their numbers 0 .. M - 1, as in
        other multilabel classifiers. One attribute: the two label values.
    mean_, scale_ : ndarray of shape (D,)
        The standardisation that was folded into the coefficients (0 and 1 without).
    label_names_ : list of str or None
        Attribute names, where they are known.
    feature_names_in_ : ndarray of shape (D,)
        Names of the features, if these were a data frame with names; absent otherwise.
    """

    fit_intercept: bool = True
    standardize: bool = True
    class_weight: Any = None
    label_names: Sequence[str] | None = None

    coef_: Array = field(init=False)
    intercept_: Array = field(init=False)
    label_values_: Array = field(init=False)
    mean_: Array = field(init=False)
    scale_: Array = field(init=False)
    label_names_: list[str] | None = field(init=False)
    n_features_in_: int = field(init=False)
    feature_names_in_: NDArray[np.object_] = field(init=False)
    _n_given: int = field(init=False)  # rows that were given
    _rows: NDArray[np.intp] = field(init=False)  # numbers of those that are fitted

    def _solve(
        self,
        X: Samples,
        signs: Array,
        weights: Array | None,
        class_weight: ClassWeight,
        callback: Callback | None,
        *,
        warm: bool,
    ) -> tuple[Array, Array]:
        """Fit on standardised features, signs (N, M) with NaN, weights (N,) or (N, M).

        `Samples.posed` makes a design and targets of these.

        Sets ``result_``; returns coefficients (D, M) and intercepts (M,).
        """
        raise NotImplementedError

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, callback: Callback | None = None
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X
            Features (N, D), float32 or float64 (others become float64), dense or sparse of SciPy;
            sparse ones are not made dense. Or, where tasks have samples of their own, a list of M
            such matrices, (N_m, D).
        y
            Labels (N, M) in {0, 1}, {-1, 1} or booleans; or (N,) with any two values for one
            attribute. NaN, None, ``pandas.NA`` and masked entries are missing labels. A data frame
            also gives the attribute names. Row i belongs to row i of `X`; it is an error if the
            indexes of two data frames have the same labels in other places. For a list of matrices
            a list of M vectors (N_m,), of the same two values.
        sample_weight
            Non-negative weights (N,), or (N, M) for a weight per label; for a list of matrices a
            list of M vectors.
        callback
            Called by the solver with its progress (``iteration``, ``passes``, ``objective``,
            ``seconds``).

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If features are not finite, the numbers of rows differ, indexes contradict their order,
            labels have other values, an attribute has one class only, or a parameter is out of its
            range.
        """
        return self._fit(X, y, sample_weight, classes=None, warm=False, callback=callback)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        classes: Any,
        warm: bool,
        callback: Callback | None,
    ) -> Self:
        y, sample_weight = stacked(X, y, sample_weight)
        check_same_order(X, y=y, sample_weight=sample_weight)
        X = checked(self, X, y, reset=not warm)
        names = self._resolve_names(y)
        known = self.label_values_ if warm else classes
        targets = encode_targets(y, classes=known, names=names)
        check_consistent_length(X.X, targets.signs)
        if warm and len(self.coef_) != targets.signs.shape[1]:
            raise ValueError(
                f"Y has {targets.signs.shape[1]} columns, and this model was fitted on "
                f"{len(self.coef_)}; give labels of the same attributes."
            )
        factors = class_factors(as_python(self.class_weight), targets.classes)
        weights = sample_weights(targets.signs, sample_weight)
        self._n_given = len(X)
        X, targets, weights, self._rows = _leave_out_weightless(X, targets, weights)
        if not warm:
            moments = self._moments(X, weights)
            moments.check_foldable()
            self.mean_, self.scale_ = moments
            self.label_values_, self._is_vector = targets.classes, targets.is_vector
            self.label_names_ = None if names is None else list(names)
        moments = Standardization(self.mean_, self.scale_)
        coef, intercept = self._solve(
            X.standardized(moments) if self.standardize else X,
            targets.signs,
            weights,
            factors,
            callback,
            warm=warm,
        )
        coef, self.intercept_ = moments.fold(coef, intercept)
        self.coef_ = np.ascontiguousarray(coef.T)
        return self

    @property
    def classes_(self) -> Array:
        """Numbers of the attributes, or the two label values of a single one."""
        check_is_fitted(self)
        n_attributes = len(self.coef_)
        return self.label_values_ if n_attributes == 1 else np.arange(n_attributes)

    @property
    def _given(self) -> SimpleNamespace:
        """The parameters, with NumPy's scalars as Python's numbers."""
        given = self.get_params(deep=False).items()
        return SimpleNamespace(**{name: as_python(value) for name, value in given})

    def _resolve_names(self, y: Any) -> tuple[str, ...] | None:
        given = self.label_names if self.label_names is not None else getattr(y, "columns", None)
        return None if given is None else tuple(str(name) for name in given)

    def _moments(self, X: Samples, weights: Array | None) -> Standardization:
        if not self.standardize:
            return identity(X.n_features)
        per_row = weights.mean(axis=1) if weights is not None and weights.ndim == 2 else weights
        return X.moments(per_row)

    @each_task
    def decision_function(self, X: Any) -> Array:
        """Scores, positive where the attribute is predicted.

        Parameters
        ----------
        X
            Features (N, D), dense or sparse; or a list of M such matrices, one a task.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            Shape (N, M), or (N,) if the labels were a vector. For a list of matrices one of M
            vectors (N_m,), each of the matrix's own task.

        Raises
        ------
        ValueError
            If features are not finite, or so large that scores overflow.
        """
        check_is_fitted(self)
        X = checked(self, X)
        with np.errstate(over="ignore", invalid="ignore"):
            scores: Array = X.scores(self.coef_.T, self.intercept_)
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
            raise ValueError(
                f"X: the scores of row {row} overflow; its features are far beyond those that the "
                "model was fitted on."
            )
        return scores[:, 0] if self._is_vector else scores

    @each_task
    def predict(self, X: Any) -> Array:
        """Predicted labels in the coding of the labels of `fit`, of the shape of the scores."""
        scores = self.decision_function(X)
        predicted: Array = self.label_values_[(scores > 0).astype(np.intp)]
        return predicted

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean over the attributes of the accuracy on observed labels.

        For the mean average precision, the other score of the literature, give
        ``scoring=proxmtl.experiments.mean_ap`` to scikit-learn's searches.

        Parameters
        ----------
        X
            Features as for `fit`.
        y
            Labels as for `fit`; an attribute may have one class only, or no label.
        sample_weight
            Weights as for `fit`.

        Raises
        ------
        ValueError
            If the shape of `y` is not that of the predictions, it has a value that `fit` did not
            see, or no label to score.
        """
        y, sample_weight = stacked(X, y, sample_weight)
        check_same_order(X, y=y, sample_weight=sample_weight)
        scores = self.decision_function(checked(self, X))
        signs = signs_of(y, self.label_values_)
        if signs.shape != scores.shape:
            raise ValueError(
                f"y has shape {signs.shape} and the predictions {scores.shape}; "
                "give labels of the attributes that the model was fitted on."
            )
        signs, scores = signs.reshape(len(signs), -1), scores.reshape(len(signs), -1)
        weights = (~np.isnan(signs)).astype(np.float64)
        if sample_weight is not None:
            given = np.asarray(sample_weight, dtype=np.float64)
            weights *= given if given.ndim == 2 else given[:, np.newaxis]
        total = weights.sum(axis=0)
        if not total.any():
            raise ValueError("y has no observed label with a weight; there is nothing to score.")
        right = (weights * ((scores > 0) == (signs > 0))).sum(axis=0)
        return float(np.mean(right[total > 0] / total[total > 0]))

    def to_state(self) -> ModelState:
        """Describe the fitted model as plain data; `proxmtl.io.save_model` writes it."""
        return to_state(self)

    @classmethod
    def from_state(cls, state: ModelState) -> Self:
        """Rebuild a fitted model from `to_state`'s data; it has ``fit_report_``, no ``result_``."""
        estimator: Self = from_state(cls, state)
        return estimator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        return tags


def _leave_out_weightless(
    X: Samples, targets: Targets, weights: Array | None
) -> tuple[Samples, Targets, Array | None, NDArray[np.intp]]:
    """Drop rows of weight zero, and forget labels of weight zero; the last are the rows kept."""
    if weights is None or weights.all():
        return X, targets, weights, np.arange(len(X))
    per_label = weights if weights.ndim == 2 else weights[:, np.newaxis]
    signs = np.where(per_label > 0, targets.signs, np.nan)
    kept = (per_label > 0).any(axis=1)
    # Checked once more: a class may have lost its last label.
    signs = encode_targets(signs[kept], names=targets.names).signs
    return X.rows(kept), targets._replace(signs=signs), weights[kept], np.flatnonzero(kept)
