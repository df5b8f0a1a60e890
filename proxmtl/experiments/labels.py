"""Validation of label matrices, names and groups for metrics and splits."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from proxmtl.arrays import as_float_tensor
from proxmtl.groups import Groups
from proxmtl.label_coding import CODINGS, observed_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray


def as_float_matrix(values: ArrayLike, argument: str) -> NDArray[np.float64]:
    """Float64 copy of a two-dimensional array; ``argument`` is its name in the error."""
    matrix = as_float_tensor(argument, values).cpu().double().numpy().copy()  # type: ignore[arg-type]
    if matrix.ndim != 2:
        msg = f"{argument} has {matrix.ndim} dimension(s), shape {matrix.shape}; give (N, M)."
        raise ValueError(msg)
    return matrix


def check_labels(Y: ArrayLike) -> NDArray[np.float64]:
    """Float64 labels (N, M) with values in {0, 1, NaN} or {-1, 1, NaN}.

    Labels of one attribute may be a vector (N,), and have any two values: the one that sorts first
    becomes 0.

    Raises
    ------
    ValueError
        If there's another value, or both -1 and 0 occur: then 0 could mean "negative" or
        "missing", and a wrong guess would give a wrong number.
    """
    values, where = observed_labels(Y)
    if where.ndim not in {1, 2}:
        msg = f"Y has {where.ndim} dimension(s), shape {where.shape}; give (N, M)."
        raise ValueError(msg)
    labels = np.full(where.shape, np.nan)
    labels[where] = _coded(values, single=where.ndim == 1 or where.shape[1] == 1)
    return labels.reshape(where.shape[0], -1) if where.ndim == 1 else labels


def _coded(values: NDArray[Any], *, single: bool) -> NDArray[Any]:
    distinct = np.unique(values)
    numbers = values.dtype.kind in "biuf"
    if numbers and any(np.isin(distinct, coding).all() for coding in CODINGS):
        return values
    if numbers and np.isin(distinct, (-1, 0, 1)).all():
        msg = "Y contains both -1 and 0, so 0 is ambiguous; mark missing labels as NaN."
        raise ValueError(msg)
    if single and len(distinct) == 2 and not (numbers and np.isinf(distinct).any()):
        greater: NDArray[np.bool_] = values == distinct[1]
        return greater
    wrong = [value for value in distinct.tolist() if value not in {-1, 0, 1}][:3]
    msg = f"Y contains {wrong}; labels are 0/1 or -1/1, with NaN for a missing one."
    if single:
        msg += " One attribute may have any two values, and both of them have to occur."
    raise ValueError(msg)


def attribute_names(names: Sequence[str] | None, n: int) -> list[str]:
    """Return the list of ``n`` distinct names; ``None`` gives "0", "1", ...

    Raises
    ------
    ValueError
        If the number differs from ``n`` or a name occurs twice.
    """
    if names is None:
        return [str(i) for i in range(n)]
    given = [str(name) for name in names]
    if len(given) != n:
        msg = f"names has {len(given)} entries for {n} columns of Y; give one name per column."
        raise ValueError(msg)
    if len(set(given)) != n:
        twice = sorted(name for name, count in Counter(given).items() if count > 1)
        msg = f"names contains {twice[:3]} more than once; attribute names must be distinct."
        raise ValueError(msg)
    return given


def group_members(
    groups: Groups | Mapping[str, Sequence[str]] | None, names: Sequence[str]
) -> dict[str, list[int]]:
    """Column indices of each group.

    Parameters
    ----------
    groups
        Groups of the columns, or a mapping from group name to attribute names, or ``None`` for
        no groups.
    names
        The attribute names, in the order of the columns.

    Raises
    ------
    ValueError
        If a group names an unknown attribute, or ``groups`` describes another number of columns.
    """
    if groups is None:
        return {}
    if not isinstance(groups, Groups):
        groups = Groups.from_names(groups, names)
    if groups.n_items != len(names):
        msg = f"groups describes {groups.n_items} attributes, but there are {len(names)}."
        raise ValueError(msg)
    return {name: groups.members(g) for g, name in enumerate(groups.names)}
