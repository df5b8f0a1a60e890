"""Feature matrices of estimators: dense or sparse, shared or a matrix for each task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import check_array, validate_data

from proxmtl.arrays import as_float_tensor, check_same_order
from proxmtl.designs import Design, SharedDesign, ShiftedDesign, TaskDesign
from proxmtl.designs.checks import consecutive
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.standardize import Standardization, fit_standardization
from proxmtl.label_coding import observed_labels
from proxmtl.numerics import ROUNDING
from proxmtl.targets import Reduction, Targets
from proxmtl.wording import counted

__all__ = ["Posed", "Samples", "checked", "each_task", "is_per_task", "stacked"]

Array = NDArray[Any]


class Posed(NamedTuple):
    """Training data in the form that the engine takes."""

    design: Design
    targets: Targets
    sample_weight: NDArray[np.float64] | None
    """Weights given to the targets: (N,), (N, M), or in the concatenated shape of the targets."""


@dataclass(frozen=True)
class Samples:
    """Checked features; the only class that knows in which form they are stored.

    Attributes
    ----------
    X : ndarray or sparse CSR, shape (N, D)
        float32 or float64; the matrices of tasks with their own samples are stacked.
    task_of : ndarray of int, shape (N,), or None
        Task of each row; None if the rows belong to all tasks.
    origin : ndarray, shape (D,), or None
        For standardised sparse features: the rows are those of X minus this; float64.
    """

    X: Any
    task_of: NDArray[np.intp] | None = None
    origin: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return int(self.X.shape[0])

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.X.shape[1])

    def rows(self, index: Any) -> Samples:
        """Return the samples of some rows, given by an index array, a mask or a slice."""
        task_of = None if self.task_of is None else self.task_of[index]
        return Samples(self.X[index], task_of, self.origin)

    @cached_property
    def _by_task(self) -> list[NDArray[np.intp]]:
        """Rows of each task, ascending."""
        assert self.task_of is not None
        order = np.argsort(self.task_of, kind="stable")
        n_tasks = int(self.task_of.max(initial=-1)) + 1
        return np.split(order, np.searchsorted(self.task_of[order], np.arange(1, n_tasks)))

    def _rows_by(self, columns: NDArray[np.intp] | None, n_tasks: int) -> list[NDArray[np.intp]]:
        """Rows of each of some tasks, by default of all M; empty for a task without rows."""
        by_task, tasks = self._by_task, range(n_tasks) if columns is None else columns.tolist()
        return [by_task[m] if m < len(by_task) else np.arange(0) for m in tasks]

    def moments(self, weights: Array | None) -> Standardization:
        """Mean and standard deviation of each feature over all rows of all tasks.

        For sparse features they are those of X, ignoring `origin`, as `standardized` expects them.
        """
        return fit_standardization(self.X, weights)

    def standardized(self, moments: Standardization) -> Samples:
        """Return the features minus their means over their scales.

        Sparse features are divided by their scales and stay sparse; the means become the `origin`,
        which every product subtracts. The argument must come from `moments` of these samples or of
        some of their rows; the new origin replaces an earlier one.
        """
        if not sparse.issparse(self.X):
            return replace(self, X=moments.apply(self.X))
        mean, scale = moments
        # a constant feature becomes exactly 0, though its entries differ by rounding
        rounding = np.where(scale == 1, 2 * ROUNDING * np.abs(mean), -1.0)
        columns = self.X.indices
        differs = np.abs(self.X.data - mean[columns]) > rounding[columns]
        stored = np.bincount(columns, minlength=self.n_features)
        constant = np.bincount(columns[differs], minlength=self.n_features) == 0
        constant &= (stored == len(self)) | (np.abs(mean) <= rounding)
        scaled = np.where(constant[columns], 0.0, self.X.data / scale[columns])
        X = self.X.copy()
        X.data = scaled.astype(X.dtype)
        if constant.any():
            X.eliminate_zeros()
        return replace(self, X=X, origin=np.where(constant, 0.0, mean / scale))

    def posed(
        self,
        labels: EncodedLabels,
        *,
        intercept: bool,
        reduction: Reduction,
        columns: NDArray[np.intp] | None = None,
    ) -> Posed:
        """Build design and targets of these features.

        Dense features of tasks with their own rows become a :class:`TaskDesign`, whose products
        read each row for its own task only.

        Parameters
        ----------
        labels
            Labels of these rows, (N, M); missing in rows of other tasks.
        columns
            Indices of the tasks of the labels, ascending; default: all.
        """
        numbers, weights = labels.numbers, labels.weights
        design: Design
        values: Any = numbers
        given: Any = weights
        if self.task_of is None or sparse.issparse(self.X):
            design = self.shared_design(intercept=intercept)
        else:
            X = as_float_tensor("X", self.X)
            rows = self._rows_by(columns, numbers.shape[1])
            parts = [X[consecutive(torch.from_numpy(own))] for own in rows]
            design = TaskDesign(parts, intercept=intercept)
            values = [numbers[own, j] for j, own in enumerate(rows)]
            if weights is not None:  # a label has the weight of its row
                given = [weights[own] for own in rows]
                weights = np.concatenate(given)
        targets = Targets.from_labels(
            values,
            sample_weight=given,
            class_weight=labels.class_weight,
            reduction=reduction,
            like=torch.empty(0, dtype=design.dtype),
            coding=labels.coding,
        )
        return Posed(design, targets, weights)

    def shared_design(self, *, intercept: bool) -> Design:
        """Return a design in which all tasks share these features."""
        if self.origin is not None:
            return ShiftedDesign(self.X, self.origin, intercept=intercept)
        X = self.X if sparse.issparse(self.X) else as_float_tensor("X", self.X)
        return SharedDesign(X, intercept=intercept)

    def label_weights(self, posed: Posed) -> Array:
        """Weights of all labels in the loss, (N, M), from the result of `posed`."""
        targets = posed.targets
        weights: Array = targets.weights.numpy()
        if targets.task_of is None:
            return weights
        out = np.zeros((len(self), targets.n_tasks), dtype=weights.dtype)
        out[np.concatenate(self._by_task), targets.task_of.numpy()] = weights
        return out

    def scores(
        self, coef: Array, intercept: Array | None, columns: NDArray[np.intp] | None = None
    ) -> Array:
        """Decision values (N, M'); 0 in rows of other tasks.

        Parameters
        ----------
        coef, intercept
            Shapes (D, M') and (M',).
        columns
            Indices of these tasks; default: all.
        """
        if self.origin is not None:
            shift = self.origin @ coef
            intercept = -shift if intercept is None else intercept - shift
        if self.task_of is None:
            scores: Array = self.X @ coef
            return scores if intercept is None else scores + intercept
        n_tasks = coef.shape[1]
        scores = np.zeros((len(self), n_tasks), np.result_type(self.X.dtype, coef.dtype))
        biases = np.zeros(n_tasks) if intercept is None else intercept
        for j, rows in enumerate(self._rows_by(columns, n_tasks)):
            scores[rows, j] = self.X[rows] @ coef[:, j] + biases[j]
        return scores

    def split(self, values: Array) -> list[Array]:
        """Split values (N, M) or (N,) of rows that each have a task into a vector for each task.

        A row's value is that in the column of its task; if a single task has two columns (classes),
        the second one.
        """
        by_task = self._by_task
        if values.ndim == 1:
            return [values[rows] for rows in by_task]
        single = len(by_task) == 1
        return [values[rows, -1 if single else m] for m, rows in enumerate(by_task)]


# ---------------------------------------------------------------------- users' arrays


def is_per_task(X: Any) -> bool:
    """Whether X is a list (or tuple) with a matrix for each task.

    Lists of lists or of vectors are a single matrix, given by its rows.
    """
    return isinstance(X, (list, tuple)) and any(_is_matrix(part) for part in X)


def _is_matrix(part: Any) -> bool:
    return len(getattr(part, "shape", ())) == 2


def checked(estimator: Any, X: Any, y: Any = "no_validation", *, reset: bool = False) -> Samples:
    """Check features as scikit-learn does, including their number and names.

    Parameters
    ----------
    estimator
        Estimator with the attributes ``n_features_in_`` and ``feature_names_in_``.
    X
        A matrix, dense or sparse; a list with one for each task; or `Samples`, which were checked.
    y
        None if required labels are missing.
    reset
        Whether to set the attributes of the estimator, rather than compare with them.
    """
    if isinstance(X, Samples):
        return X
    kinds: dict[str, Any] = {"accept_sparse": "csr", "dtype": [np.float64, np.float32]}
    if not is_per_task(X):
        y = None if y is None else "no_validation"
        return Samples(_canonical(validate_data(estimator, X=X, y=y, reset=reset, **kinds)))
    for m, part in enumerate(X):
        if not _is_matrix(part):
            raise ValueError(
                f"X: a list of matrices, one a task, and number {m} is none "
                f"({type(part).__name__}); give a matrix (samples, features) for each task."
            )
    widths = sorted({part.shape[1] for part in X})
    if len(widths) > 1:
        raise ValueError(
            f"X: its matrices differ in their number of features ({', '.join(map(str, widths))}); "
            "tasks share their features."
        )
    first = getattr(X[0], "columns", None)
    for m, part in enumerate(X):
        names = getattr(part, "columns", None)
        if (None if names is None else list(names)) != (None if first is None else list(first)):
            raise ValueError(
                f"X: the features of number {m} have other names, or another order, than those of "
                "number 0; give the same columns for every task."
            )
    n_sparse = sum(sparse.issparse(part) for part in X)
    if 0 < n_sparse < len(X):
        raise ValueError(
            f"X: {n_sparse} of its {len(X)} matrices are sparse and the others dense; give "
            "one kind."
        )
    parts = [check_array(part, input_name=f"X[{m}]", **kinds) for m, part in enumerate(X)]
    validate_data(estimator, X=X[0], y="no_validation", reset=reset, skip_check_array=True)
    task_of = np.repeat(np.arange(len(parts)), [part.shape[0] for part in parts])
    if n_sparse:
        return Samples(_canonical(sparse.vstack(parts, format="csr")), task_of)
    return Samples(np.concatenate(parts), task_of)


def _canonical(X: Any) -> Any:
    """Copy sparse features with duplicate entries summed; the user's matrix is not modified."""
    if sparse.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def stacked(X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any]:
    """Stack labels and weights of tasks with their own samples to those of all rows.

    Parameters
    ----------
    X
        A list with a matrix (N_m, D) for each task; otherwise y and the weights are returned as
        they are.
    y
        A list of vectors (N_m,).
    sample_weight
        A list of vectors (N_m,), or None.

    Returns
    -------
    y, sample_weight
        Labels (N, M), missing in the rows of other tasks; weights (N,) or None.

    Raises
    ------
    ValueError
        If the number of vectors, or the length of one, does not match the matrices.
    """
    if not is_per_task(X) or y is None:
        return y, sample_weight
    sizes = [part.shape[0] if _is_matrix(part) else len(part) for part in X]
    labels = _vectors("y", y, sizes)
    for m, (part, own) in enumerate(zip(X, labels, strict=True)):
        check_same_order(part, **{f"y[{m}]": own})
    weights = None
    if sample_weight is not None:
        parts = _vectors("sample_weight", sample_weight, sizes)
        weights = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
    task_of = np.repeat(np.arange(len(sizes)), sizes)
    read = [observed_labels(own) for own in labels]
    for m, own in enumerate(read):
        if own.where.ndim != 1:
            raise ValueError(
                f"y[{m}]: has shape {own.where.shape}; the labels of a task are a vector."
            )
    values = np.concatenate([own.labels for own in read])
    missing = ~np.concatenate([own.where for own in read])
    numbers = values.dtype.kind in "iuf"  # booleans and text keep their type beside what is missing
    flat = np.full(len(missing), np.nan, dtype=np.float64 if numbers else object)
    flat[~missing] = values
    table = np.full((len(flat), len(sizes)), np.nan, dtype=flat.dtype)
    table[np.arange(len(flat)), task_of] = flat
    return table, weights


def _vectors(name: str, given: Any, sizes: Sequence[int]) -> Sequence[Any]:
    n_tasks = len(sizes)
    if not isinstance(given, (list, tuple)):
        raise ValueError(
            f"{name}: got a {type(given).__name__}, and X is a list of "
            f"{counted(n_tasks, 'matrix', 'matrices')}, one a task; give a list of as many vectors."
        )
    if len(given) != n_tasks:
        raise ValueError(
            f"{name}: a list of {len(given)} for the {counted(n_tasks, 'matrix', 'matrices')} of "
            "X; give one vector for each."
        )
    for m, (part, size) in enumerate(zip(given, sizes, strict=True)):
        length = len(part) if hasattr(part, "__len__") else None
        if length != size:
            seen = "no vector" if length is None else f"{length} long"
            raise ValueError(
                f"{name}[{m}]: is {seen}, and X[{m}] has {counted(size, 'row')}; give one value "
                "for each."
            )
    return given


def each_task(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Decorate a method that maps features (N, D) to (N, M) to accept a list of task matrices.

    For a list, the method returns a list of vectors, the values of each matrix for its own task.
    """

    @functools.wraps(method)
    def taking(self: Any, X: Any) -> Any:
        if not is_per_task(X):
            return method(self, X)
        samples = checked(self, X)
        if hasattr(self, "coef_") and len(X) != len(self.coef_):
            raise ValueError(
                f"X: a list of {counted(len(X), 'matrix', 'matrices')} for the "
                f"{counted(len(self.coef_), 'task')} of this model; give one matrix for each, or "
                "one matrix for all."
            )
        return samples.split(method(self, samples))

    return taking
