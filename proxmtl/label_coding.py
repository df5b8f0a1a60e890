"""Codings of labels: reading label arrays, finding missing labels, converting to -1 and +1."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "CODINGS",
    "Observed",
    "check_coding",
    "inferred_signs",
    "known_labels",
    "numbers_by_attribute",
    "observed_labels",
    "signs_of",
]

CODINGS = ((0, 1), (-1, 1))
"""Codings of binary labels as pairs (negative, positive)."""
BLOCK = 1 << 20
"""Entries of a matrix of labels that are looked at together."""


class Observed(NamedTuple):
    """The labels that are not missing, and their places."""

    labels: NDArray[Any]
    """Observed labels in row-major order, 1-d, of one dtype; int64 if all are 0, 1 or -1."""
    where: NDArray[np.bool_]
    """Mask in the shape of the labels, false where a label is missing."""


def observed_labels(Y: Any) -> Observed:
    """Read labels from an array, data frame or series of any dtype, a tensor or a list.

    NaN, None, ``pandas.NA``, ``NaT`` and masked entries are missing labels.
    """
    labels = _as_array(Y)
    where: NDArray[np.bool_] = np.ones(labels.shape, dtype=np.bool_)
    if labels.dtype.kind == "f":
        where = ~np.isnan(labels)
    elif labels.dtype.kind not in "biuSU":
        from pandas import isna  # noqa: PLC0415 (heavy, and rarely needed)

        where = ~np.asarray(isna(labels))
    if isinstance(Y, np.ma.MaskedArray):
        where &= ~np.ma.getmaskarray(Y)
    values = labels[where]
    if values.dtype.kind == "O":
        values = np.array(values.tolist())  # the dtype of the objects: strings, integers, booleans
    if values.dtype.kind == "f" and np.isin(values, (-1.0, 0.0, 1.0)).all():
        values = values.astype(np.int64)  # they may be floats only because others are NaN
    return Observed(values, where)


def _as_array(Y: Any) -> NDArray[Any]:
    if _is_tensor(Y):
        plain = Y.detach().cpu()
        return np.asarray(plain.double() if plain.is_floating_point() else plain)
    labels: NDArray[Any] = np.asarray(Y)
    if labels.dtype.kind in "SU" and isinstance(Y, (list, tuple)):
        return np.asarray(Y, dtype=object)  # else NaN among strings becomes the string "nan"
    return labels


def signs_of(Y: Any, values: NDArray[Any], dtype: Any = np.float64) -> NDArray[Any]:
    """Convert labels of two known values to -1 and +1, NaN for missing; in the shape of `Y`.

    A matrix is converted a block of rows at a time.

    Parameters
    ----------
    Y
        Labels in any form that :func:`observed_labels` reads.
    values
        The two label values, negative first.
    dtype
        Floating point; float16 holds signs and NaN too.

    Raises
    ------
    ValueError
        If `Y` contains another value.
    """
    blocks = _blocks(Y)
    if len(blocks) > 1:
        out: NDArray[Any] = np.empty(Y.shape, dtype=dtype)
        for rows in blocks:
            out[rows] = signs_of(Y[rows], values, dtype)
        return out
    seen, where = observed_labels(Y)
    if (seen.dtype.kind in "SU") != (values.dtype.kind in "SU"):
        positive = negative = np.zeros(len(seen), dtype=np.bool_)
    else:
        negative, positive = (seen == value for value in values)
    other = seen[~(positive | negative)]
    if len(other):
        raise ValueError(
            f"Y has the value {other[0]!r}, and the labels are {values[0]!r} and {values[1]!r}; "
            "give labels in the coding that the model was fitted on, NaN for a missing one."
        )
    signs: NDArray[Any] = np.full(where.shape, np.nan, dtype=dtype)
    signs[where] = np.where(positive, 1.0, -1.0)
    return signs


def _blocks(Y: Any) -> list[slice]:
    """Blocks of rows of a matrix of numbers or booleans; a single one of anything else."""
    plain = _is_tensor(Y) or (isinstance(Y, np.ndarray) and Y.dtype.kind in "biuf")
    if not plain or Y.ndim != 2:
        return [slice(None)]
    rows = max(1, BLOCK // max(1, Y.shape[1]))
    return [slice(first, first + rows) for first in range(0, max(1, len(Y)), rows)]


def label_values(labels: Any, most: int = 100) -> list[Any]:
    """Distinct labels that are observed, ascending, the first ``most`` of them.

    ``labels`` as for :func:`inferred_signs`.
    """
    found: set[Any] = set()
    for part in _parts(labels):
        for rows in _blocks(part):
            own = part if rows == slice(None) else part[rows]
            found.update(np.unique(observed_labels(own).labels).tolist())
    return sorted(found)[:most]


def _several(labels: Any) -> bool:
    return isinstance(labels, (list, tuple)) and any(hasattr(part, "shape") for part in labels)


def _parts(labels: Any) -> Any:
    return labels if _several(labels) else [labels]


def inferred_signs(
    labels: Any, values: Iterable[Any] | None = None, dtype: Any = np.float64
) -> Any:
    """Convert labels coded 0/1, -1/+1 or by booleans to -1 and +1, NaN for missing.

    Parameters
    ----------
    labels
        A matrix in any form that :func:`observed_labels` reads, or a list with a vector for each
        task, all in the same coding.
    values
        Values from which the coding is inferred, where the labels are a part of all; default:
        :func:`label_values` of them.
    dtype
        As for :func:`signs_of`.

    Returns
    -------
    ndarray or list of ndarray
        In the shape of ``labels``.

    Raises
    ------
    ValueError
        If the labels contain another value, or values of both codings.
    """
    values = sorted(set(label_values(labels) if values is None else values))
    coding = next((pair for pair in CODINGS if set(values) <= set(pair)), None)
    if coding is None:
        raise ValueError(
            f"labels: expected 0 and 1, -1 and +1, or booleans, with NaN for missing; saw "
            f"{values[:5]}. Recode them, or take a loss of real labels: Squared, Huber."
        )
    signs = [signs_of(part, np.array(coding), dtype) for part in _parts(labels)]
    return signs if _several(labels) else signs[0]


def _is_tensor(Y: object) -> bool:
    """Whether it is torch's; there is no tensor where nobody has imported torch, which is slow."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(Y, torch.Tensor)


def check_coding(labels: Tensor, observed: Tensor, *, zero_is_missing: bool | None = None) -> None:
    """Raise unless labels are -1, +1 or missing (0, NaN), and are not 0/1 labels by mistake.

    Parameters
    ----------
    labels, observed : Tensor, same shape
        Labels, and the mask of those that are neither 0 nor NaN.
    zero_is_missing : bool, optional
        For a part of a data set, such as a batch: whether the whole set codes missing labels as 0.
        None (``labels`` is the whole set): zeros without a single -1 raise.

    Raises
    ------
    ValueError
        If a label has another value, or zeros appear to be the negatives of 0/1 labels.
    """
    wrong = observed & (labels != 1) & (labels != -1)
    if bool(wrong.any()):
        wrong = labels[wrong]
        values = sorted(set(wrong[:1000].tolist()))[:5]
        raise ValueError(
            f"labels: expected -1 and +1, with 0 or NaN for missing; saw {values}. Recode them, or "
            "give coding='real' with a regression loss."
        )
    if zero_is_missing or not bool((labels == 0).any()):
        return
    if zero_is_missing is False:
        raise ValueError(
            "labels: saw 0, and the training set had none: this looks like 0/1 coding; pass "
            "2 * labels - 1 (NaN, for missing, stays NaN)."
        )
    check_zeros(some=bool(observed.any()), negative=bool((labels == -1).any()))


def check_zeros(*, some: bool, negative: bool) -> None:
    """Raise if zeros, which mean missing, appear to be the negatives of 0/1 labels.

    Parameters
    ----------
    some, negative : bool
        Whether there are labels beside them, and whether one is -1.
    """
    if not some:
        raise ValueError("labels: are all 0, which means missing; use -1, +1, and NaN for missing.")
    if not negative:
        raise ValueError(
            "labels: saw 0 and 1 but no -1: 0 means missing here, so this looks like 0/1 coding; "
            "pass 2 * labels - 1 (NaN stays NaN)."
        )


def known_labels(Y: Any) -> csr_array:
    """Labels (N, M) as a sparse array of those that are known: -1 and +1."""
    if issparse(Y):
        return csr_array(Y, dtype=np.float64)
    rows, tasks = np.nonzero(~np.isnan(Y))
    return csr_array((np.where(Y[rows, tasks] > 0, 1.0, -1.0), (rows, tasks)), shape=Y.shape)


def numbers_by_attribute(Y: Any) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Numbers of yes and of no of each attribute, (M,).

    Parameters
    ----------
    Y
        Labels (N, M), positive above 0, NaN for missing; or a sparse array of those that are known.
    """
    if not issparse(Y):
        return (Y > 0).sum(0), (Y <= 0).sum(0)  # NaN compares false on both sides
    yes, no = (
        np.bincount(Y.indices[which], minlength=Y.shape[1]) for which in (Y.data > 0, Y.data < 0)
    )
    return yes, no
