"""What labels may be: how they are read, which of them are missing, and which values they take."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "CODINGS",
    "Observed",
    "check_coding",
    "inferred_signs",
    "observed_labels",
    "signs_of",
]

CODINGS = ((0, 1), (-1, 1))
"""The codings of a label matrix, no before yes."""


class Observed(NamedTuple):
    """Labels that are there, and where."""

    labels: NDArray[Any]
    """Observed labels in the order of the rows, 1-d, of one type: whole numbers for 0, 1 and -1."""
    where: NDArray[np.bool_]
    """The shape of the labels, false where one is missing."""


def observed_labels(Y: Any) -> Observed:
    """Read labels in any form: arrays, frames and series of any dtype, tensors, lists.

    Missing are NaN, None, ``pandas.NA``, ``NaT`` and masked entries.
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
        values = np.array(values.tolist())  # strings, integers or booleans by their own type
    if values.dtype.kind == "f" and np.isin(values, (-1.0, 0.0, 1.0)).all():
        values = values.astype(np.int64)  # floats only because of the NaN beside them
    return Observed(values, where)


def _as_array(Y: Any) -> NDArray[Any]:
    if isinstance(Y, Tensor):
        plain = Y.detach().cpu()
        return np.asarray(plain.double() if plain.is_floating_point() else plain)
    labels: NDArray[Any] = np.asarray(Y)
    if labels.dtype.kind in "SU" and isinstance(Y, (list, tuple)):
        return np.asarray(Y, dtype=object)  # NaN among strings would be the string "nan"
    return labels


def signs_of(Y: Any, values: NDArray[Any]) -> NDArray[np.float64]:
    """Labels as -1, +1 and NaN for missing, in the shape of `Y`.

    Parameters
    ----------
    Y
        Labels in any form that :func:`observed_labels` reads.
    values
        The two label values, negative first.

    Raises
    ------
    ValueError
        If another value occurs.
    """
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
    signs: NDArray[np.float64] = np.full(where.shape, np.nan)
    signs[where] = np.where(positive, 1.0, -1.0)
    return signs


def inferred_signs(labels: Any) -> Any:
    """Labels coded 0 and 1, -1 and +1 or by booleans as -1, +1 and NaN for missing.

    Parameters
    ----------
    labels
        A matrix in any form that :func:`observed_labels` reads, or a list of vectors, one for each
        task, which have one coding.

    Returns
    -------
    ndarray or list of ndarray
        Like ``labels``.

    Raises
    ------
    ValueError
        If another value occurs, or values of both codings.
    """
    several = isinstance(labels, (list, tuple)) and any(hasattr(part, "shape") for part in labels)
    parts = labels if several else [labels]
    seen = [observed_labels(part).labels for part in parts]
    values = sorted({value for part in seen for value in np.unique(part).tolist()})
    coding = next((pair for pair in CODINGS if set(values) <= set(pair)), None)
    if coding is None:
        raise ValueError(
            f"labels: expected 0 and 1, -1 and +1, or booleans, with NaN for missing; saw "
            f"{values[:5]}. Recode them, or take a loss of real labels: Squared, Huber."
        )
    signs = [signs_of(part, np.array(coding)) for part in parts]
    return signs if several else signs[0]


def check_coding(labels: Tensor, observed: Tensor, *, zero_is_missing: bool | None = None) -> None:
    """Refuse labels that are not -1, +1 or missing, and zeros that look like the no of 0/1 coding.

    Parameters
    ----------
    labels, observed : Tensor, same shape
        Labels, and where they are neither 0 nor NaN.
    zero_is_missing : bool, optional
        Of labels that are part of a set: whether the set codes missing labels as 0. None: these
        labels are all there is, and zeros without a single -1 are refused.

    Raises
    ------
    ValueError
        With what was seen and what to do.
    """
    seen = labels[observed]
    wrong = seen[(seen != 1) & (seen != -1)]
    if wrong.numel():
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
    if not seen.numel():
        raise ValueError("labels: are all 0, which means missing; use -1, +1, and NaN for missing.")
    if not bool((seen == -1).any()):
        raise ValueError(
            "labels: saw 0 and 1 but no -1: 0 means missing here, so this looks like 0/1 coding; "
            "pass 2 * labels - 1 (NaN stays NaN)."
        )
