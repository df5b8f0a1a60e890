"""Base of all estimators: inputs, standardisation, linear predictions, names and state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from types import SimpleNamespace
from typing import Any, ClassVar, Self, dataclass_transform

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from proxmtl.arrays import as_python, check_same_order
from proxmtl.estimators.inputs import checked, stacked
from proxmtl.estimators.labels import EncodedLabels, PairLabels
from proxmtl.estimators.samples import Samples
from proxmtl.estimators.standardize import Standardization, identity
from proxmtl.estimators.state import from_state, to_state
from proxmtl.estimators.watch import Watch
from proxmtl.estimators.weights import pair_weights, sample_weights
from proxmtl.io.checkpoint import Checkpoint
from proxmtl.io.model import ModelState
from proxmtl.label_arrays import SparseLabels
from proxmtl.latent import LatentResult
from proxmtl.posing import observed_design
from proxmtl.ranks import ALONE
from proxmtl.regularizers import UnsupportedError
from proxmtl.result import Result
from proxmtl.threads import is_small, one_thread
from proxmtl.wording import warn

__all__ = ["LinearModel"]

Array = NDArray[Any]
Callback = Callable[[Any], None]
OTHER_KINDS = {"cv", "n_latents", "random_state"}
"""Parameters whose default is a number but that also accept values of other types."""


@contextmanager
def restored_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Restore the estimator if an error or interrupt ends its fit: half a fit is meaningless."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class FieldsAsParameters:
    """Base of estimators whose constructor is generated from their fields, as for dataclasses.

    An annotated name in a class body is a parameter with its default; an attribute that `fit` sets
    is declared as ``name_: type = field(init=False)``. A class with a written ``__init__`` keeps
    it, as do its subclasses; their fields are then no parameters.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Make a subclass a dataclass, unless it defines or inherits a written constructor."""
        super().__init_subclass__(**options)
        owner = next(each for each in cls.__mro__ if "__init__" in vars(each))
        if owner is object or "__dataclass_fields__" in vars(owner):
            dataclass(kw_only=True, eq=False, repr=False)(cls)


class LinearModel(FieldsAsParameters, BaseEstimator):  # type: ignore[misc]  # no stubs
    """Base of linear models of several attributes with missing labels, binary or real.

    Features may be dense or sparse, shared by all attributes or a matrix for each: see `fit`. An
    estimator inherits from two kinds of subclasses: one for the *labels*
    (:class:`LinearAttributeClassifier` or :class:`LinearAttributeRegressor`), which implements
    `_read`, and one for the *model*, which implements `_solve`. Parameters are the fields of all
    these classes, from which the constructor is generated. A subclass needs no decorator::

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
        Standardisation that was folded into the coefficients (0 and 1 without it).
    label_names_ : list of str or None
        Attribute names, where they are known.
    feature_names_in_ : ndarray of shape (D,)
        Names of the features, if these were a data frame with names; absent otherwise.
    """

    fit_intercept: bool = True
    standardize: bool = True
    label_names: Sequence[str] | None = None

    takes_pairs: ClassVar[bool] = False
    """Whether labels may be those of some pairs of a row and an attribute only."""

    coef_: Array = field(init=False)
    intercept_: Array = field(init=False)
    mean_: Array = field(init=False)
    scale_: Array = field(init=False)
    label_names_: list[str] | None = field(init=False)
    n_features_in_: int = field(init=False)
    feature_names_in_: NDArray[np.object_] = field(init=False)
    _n_given: int = field(init=False)  # number of rows passed to fit
    _rows: NDArray[np.intp] = field(init=False)  # indices of the rows that are used

    def _read(
        self, y: Any, names: Sequence[str] | None, *, classes: Any, warm: bool
    ) -> EncodedLabels:
        """Encode labels; if ``warm``, they must be of the same kind as those of the first fit."""
        raise NotImplementedError

    def _check(self, labels: EncodedLabels, names: Sequence[str] | None) -> None:
        """Raise if an attribute cannot be learnt from its labels of positive weight."""
        raise NotImplementedError

    def _check_form(self, X: Samples) -> None:
        """Raise ``UnsupportedError`` if the model cannot be fitted on features of this form."""

    def _posed(self, labels: EncodedLabels, *, warm: bool) -> EncodedLabels:
        """Convert labels to those of the solve; unless ``warm``, store what predictions need."""
        del warm
        return labels

    def _solve(
        self, X: Samples, labels: EncodedLabels, watch: Watch, *, warm: bool
    ) -> tuple[Array, Array]:
        """Fit on standardised features and labels (N, M).

        `Samples.posed` makes a design and targets of them. The watch has the callback, and keeps
        what is finished.

        Sets ``result_``; returns coefficients (D, M) and intercepts (M,).
        """
        raise NotImplementedError

    def _units(self) -> tuple[Any, Any]:
        """Centre and scale by which the labels of the solve were standardised."""
        return 0.0, 1.0

    def _restore(self) -> None:
        """Convert the fitted attributes to the units of the given labels."""

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        callback: Callback | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X
            Features (N, D), float32 or float64 (others become float64), dense or SciPy sparse
            (never converted to dense). If tasks have their own samples, a list of M such matrices,
            (N_m, D). Features larger than memory: what :func:`proxmtl.io.open_shards` returns.
        y
            Labels (N, M), or (N,) for one attribute. For a classifier in {0, 1}, {-1, 1} or
            booleans (a single attribute: any two values); for a regressor real numbers. NaN, None,
            ``pandas.NA`` and masked entries are missing labels. A data frame also provides the
            attribute names. Row i belongs to row i of `X`; data frames whose indexes contradict
            this raise. For a list of matrices, a list of M vectors (N_m,). A SciPy sparse matrix
            (N, M): the entries -1 and +1 (of a regressor: any numbers) that it stores are the
            labels, and all others are missing; of a classifier 1 alone: all others are negative,
            as in a dense matrix.
        sample_weight
            Non-negative weights (N,), or (N, M) for a weight per label; for a list of matrices, a
            list of M vectors. A label of weight 0 counts as missing.
        callback
            Called by the solver with its progress (``iteration``, ``passes``, ``objective``,
            ``seconds``).
        checkpoint
            A :class:`proxmtl.io.Checkpoint`: a folder that keeps what is done of the fit, so that
            the same call goes on from there after an interruption, to the same model. It needs a
            ``random_state`` that is a number, if there is one.

        Returns
        -------
        self
            If an error is raised, or the fit is interrupted, the estimator is unchanged.

        Raises
        ------
        ValueError
            If features are not finite, numbers of rows differ, indexes contradict the order of the
            rows, labels have other values, an attribute has one class only or no label, or a
            parameter is out of range.
        InputError
            If the checkpoint is damaged, or of another fit.
        """
        return self._fit(
            X,
            y,
            sample_weight,
            classes=None,
            warm=False,
            callback=callback,
            checkpoint=checkpoint,
        )

    def _check_parameters(self) -> None:
        """Raise ``ValueError`` for values of another type, and for a negative ``tol``."""
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
            elif each.name == "tol" and (value is None or not value >= 0):
                raise ValueError(f"tol: got {value!r}; it must be >= 0.")

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        classes: Any,
        warm: bool,
        callback: Callback | None,
        checkpoint: Checkpoint | None = None,
    ) -> Self:
        with restored_on_error(self):
            X, labels = self._prepared(X, y, sample_weight, classes=classes, warm=warm)
            watch = Watch.on(callback, checkpoint, self, labels, X.X)
            with one_thread(small=is_small(labels.numbers.shape, X.X.shape[1])):
                coef, intercept = self._solve(X, labels, watch, warm=warm)
            moments = Standardization(self.mean_, self.scale_)
            coef, self.intercept_ = moments.fold(coef, intercept)
            self.coef_ = np.ascontiguousarray(coef.T)
            self._restore()
        return self

    def _prepared(
        self, X: Any, y: Any, sample_weight: Any, *, classes: Any = None, warm: bool = False
    ) -> tuple[Samples, EncodedLabels]:
        """Check parameters and data; return standardised features and the labels of the solve."""
        self._check_parameters()
        y, sample_weight = stacked(X, y, sample_weight)
        check_same_order(X, y=y, sample_weight=sample_weight)
        samples = checked(self, X, y, reset=not warm)
        self._check_form(samples)
        names = self._resolve_names(y)
        labels = self._read(y, names, classes=classes, warm=warm)
        if isinstance(labels, PairLabels) and not self.takes_pairs:
            labels = labels.dense()
        check_consistent_length(samples.X, labels.numbers)
        if warm and len(self.coef_) != labels.numbers.shape[1]:
            raise ValueError(
                f"Y has {labels.numbers.shape[1]} columns, and this model was fitted on "
                f"{len(self.coef_)}; give labels of the same attributes."
            )
        self._check_pairs(samples, labels, sample_weight)
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
            if self.standardize:
                samples = replace(samples, finite=True)
            self._is_vector = labels.is_vector
            self.label_names_ = None if names is None else list(names)
        if self.standardize:
            samples = samples.standardized(Standardization(self.mean_, self.scale_))
        return samples, self._posed(labels, warm=warm)

    def _check_pairs(self, X: Samples, labels: EncodedLabels, sample_weight: Any) -> None:
        """Raise if the fit does not take labels of some pairs only, of a sparse matrix."""
        if not isinstance(labels, PairLabels):
            return
        if sparse.issparse(X.X):
            raise UnsupportedError(
                "X and Y are sparse, and labels of a sparse matrix need dense features; give "
                "X.toarray(), or dense labels with NaN for missing."
            )
        pair_weights(labels.numbers, sample_weight)

    def _warn_of(self, result: Result[Any] | LatentResult) -> None:
        """Warn if a solve ended before its accuracy was reached."""
        if not result.status.ok:
            ended = result.status.advice(result.certificate)
            warn(f"{type(self).__name__}: {ended} ({result.certificate}.)", ConvergenceWarning)

    @property
    def _given(self) -> SimpleNamespace:
        """The parameters, with NumPy scalars converted to Python numbers."""
        given = self.get_params(deep=False).items()
        return SimpleNamespace(**{name: as_python(value) for name, value in given})

    def _resolve_names(self, y: Any) -> tuple[str, ...] | None:
        given = self.label_names if self.label_names is not None else getattr(y, "columns", None)
        return None if given is None else tuple(str(name) for name in given)

    def _moments(self, X: Samples, weights: Array | None) -> Standardization:
        return X.moments(weights) if self.standardize else identity(X.n_features)

    def _scores(self, X: Any) -> Array:
        """Linear scores of features (N, D): shape (N, M), or (N,) if the labels were a vector."""
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

    def _pair_scores(self, X: Any, pairs: SparseLabels) -> Array:
        """Linear scores of some pairs of a row and an attribute, (E,), without those of all others.

        Raises
        ------
        ValueError
            If rows or attributes are not those of the model, or features are sparse.
        """
        check_is_fitted(self)
        samples = checked(self, X)
        if pairs.shape != (len(samples), len(self.coef_)):
            raise ValueError(
                f"y has shape {pairs.shape} and the predictions {(len(samples), len(self.coef_))}; "
                "give labels of the attributes that the model was fitted on."
            )
        if samples.ranks is not ALONE:
            raise UnsupportedError("score: rows are divided among ranks; give all of them to one.")
        design = observed_design(samples.shared_design(intercept=True), pairs)
        W = np.vstack([self.coef_.T, self.intercept_])
        found: Array = design.scores(torch.from_numpy(W)).numpy()
        return found

    def to_state(self) -> ModelState:
        """Convert the fitted model to plain data, which `proxmtl.estimators.save_model` writes."""
        return to_state(self)

    @classmethod
    def from_state(cls, state: ModelState) -> Self:
        """Rebuild a model from the data of `to_state`; has ``fit_report_`` but not ``result_``."""
        estimator: Self = from_state(cls, state)
        return estimator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags
