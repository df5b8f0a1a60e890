"""Label matrices and groups as the experiments read them: one coding, one set of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxmtl.groups import Groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray


def as_float_matrix(values: ArrayLike, argument: str) -> NDArray[np.float64]:
    """Float64 copy of a two-dimensional array; ``argument`` is its name in the error."""
    matrix = np.asarray(values, dtype=np.float64).copy()  # not np.array: tensors take no copy=
    if matrix.ndim != 2:
        msg = f"{argument} has {matrix.ndim} dimension(s), shape {matrix.shape}; give (N, M)."
        raise ValueError(msg)
    return matrix


def check_labels(Y: ArrayLike) -> NDArray[np.float64]:
    """Float64 labels with values in {0, 1, NaN} or {-1, 1, NaN}.

    Raises
    ------
    ValueError
        If there's another value, or both -1 and 0 occur: then 0 could mean "negative" or
        "missing", and a wrong guess would give a wrong number.
    """
    labels = as_float_matrix(Y, "Y")
    seen = set(np.unique(labels[~np.isnan(labels)]).tolist())
    if seen <= {0.0, 1.0} or seen <= {-1.0, 1.0}:
        return labels
    if seen <= {-1.0, 0.0, 1.0}:
        msg = "Y contains both -1 and 0, so 0 is ambiguous; mark missing labels as NaN."
    else:
        wrong = sorted(seen - {-1.0, 0.0, 1.0})[:3]
        msg = f"Y contains {wrong}; labels are 0/1 or -1/1, with NaN for a missing one."
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
        twice = sorted({name for name in given if given.count(name) > 1})
        msg = f"names contains {twice[:3]} more than once; attribute names must be distinct."
        raise ValueError(msg)
    return given


def group_members(
    groups: Groups | Mapping[str, Sequence[str]] | None, names: Sequence[str]
) -> dict[str, list[int]]:
    """Column numbers of each group.

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
