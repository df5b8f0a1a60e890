"""Labels of rows to fit on and of rows that are kept for the test; labels in a given order.

Nothing here imports torch: what is wrong with a file of labels is said before that is imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from proxmtl.io import InputError, Labels, read_labels
from proxmtl.label_coding import known_labels
from proxmtl.naming import NameIndex, name_key
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["labels_for", "read_with_test"]

NAMED = 10
"""Attributes that an error names."""


def read_with_test(
    labels: Path,
    test: Path | None,
    **reading: Any,
) -> tuple[Labels, int]:
    """Read the labels to fit on, with those for the test behind them.

    Parameters
    ----------
    labels, test
        Files of labels; None: there are none for the test.
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
    parts = [fitted.values, labels_for(fitted.names, kept, test)]
    if any(map(sparse.issparse, parts)):
        values: Any = sparse.vstack([known_labels(part) for part in parts], format="csr")
    else:
        values = np.vstack(parts)
    return fitted._replace(values=values, ids=tuple(ids)), fitted.values.shape[0]


def labels_for(
    names: Sequence[str],
    labels: Labels,
    path: Path,
    cells: str = "blank cells for missing labels",
) -> Any:
    """Put the label columns into the order of the model's attributes; others are left out.

    Parameters
    ----------
    names
        Of the attributes.
    labels
        As they were read from the path.
    path
        For messages.
    cells
        What the cells of a column hold that is to be added.
    """
    index = NameIndex(labels.names)
    places = [index.place(name) for name in names]
    missing = [name for name, place in zip(names, places, strict=True) if place is None]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        they = agree(len(missing), "it", "them")
        unused = [name for n, name in enumerate(labels.names) if n not in places]
        raise InputError(
            path,
            f"no column for {len(missing)} of the model's {counted(len(names), 'attribute')}: "
            f"{', '.join(map(repr, missing[:NAMED]))}{more}; add {they} ({cells})"
            f"{_spelling(missing, unused)}",
            line=1,
        )
    kept = [place for place in places if place is not None]
    return labels.values[:, kept]


def _spelling(missing: Sequence[str], unused: Sequence[str]) -> str:
    """End of an error: a column that may be a missing one, of those that no attribute has."""
    if not unused:
        return "."
    index = NameIndex(unused)
    meant = [(name, index.nearest(name)) for name in missing[:NAMED]]
    for name, near in meant:
        if near is not None:
            return f", or check the spelling: is {near!r} the column of {name!r}?"
    more = f" and {len(unused) - NAMED} more" if len(unused) > NAMED else ""
    listed = ", ".join(map(repr, unused[:NAMED]))
    return f", or check the spelling: the model has no attribute {listed}{more}."
