"""Conversion of users' arrays and numbers to the tensors and Python numbers of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Array", "as_float_tensor", "as_python", "check_same_order"]

Array = Tensor | np.ndarray | Sequence[object]


def as_python(value: Any) -> Any:
    """Convert scalars of NumPy and torch to Python's numbers, booleans and strings.

    Converts 0-d arrays and tensors, fractions, and scalars inside mappings (keys, too), lists and
    tuples. Returns any other value as it is.
    """
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        if value.ndim:
            return value
        number = value.item()
        return float(number) if isinstance(number, np.floating) else number  # longdouble
    if isinstance(value, Mapping):
        return {as_python(key): as_python(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(as_python(item) for item in value)
    return float(value) if isinstance(value, Fraction) else value


def as_float_tensor(name: str, values: Array, like: Tensor | None = None) -> Tensor:
    """Convert to a detached tensor of real numbers, with the dtype and device of ``like`` if given.

    Without ``like``, numbers that are not floating point become float64. Missing entries of data
    frames, masked arrays and object arrays become NaN. ``name`` is the argument in error messages.

    Raises
    ------
    ValueError
        If the values are no rectangular array of real numbers, or a tensor on another device.
    """
    tensor = values.detach() if isinstance(values, Tensor) else _read(name, values)
    if tensor.is_complex():
        raise ValueError(f"{name}: is complex; give real numbers.")
    if like is not None:
        if isinstance(values, Tensor) and values.device != like.device:
            raise ValueError(
                f"{name}: is on {values.device}, the features are on {like.device}; move one."
            )
        return tensor.to(like)
    return tensor if tensor.is_floating_point() else tensor.to(torch.float64)


def _read(name: str, values: Any) -> Tensor:
    try:
        if hasattr(values, "to_numpy"):  # frames and series of pandas
            values = _numbers_of_frame(values)
        elif isinstance(values, np.ma.MaskedArray):
            values = np.ma.filled(values.astype(np.float64), np.nan)
        if isinstance(values, np.ndarray) and values.dtype.kind == "O":
            values = _without_objects(values)
        if isinstance(values, np.ndarray):
            return torch.as_tensor(_plain(values))
        try:
            return torch.as_tensor(values)
        except (TypeError, ValueError, RuntimeError):  # the list may hold None or pandas.NA
            return torch.as_tensor(_without_objects(np.asarray(values, dtype=object)))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name}: cannot be read as an array of numbers ({error}); give a rectangular numeric "
            "array."
        ) from error


def _numbers_of_frame(values: Any) -> np.ndarray:
    try:
        return np.asarray(values.to_numpy(dtype="float64", na_value=np.nan))
    except (TypeError, ValueError):  # object columns, which may hold pandas.NA
        return np.asarray(values, dtype=object)


def _without_objects(values: np.ndarray) -> np.ndarray:
    """Convert an object array to the dtype of its objects, with NaN for missing ones."""
    from pandas import isna  # noqa: PLC0415 (heavy, and rarely needed)

    return np.array(np.where(isna(values), np.nan, values).tolist())


def _plain(values: np.ndarray) -> np.ndarray:
    """Copy an array that torch cannot share: byte order, long double, strides, or read-only.

    Nothing is ever written to the array, but torch warns of a read-only one.
    """
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype.kind == "f" and values.itemsize > np.dtype(np.float64).itemsize:
        values = values.astype(np.float64)
    shared = values.flags.writeable and values.flags.aligned
    if not shared or any(step < 0 or step % values.itemsize for step in values.strides):
        values = values.copy()
    return values


def check_same_order(X: Any, **others: Any) -> None:
    """Raise if the indexes of two data frames show that their rows are in different orders.

    Rows are matched by position. An error is raised only if both objects have a pandas index of
    the same length, neither of them is the default one (0, 1, 2, ...), and the two indexes have
    labels in common but differ.

    Parameters
    ----------
    X
        Features, of any kind.
    **others
        Objects with a row for each row of ``X``, by their names in the error message.

    Raises
    ------
    ValueError
        If the rows of one of them are in another order.
    """
    index: Any = getattr(X, "index", None)
    for name, other in others.items():
        second: Any = getattr(other, "index", None)
        if not (hasattr(index, "isin") and hasattr(second, "isin")):  # lists have an index too
            continue
        if len(index) != len(second) or index.equals(second):
            continue  # different lengths are reported elsewhere
        if _counts(index) or _counts(second) or not second.isin(index).any():
            continue
        row = int(np.argmax(np.asarray(index != second)))
        raise ValueError(
            f"{name}: its index has the labels of that of X in other places: row {row} of X is "
            f"{index[row]!r}, and of {name} {second[row]!r}. Bring it into the order of X by "
            f"{name}.loc[X.index]; or, if row i is row i, give {name}.to_numpy()."
        )


def _counts(index: Any) -> bool:
    numbers = getattr(index.dtype, "kind", "O") in "iu"
    return numbers and bool((np.asarray(index) == np.arange(len(index))).all())
