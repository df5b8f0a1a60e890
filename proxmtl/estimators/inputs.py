"""Users' features, labels and weights: arrays, a list with one for each task, rows in files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_array, validate_data

from proxmtl.arrays import check_same_order
from proxmtl.estimators.samples import Samples
from proxmtl.label_coding import observed_labels
from proxmtl.ranks import ALONE
from proxmtl.row_sources import FeatureRows, as_rows, held, held_type, is_rows
from proxmtl.wording import counted

__all__ = ["checked", "each_task", "is_per_task", "samples_of", "stacked"]

COPIES = 4
"""Copies of features that an estimator makes: as given, standardised, and of the rows of a fold."""


def is_per_task(X: Any) -> bool:
    """Whether X is a list (or tuple) with a matrix for each task.

    Lists of lists or of vectors are a single matrix, given by its rows, and so are lists of rows
    in files, which lie end to end.
    """
    return not is_rows(X) and isinstance(X, (list, tuple)) and any(_is_matrix(part) for part in X)


def _is_matrix(part: Any) -> bool:
    return len(getattr(part, "shape", ())) == 2


def checked(estimator: Any, X: Any, y: Any = "no_validation", *, reset: bool = False) -> Samples:
    """Check features as scikit-learn does, including their number and names.

    Parameters
    ----------
    estimator
        Estimator with the attributes ``n_features_in_`` and ``feature_names_in_``.
    X
        A matrix, dense or sparse; a list with one for each task; rows in files, whose values are
        checked when they are read first; or `Samples`, which were checked.
    y
        None if required labels are missing.
    reset
        Whether to set the attributes of the estimator, rather than compare with them.
    """
    if isinstance(X, Samples):
        return X
    if is_rows(X):
        rows = as_rows(X)
        if rows.dtype.kind != "f" or rows.dtype.itemsize > 8:
            raise ValueError(
                f"X: has type {rows.dtype}; rows in files are float16, float32 or float64."
            )
        validate_data(estimator, X=rows, y="no_validation", reset=reset, skip_check_array=True)
        return samples_of(rows)
    kinds: dict[str, Any] = {
        "accept_sparse": "csr",
        "dtype": [np.float64, np.float32],
        "ensure_all_finite": False,  # `_finite` says where a value is that is not
    }
    if not is_per_task(X):
        y = None if y is None else "no_validation"
        found = validate_data(estimator, X=X, y=y, reset=reset, **kinds)
        return Samples(_canonical(_finite("X", found)))
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
    parts = [
        _finite(f"X[{m}]", check_array(part, input_name=f"X[{m}]", **kinds))
        for m, part in enumerate(X)
    ]
    validate_data(estimator, X=X[0], y="no_validation", reset=reset, skip_check_array=True)
    task_of = np.repeat(np.arange(len(parts)), [part.shape[0] for part in parts])
    if n_sparse:
        return Samples(_canonical(sparse.vstack(parts, format="csr")), task_of)
    return Samples(np.concatenate(parts), task_of)


def _finite(name: str, X: Any) -> Any:
    """Give dense or CSR features; raise ``ValueError`` at the first value that is not finite."""
    values = X.data if sparse.issparse(X) else X
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):  # a value that is not finite makes the sum so
            return X
    bad = ~np.isfinite(values)  # finite values may overflow the sum, too
    if not bad.any():
        return X
    if sparse.issparse(X):
        place = int(bad.argmax())
        row, column = int(np.searchsorted(X.indptr, place, side="right")) - 1, int(X.indices[place])
        value = values[place]
    else:
        row, column = map(int, np.unravel_index(bad.argmax(), bad.shape))
        value = values[row, column]
    seen = "NaN" if np.isnan(value) else str(value)
    raise ValueError(
        f"{name}: not finite ({seen}, first in row {row}, feature column {column}, counted from "
        "0); drop or impute such samples: only labels may be missing."
    )


def samples_of(rows: FeatureRows) -> Samples:
    """Samples of rows in files; small ones are read here, once, and are then in memory.

    Raises
    ------
    ValueError
        If small ones are not finite; names the first.
    """
    small = COPIES * len(rows) * rows.shape[1] * held_type(rows).itemsize <= rows.memory
    return Samples(held(rows) if small and rows.ranks is ALONE else rows)


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
