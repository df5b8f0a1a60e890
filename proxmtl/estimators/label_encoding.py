"""Conversion of users' labels to those that losses take: -1 and +1, or real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from proxmtl.estimators.labels import EncodedLabels, PairLabels
from proxmtl.label_arrays import SparseLabels, is_sparse
from proxmtl.label_coding import CODINGS, Observed, observed_labels, signs_of

__all__ = ["check_both_classes", "check_observed", "encode_targets", "read_values"]


def encode_targets(
    Y: Any, *, classes: Any = None, names: Sequence[str] | None = None
) -> EncodedLabels:
    """Encode binary labels as -1 and +1.

    Parameters
    ----------
    Y
        Shape (N, M) with values in {0, 1}, {-1, 1} or booleans and NaN for a missing label; or,
        for one attribute, shape (N,) or (N, 1) with any two values. A SciPy sparse matrix: see
        `stored_signs`.
    classes
        The two label values; other values raise (for ``partial_fit``).
    names
        Attribute names for error messages; default: the columns of a data frame.

    Returns
    -------
    EncodedLabels
        Signs, and the two label values behind them.

    Raises
    ------
    ValueError
        If there are not exactly two values, no labels, or an attribute with one class only.
    """
    if is_sparse(Y):
        pairs = stored_signs(Y)
        if pairs is not None:
            found = PairLabels(pairs, classes=_two_values_of(classes))
            check_both_classes(found.numbers, _checked_names(names, pairs.shape[1]))
            return found
        Y = Y.astype(np.int8).toarray()
    observed = _observed(Y)
    columns = getattr(Y, "columns", None)
    if names is None and columns is not None:
        names = [str(name) for name in columns]
    shape = observed.where.shape
    values = _two_values(observed, classes)
    signs = signs_of(Y, values).reshape(shape[0], -1)
    check_both_classes(signs, _checked_names(names, signs.shape[1]))
    return EncodedLabels(signs, classes=values, is_vector=len(shape) == 1)


def read_values(Y: Any, *, names: Sequence[str] | None = None) -> EncodedLabels:
    """Read real labels.

    Parameters
    ----------
    Y
        Shape (N, M) or (N,), finite; NaN, None, ``pandas.NA`` and masked entries are missing, and
        so is what a SciPy sparse matrix does not store.
    names
        Attribute names, for their number and the messages.

    Returns
    -------
    EncodedLabels
        Real numbers, NaN where a label is missing.

    Raises
    ------
    ValueError
        If a label is not a finite number, or an attribute has no label.
    """
    if is_sparse(Y):
        pairs = SparseLabels.of(Y)
        pairs = pairs.coded(pairs.values.astype(np.float64))
        if not np.isfinite(pairs.values).all():
            raise ValueError("Y has infinite values; targets are finite.")
        check_observed(pairs, _checked_names(names, pairs.shape[1]))
        return PairLabels(pairs, coding="real")
    seen, where = _observed(Y)
    if seen.dtype.kind not in "biuf":
        shown = seen.tolist()[0] if len(seen) else Y
        raise ValueError(
            f"Y has the value {shown!r}; targets of a regressor are real numbers, with NaN for a "
            "missing one."
        )
    if not np.isfinite(seen).all():
        raise ValueError("Y has infinite values; targets are finite, with NaN for a missing one.")
    values: NDArray[np.float64] = np.full(where.shape, np.nan)
    values[where] = seen
    matrix = values.reshape(where.shape[0], -1)
    check_observed(matrix, _checked_names(names, matrix.shape[1]))
    return EncodedLabels(matrix, coding="real", is_vector=where.ndim == 1)


def stored_signs(Y: Any) -> SparseLabels | None:
    """Read a sparse matrix of binary labels by what it stores.

    - -1 and +1 (or -1 alone): these are the labels; what is not stored is missing.
    - 1 or True alone, as in scikit-learn's indicator matrices: what is not stored is negative, and
      nothing is missing. Returns None: the matrix stands for a dense one.

    Raises
    ------
    ValueError
        If it stores an entry twice, a 0, NaN beside nothing but 1, or another value: then it is not
        clear what is negative and what is missing.
    """
    pairs = SparseLabels.of(Y)
    values = pairs.values.astype(np.float64)
    found = np.unique(values).tolist()
    if 0.0 in found:
        raise ValueError(
            "Y is sparse and stores zeros, which may mean no or missing. Store -1 for no, and "
            "leave out what is missing; or, if all that is not 1 is no, call Y.eliminate_zeros()."
        )
    if not set(found) <= {-1.0, 1.0}:
        raise ValueError(
            f"Y is sparse and stores {found[:5]}; store -1 and +1 for labels that are known, or 1 "
            "alone if all others are negative."
        )
    if -1.0 in found:
        return pairs.coded(values)
    if pairs.size < Y.nnz:
        raise ValueError(
            "Y is sparse and stores NaN beside 1 alone: what is not stored would be negative. "
            "Store -1 for no, and leave out what is missing."
        )
    return None


def _two_values_of(classes: Any) -> NDArray[Any]:
    """The label values -1 and +1, which a sparse matrix has; raises if others were given."""
    if classes is not None and sorted(np.asarray(classes).tolist()) != [-1, 1]:
        raise ValueError(
            f"Y is sparse and stores -1 and +1, and the labels are {np.asarray(classes).tolist()}; "
            "give labels in the coding that the model was fitted on."
        )
    return np.array([-1, 1])


def check_observed(values: NDArray[np.float64] | SparseLabels, names: Sequence[str] | None) -> None:
    """Raise ``ValueError`` if an attribute has no label."""
    if isinstance(values, SparseLabels):
        lacking = values.sums(np.ones(values.size)) == 0
    else:
        lacking = np.logical_and.reduce(np.isnan(values), axis=0)
    if lacking.all():
        raise ValueError("Y has no observed label: every entry is missing.")
    if lacking.any():
        raise ValueError(
            f"Y has no label for {lacking.sum()} of {len(lacking)} attributes "
            f"({_shown(np.flatnonzero(lacking), names)}); add samples or leave these attributes "
            "out."
        )


def _observed(Y: Any) -> Observed:
    if Y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None; "
            "give labels of shape (samples, attributes)."
        )
    observed = observed_labels(Y)
    shape = observed.where.shape
    if len(shape) not in (1, 2) or 0 in shape:
        raise ValueError(
            f"Y has shape {shape}; labels have shape (samples, attributes), or (samples,) "
            "for one attribute."
        )
    return observed


def _checked_names(names: Sequence[str] | None, n_attributes: int) -> tuple[str, ...] | None:
    if names is not None and len(names) != n_attributes:
        raise ValueError(
            f"label_names: {len(names)} names for the {n_attributes} columns of Y; "
            "give one per column."
        )
    return None if names is None else tuple(names)


def _two_values(observed: Observed, classes: Any) -> NDArray[Any]:
    """Return the two label values, negative first."""
    seen = observed.labels
    if len(seen) == 0:
        raise ValueError("Y has no observed label: every entry is missing.")
    if seen.dtype.kind == "f" and not np.isfinite(seen).all():
        raise ValueError("Y has infinite values; labels are 0/1 or -1/1, with NaN for missing.")
    single = observed.where[0].size == 1
    if single:
        check_classification_targets(seen)
    values = np.unique(seen if classes is None else np.append(np.asarray(classes), seen))
    if single and len(values) > 2:
        raise ValueError(
            "Only binary classification is supported. The type of the target is "
            f"{type_of_target(values)}: it has {len(values)} classes; "
            "give one column with two values for each attribute."
        )
    if single and len(values) == 2:
        return values
    if single:
        raise ValueError(
            f"Y has one class only ({values[0]!r}); an attribute needs samples of both classes."
        )
    for coding in CODINGS:
        if np.isin(values, coding).all():
            return np.array(coding if values.dtype.kind != "b" else (False, True))
    shown = ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")
    if np.isin(values, (-1, 0, 1)).all():
        raise ValueError(
            "Y has the values -1, 0 and 1, so 0 may mean no or missing; write missing labels as "
            "NaN and use one of the codings 0/1 and -1/1."
        )
    raise ValueError(
        f"Y has the values {shown}; labels of several attributes are 0/1 or -1/1, with NaN for "
        "a missing label."
    )


def check_both_classes(
    signs: NDArray[np.float64] | SparseLabels, names: Sequence[str] | None
) -> None:
    """Raise ``ValueError`` if an attribute has labels of one class only."""
    if isinstance(signs, SparseLabels):
        yes, no = (signs.sums(signs.values == sign) > 0 for sign in (1, -1))
    else:
        yes, no = ((signs == sign).any(axis=0) for sign in (1, -1))
    if (yes & no).all():
        return
    columns = np.flatnonzero(~(yes & no))
    empty = bool((~(yes | no)).any())
    raise ValueError(
        f"Y has {'no label or ' if empty else ''}one class only for {len(columns)} of "
        f"{len(yes)} attributes ({_shown(columns, names)}); an attribute needs observed "
        "labels of both classes, so add "
        "samples or leave these attributes out."
    )


def _shown(columns: NDArray[np.intp], names: Sequence[str] | None) -> str:
    """List the first few attributes, by name if they have one, for error messages."""
    shown = [repr(names[i]) if names is not None else f"column {i}" for i in columns[:5]]
    more = "" if len(columns) <= 5 else f" and {len(columns) - 5} more"
    return ", ".join(shown) + more
