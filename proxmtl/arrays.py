"""Arrays and numbers as users have them, as the tensors and the numbers that the engine takes."""

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
    """Scalars of NumPy and torch as Python's numbers, booleans and strings.

    So are arrays and tensors without dimensions, and scalars inside mappings (keys too), lists and
    tuples. Everything else comes back as it is.
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
    """Tensor of real numbers, without a graph, on the device and in the dtype of ``like`` if given.

    Missing entries of frames, masked arrays and arrays of objects become NaN.
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
        except (TypeError, ValueError, RuntimeError):  # None or pandas.NA in lists, perhaps
            return torch.as_tensor(_without_objects(np.asarray(values, dtype=object)))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name}: cannot be read as an array of numbers ({error}); give a rectangular numeric "
            "array."
        ) from error


def _numbers_of_frame(values: Any) -> np.ndarray:
    try:
        return np.asarray(values.to_numpy(dtype="float64", na_value=np.nan))
    except (TypeError, ValueError):  # columns of objects, pandas.NA among them
        return np.asarray(values, dtype=object)


def _without_objects(values: np.ndarray) -> np.ndarray:
    """Objects as an array of their own type, NaN for each missing one."""
    from pandas import isna  # noqa: PLC0415 (heavy, and rarely needed)

    return np.array(np.where(isna(values), np.nan, values).tolist())


def _plain(values: np.ndarray) -> np.ndarray:
    """The same array, copied where torch could not share its memory: it never writes, but warns."""
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype.kind == "f" and values.itemsize > np.dtype(np.float64).itemsize:
        values = values.astype(np.float64)
    shared = values.flags.writeable and values.flags.aligned
    if not shared or any(step < 0 or step % values.itemsize for step in values.strides):
        values = values.copy()
    return values


def check_same_order(X: Any, **others: Any) -> None:
    """Raise if an index says that row i of two data frames is not of the same sample.

    Rows are matched by their position, whatever the indexes are, unless both say otherwise: both
    are of pandas, neither is the one that every new frame has (0, 1, 2, ...), they have labels in
    common, and not in the same places.

    Parameters
    ----------
    X
        Features, of any kind.
    **others
        What has a row for each of theirs, by the name that an error gives it.

    Raises
    ------
    ValueError
        If so.
    """
    index: Any = getattr(X, "index", None)
    for name, other in others.items():
        second: Any = getattr(other, "index", None)
        if not (hasattr(index, "isin") and hasattr(second, "isin")):  # lists have an index too
            continue
        if len(index) != len(second) or index.equals(second):
            continue  # another length is an error of its own
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
