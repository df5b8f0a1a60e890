"""Attributes that can be fitted, and the rows on which: every one needs some of both classes.

Importing this imports no torch: what is wrong with labels is said before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse

from proxmtl.cli.console import say_note
from proxmtl.io import InputError
from proxmtl.label_coding import numbers_by_attribute
from proxmtl.naming import name_key
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxmtl.experiments import Split

__all__ = [
    "attributes_to_fit",
    "check_classes",
    "check_splits",
    "fewest",
    "labels_at",
    "split_rows",
]


def attributes_to_fit(
    path: Path, values: Any, names: Sequence[str], min_positives: int
) -> list[int]:
    """Columns of labels (of a path) that can be fitted; raise if one can't, or none is left.

    Parameters
    ----------
    min_positives
        Leave out, and say so, those with fewer yes or fewer no; 0: all must have both.
    """
    if not min_positives:
        check_classes(path, values, names)
        return list(range(len(names)))
    rare = fewest(values) < min_positives
    lost = _named(names, rare)
    if len(lost) == len(names):
        raise InputError(
            path,
            f"none of the {counted(len(names), 'attribute')} has "
            f"{counted(min_positives, 'row')} with yes and as many with no; lower "
            "--min-positives, or label more rows.",
        )
    if lost:
        say_note(
            f"{path}: {len(lost)} of {counted(len(names), 'attribute')} "
            f"{agree(len(lost), 'has', 'have')} fewer than {counted(min_positives, 'row')} with "
            f"yes or with no and {agree(len(lost), 'is', 'are')} left out: {_listed(lost)}."
        )
    return np.flatnonzero(~rare).tolist()


def check_classes(path: Path, values: Any, names: Sequence[str]) -> None:
    """Refuse labels (of a path) with attributes that have not both classes; name all of them."""
    yes, no = (numbers > 0 for numbers in numbers_by_attribute(values))
    kinds = {"only yes": yes & ~no, "only no": no & ~yes, "no label": ~yes & ~no}
    lacking = [
        f"{_listed(named)} {agree(len(named), 'has', 'have')} {kind}"
        for kind, named in ((kind, _named(names, which)) for kind, which in kinds.items())
        if named
    ]
    if lacking:
        raise InputError(
            path,
            f"{'; '.join(lacking)} in the {counted(values.shape[0], 'row')}, and an attribute "
            "needs both; give --min-positives 1 to leave these out, or add rows of the other kind.",
        )


def _named(names: Sequence[str], which: NDArray[np.bool_]) -> list[str]:
    return [name for name, chosen in zip(names, which, strict=True) if chosen]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def split_rows(
    Y: Any,
    names: Sequence[str],
    holdout: float,
    seed: int,
    ids: Sequence[str] | None = None,
    *,
    option: str = "--holdout",
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit on, with both classes of every attribute, and rows to score.

    The latter have both, too, where a class has two rows (`proxmtl.experiments.stratified_split`).
    Where rows have identifiers, the same ones are held out in whatever order the rows come. The
    share is that of ``option``, which errors name.
    """
    from proxmtl.experiments import stratified_split  # noqa: PLC0415 - heavy
    from proxmtl.experiments.splits import test_size  # noqa: PLC0415 - as above

    n = Y.shape[0]
    if holdout == 0:
        return np.arange(n), np.arange(0)
    try:
        test_size(n, holdout)
    except ValueError as error:
        raise ValueError(
            f"{option} {holdout:g}: of {counted(n, 'row')} that leaves none to fit on or "
            f"none to score; give {option} 0, or add rows."
        ) from error
    order = np.arange(n)
    if ids is not None:
        keys = [name_key(name) for name in ids]
        order = np.array(sorted(order, key=keys.__getitem__))
    split = stratified_split(Y[order], holdout, seed)
    train, test = (np.sort(order[rows]) for rows in split)
    lacking = _named(names, fewest(Y[train]) == 0)
    if lacking:
        raise ValueError(
            f"{option} {holdout:g}: that leaves {counted(len(train), 'row')} to fit on, without a "
            f"yes or a no of {_listed(lacking)}; give a smaller {option}, add rows, or leave rare "
            "attributes out by --min-positives."
        )
    return train, test


def fewest(Y: Any) -> NDArray[np.intp]:
    """Rows with yes or rows with no of each attribute, whichever are fewer."""
    counts: NDArray[np.intp] = np.minimum(*numbers_by_attribute(Y))
    return counts


def check_splits(
    Y: NDArray[np.float64],
    names: Sequence[str],
    splits: Sequence[Split],
    *,
    option: str,
    counts: NDArray[np.intp],
) -> None:
    """Raise where a split leaves one class of an attribute to fit on; name all such attributes.

    Parameters
    ----------
    Y
        Labels of the rows that are split.
    option
        What asked for the splits.
    counts
        Of all rows, as `fewest` gives them: the option that leaves attributes out goes by these.
    """
    from proxmtl.experiments import one_class_attributes  # noqa: PLC0415 - heavy

    found = {name for split in splits for name in one_class_attributes(Y, split.train, names)}
    if found:
        lacking = np.array([name in found for name in names])
        enough = int(counts[lacking].max()) + 1
        raise ValueError(
            f"{option}: yes or no of {_listed(_named(names, lacking))} would be lacking in rows to "
            f"fit on; give --min-positives {enough} to leave these attributes out, or add rows."
        )


def labels_at(Y: Any, rows: Any) -> Any:
    """Labels of some rows: an array, or those of known pairs (`SparseLabels`)."""
    from proxmtl.label_arrays import SparseLabels  # noqa: PLC0415 - heavy

    return SparseLabels.of(Y[rows]) if issparse(Y) else Y[rows]
