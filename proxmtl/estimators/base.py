"""What all estimators share: inputs, standardisation, linear predictions, names and state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from types import SimpleNamespace
from typing import Any, Self, dataclass_transform

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from proxmtl.arrays import as_python, check_same_order
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.samples import Samples, checked, stacked
from proxmtl.estimators.standardize import Standardization, identity
from proxmtl.estimators.state import from_state, to_state
from proxmtl.estimators.weights import sample_weights
from proxmtl.io.model import ModelState
from proxmtl.latent import LatentResult
from proxmtl.result import Result
from proxmtl.wording import warn

__all__ = ["LinearModel"]

Array = NDArray[Any]
Callback = Callable[[Any], None]
OTHER_KINDS = {"cv", "n_latents", "random_state"}
"""Parameters whose default is a number, and which take something else as well."""


@contextmanager
def restored_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Leave an estimator as it was where its fit does not end: half of one predicts nonsense."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


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


class LinearModel(FieldsAsParameters, BaseEstimator):  # type: ignore[misc]  # no stubs
    """Base of linear models of several attributes with missing labels, whatever the labels are.

    Features may be dense or sparse, of all attributes or a matrix for each: see `fit`. Two kinds
    of classes stand on it, and an estimator is made of one of each: *labels*
    (:class:`LinearAttributeClassifier`, :class:`LinearAttributeRegressor`) implement `_read`,
    *models* implement `_solve`. A parameter is a field, here or there: scikit-learn reads them
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
    mean_, scale_ : ndarray of shape (D,)
        The standardisation that was folded into the coefficients (0 and 1 without).
    label_names_ : list of str or None
        Attribute names, where they are known.
    feature_names_in_ : ndarray of shape (D,)
        Names of the features, if these were a data frame with names; absent otherwise.
    """

    fit_intercept: bool = True
    standardize: bool = True
    label_names: Sequence[str] | None = None

    coef_: Array = field(init=False)
    intercept_: Array = field(init=False)
    mean_: Array = field(init=False)
    scale_: Array = field(init=False)
    label_names_: list[str] | None = field(init=False)
    n_features_in_: int = field(init=False)
    feature_names_in_: NDArray[np.object_] = field(init=False)
    _n_given: int = field(init=False)  # rows that were given
    _rows: NDArray[np.intp] = field(init=False)  # numbers of those that are fitted

    def _read(
        self, y: Any, names: Sequence[str] | None, *, classes: Any, warm: bool
    ) -> EncodedLabels:
        """Read labels; if warm, of the same kind as those of the model that is there."""
        raise NotImplementedError

    def _check(self, labels: EncodedLabels, names: Sequence[str] | None) -> None:
        """Raise if an attribute can't be learnt from the labels that have a weight."""
        raise NotImplementedError

    def _posed(self, labels: EncodedLabels, *, warm: bool) -> EncodedLabels:
        """Labels as they are solved for; unless warm, what predictions need of them is kept."""
        del warm
        return labels

    def _solve(
        self, X: Samples, labels: EncodedLabels, callback: Callback | None, *, warm: bool
    ) -> tuple[Array, Array]:
        """Fit on standardised features and labels (N, M).

        `Samples.posed` makes a design and targets of these.

        Sets ``result_``; returns coefficients (D, M) and intercepts (M,).
        """
        raise NotImplementedError

    def _units(self) -> tuple[Any, Any]:
        """Centre and scale that labels were solved for in."""
        return 0.0, 1.0

    def _restore(self) -> None:
        """Bring what was solved for back to the units of the labels as given."""

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
            Labels (N, M), or (N,) of one attribute; of a classifier in {0, 1}, {-1, 1} or booleans,
            of one attribute any two values; of a regressor real numbers. NaN, None, ``pandas.NA``
            and masked entries are missing labels. A data frame also gives the attribute names. Row
            i belongs to row i of `X`; it is an error if the indexes of two data frames have the
            same labels in other places. For a list of matrices a list of M vectors (N_m,).
        sample_weight
            Non-negative weights (N,), or (N, M) for a weight per label; for a list of matrices a
            list of M vectors. A label of weight 0 is a missing one; the weight of a missing label
            has no effect beside other labels of its row.
        callback
            Called by the solver with its progress (``iteration``, ``passes``, ``objective``,
            ``seconds``).

        Returns
        -------
        self
            Where an error is raised, or the fit is interrupted, the estimator stays as it was.

        Raises
        ------
        ValueError
            If features are not finite, the numbers of rows differ, indexes contradict their order,
            labels have other values, an attribute has one class only or no label, or a parameter
            is out of its range.
        """
        return self._fit(X, y, sample_weight, classes=None, warm=False, callback=callback)

    def _check_parameters(self) -> None:
        """Raise ``ValueError`` where a parameter that is a number or a truth value is none."""
        for each in fields(self):
            value = as_python(getattr(self, each.name, each.default)) if each.init else None
            if isinstance(each.default, bool):
                if each.init and not isinstance(value, bool):
                    raise ValueError(f"{each.name}: got {value!r}; give True or False.")
            elif (
                isinstance(each.default, (int, float))
                and each.name not in OTHER_KINDS
                and (isinstance(value, bool) or not isinstance(value, (int, float)))
            ):
                raise ValueError(f"{each.name}: got {value!r}; give a number.")

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
        with restored_on_error(self):
            X, labels = self._prepared(X, y, sample_weight, classes=classes, warm=warm)
            coef, intercept = self._solve(X, labels, callback, warm=warm)
            moments = Standardization(self.mean_, self.scale_)
            coef, self.intercept_ = moments.fold(coef, intercept)
            self.coef_ = np.ascontiguousarray(coef.T)
            self._restore()
        return self

    def _prepared(
        self, X: Any, y: Any, sample_weight: Any, *, classes: Any = None, warm: bool = False
    ) -> tuple[Samples, EncodedLabels]:
        """Check parameters and data; return standardised features, and labels as solved for."""
        self._check_parameters()
        y, sample_weight = stacked(X, y, sample_weight)
        check_same_order(X, y=y, sample_weight=sample_weight)
        samples = checked(self, X, y, reset=not warm)
        names = self._resolve_names(y)
        labels = self._read(y, names, classes=classes, warm=warm)
        check_consistent_length(samples.X, labels.numbers)
        if warm and len(self.coef_) != labels.numbers.shape[1]:
            raise ValueError(
                f"Y has {labels.numbers.shape[1]} columns, and this model was fitted on "
                f"{len(self.coef_)}; give labels of the same attributes."
            )
        labels = replace(labels, weights=sample_weights(labels.numbers, sample_weight))
        self._n_given = len(samples)
        labels, self._rows = labels.weighted()
        if len(self._rows) < len(samples):
            samples = samples.rows(self._rows)
        self._check(labels, names)
        if not warm:
            moments = self._moments(samples, labels.per_row())
            moments.check_foldable()
            self.mean_, self.scale_ = moments
            self._is_vector = labels.is_vector
            self.label_names_ = None if names is None else list(names)
        if self.standardize:
            samples = samples.standardized(Standardization(self.mean_, self.scale_))
        return samples, self._posed(labels, warm=warm)

    def _warn_of(self, result: Result[Any] | LatentResult) -> None:
        """Say that a solve ended early, if it did."""
        if not result.status.ok:
            ended = result.status.advice(result.certificate)
            warn(f"{type(self).__name__}: {ended} ({result.certificate}.)", ConvergenceWarning)

    @property
    def _given(self) -> SimpleNamespace:
        """The parameters, with NumPy's scalars as Python's numbers."""
        given = self.get_params(deep=False).items()
        return SimpleNamespace(**{name: as_python(value) for name, value in given})

    def _resolve_names(self, y: Any) -> tuple[str, ...] | None:
        given = self.label_names if self.label_names is not None else getattr(y, "columns", None)
        return None if given is None else tuple(str(name) for name in given)

    def _moments(self, X: Samples, weights: Array | None) -> Standardization:
        return X.moments(weights) if self.standardize else identity(X.n_features)

    def _scores(self, X: Any) -> Array:
        """Linear scores of features (N, D), of shape (N, M), or (N,) if labels were a vector."""
        check_is_fitted(self)
        scores = self._linear(X, self.coef_, self.intercept_)
        return scores[:, 0] if self._is_vector else scores

    def _linear(self, X: Any, coef: Array, offset: Array) -> Array:
        """``X @ coef.T + offset`` of features (N, D), or of Samples.

        Raises
        ------
        ValueError
            If features are not finite, or so large that scores overflow.
        """
        X = checked(self, X)
        with np.errstate(over="ignore", invalid="ignore"):
            scores: Array = X.scores(coef.T, offset)
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
            raise ValueError(
                f"X: the scores of row {row} overflow; its features are far beyond those that the "
                "model was fitted on."
            )
        return scores

    def to_state(self) -> ModelState:
        """Describe the fitted model as plain data; `proxmtl.estimators.save_model` writes it."""
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
        return tags
