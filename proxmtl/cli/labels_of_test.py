"""Labels of rows to fit on, and of rows that are kept for the test, as one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from proxmtl.io import InputError, Labels, read_labels
from proxmtl.label_coding import known_labels
from proxmtl.naming import name_key
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["read_with_test"]


def read_with_test(
    labels: Path,
    test: Path | None,
    in_order: Callable[[Sequence[str], Labels, Path], NDArray[np.float64]],
    **reading: Any,
) -> tuple[Labels, int]:
    """Read the labels to fit on, with those for the test behind them.

    Parameters
    ----------
    labels, test
        Files of labels; None: there are none for the test.
    in_order
        Gives the labels of the test in the order of the names.
    reading
        Options of `read_labels`.

    Returns
    -------
    labels, n_fitted
        All labels, and how many rows of them are to be fitted on.

    Raises
    ------
    InputError
        If one of them can't be read, or lacks identifiers, a row is in both, or the test lacks an
        attribute.
    """
    fitted = read_labels(labels, **reading)
    if test is None:
        return fitted, fitted.values.shape[0]
    kept = read_labels(test, **reading)
    ids: list[str] = []
    for path, read in ((labels, fitted), (test, kept)):
        if read.ids is None or read.counted:
            raise InputError(
                path,
                "has no identifiers, by which rows of the test would be told from those to fit "
                "on; add a column 'id', to the features too, or fit without --test and score with "
                "proxmtl evaluate.",
            )
        ids += read.ids
    there = set(map(name_key, fitted.ids or ()))
    twice = [name for name in kept.ids or () if name_key(name) in there]
    if twice:
        raise InputError(
            test,
            f"{counted(len(twice), 'row')} of it {agree(len(twice), 'is', 'are')} in {labels} too, "
            f"the first is {twice[0]!r}; a model is tested on rows that it was not fitted on: take "
            f"{agree(len(twice), 'it', 'them')} out of one of the two.",
        )
    parts = [fitted.values, in_order(fitted.names, kept, test)]
    if any(map(sparse.issparse, parts)):
        values: Any = sparse.vstack([known_labels(part) for part in parts], format="csr")
    else:
        values = np.vstack(parts)
    return fitted._replace(values=values, ids=tuple(ids)), fitted.values.shape[0]
