"""The files of a command, read and brought together."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from proxmtl.cli.console import say_note
from proxmtl.cli.labels_of_test import read_with_test
from proxmtl.groups import Groups
from proxmtl.io import InputError, Labels, join_rows, load_features
from proxmtl.io.errors import first_line
from proxmtl.io.rows import check_match
from proxmtl.naming import NameIndex, name_key
from proxmtl.row_sources import rows_of
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from proxmtl.estimators.base import LinearModel
    from proxmtl.experiments import Split
    from proxmtl.io import Features

__all__ = [
    "LabelledSamples",
    "attributes_to_fit",
    "check_classes",
    "features_for",
    "fewest",
    "labels_for",
    "memory_of",
    "read_groups",
    "read_samples",
    "scores_of",
    "split_rows",
    "torch_device",
]


FEW = 5
"""Rows of a kind below which an attribute is named where no split of all of them was found."""


class LabelledSamples(NamedTuple):
    """Features with their labels, row by row."""

    X: Any
    """(N, D): an array, a sparse CSR array, or rows that are read when they are used."""
    Y: NDArray[np.float64]
    names: tuple[str, ...]
    ids: tuple[str, ...] | None = None
    """Of the rows, where the features have them."""
    record: Mapping[str, Any] = MappingProxyType({})
    """How the rows were matched and what was left out, for the record of a run."""
    feature_names: tuple[str, ...] | None = None
    """Of the columns of X, where their file has names."""
    for_test: NDArray[np.bool_] | None = None
    """Which rows are kept for the test, where a file of labels says so."""


def read_samples(
    features: Path,
    labels: Path,
    test: Path | None = None,
    *,
    key: str | None = None,
    id_column: str | None = None,
    task_column: str | None = None,
    match: str = "auto",
    min_positives: int = 0,
    memory: str | None = None,
) -> LabelledSamples:
    """Read both files and bring their rows together; say what is left out."""
    way = check_match(match)
    # a column of that name may be one of the labels alone, which raise where it is not
    X = load_features(
        features, key, id_column=id_column, id_column_required=False, memory=memory_of(memory)
    )
    how = {"id_column": id_column, "unique_ids": way != "position", "task_column": task_column}
    read, n_fitted = read_with_test(labels, test, labels_for, **how)
    joined = join_rows(X.rows(features), read.rows(labels), way)
    if joined.note is not None:
        say_note(joined.note)
    values, Y = X.values, read.values[joined.second]
    if len(joined.first) < values.shape[0]:
        values = rows_of(values, joined.first)
    ids = None if X.ids is None else tuple(X.ids[row] for row in joined.first)
    for_test = None if test is None else joined.second >= n_fitted
    fitted = Y if for_test is None else Y[~for_test]
    kept = attributes_to_fit(labels, fitted, read.names, min_positives)
    names = tuple(read.names[m] for m in kept)
    record = {
        "matched": "id" if joined.by_id else "position",
        "features": X.values.shape[0],
        "labels": len(read.values),
        "attributes_left_out": [read.names[m] for m in np.setdiff1d(range(len(read.names)), kept)],
    }
    return LabelledSamples(values, Y[:, kept], names, ids, record, X.names, for_test)


def attributes_to_fit(
    path: Path, values: NDArray[np.float64], names: Sequence[str], min_positives: int
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


def check_classes(path: Path, values: NDArray[np.float64], names: Sequence[str]) -> None:
    """Refuse labels (of a path) with attributes that have not both classes; name all of them."""
    yes, no = (values > 0).sum(0) > 0, (values <= 0).sum(0) > 0
    kinds = {"only yes": yes & ~no, "only no": no & ~yes, "no label": ~yes & ~no}
    lacking = [
        f"{_listed(named)} {agree(len(named), 'has', 'have')} {kind}"
        for kind, named in ((kind, _named(names, which)) for kind, which in kinds.items())
        if named
    ]
    if lacking:
        raise InputError(
            path,
            f"{'; '.join(lacking)} in the {counted(len(values), 'row')}, and an attribute needs "
            "both; give --min-positives 1 to leave these out, or add rows of the other kind.",
        )


def _named(names: Sequence[str], which: NDArray[np.bool_]) -> list[str]:
    return [name for name, chosen in zip(names, which, strict=True) if chosen]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def split_rows(
    Y: NDArray[np.float64],
    names: Sequence[str],
    holdout: float,
    seed: int,
    ids: Sequence[str] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit on and rows to score, both classes of every attribute among the former.

    Where rows have identifiers, the same ones are held out in whatever order the rows come.
    """
    from proxmtl.experiments import random_splits  # noqa: PLC0415 - heavy

    if holdout == 0:
        return np.arange(len(Y)), np.arange(0)
    try:
        random_splits(len(Y), 1, holdout, seed)  # of these numbers, whatever the labels are
    except ValueError as error:
        raise ValueError(
            f"--holdout {holdout:g}: of {counted(len(Y), 'row')} that leaves none to fit on or "
            "none to score; give --holdout 0, or add rows."
        ) from error
    order = np.arange(len(Y))
    if ids is not None:
        keys = [name_key(name) for name in ids]
        order = np.array(sorted(order, key=keys.__getitem__))
    try:
        train, test = random_splits(len(Y), 1, holdout, seed, Y=Y[order])[0]
        return np.sort(order[train]), np.sort(order[test])
    except ValueError as error:
        few = _named(names, fewest(Y) < FEW)
        if not few:
            raise
        raise ValueError(
            f"--holdout {holdout:g}: no split was found that leaves yes and no of every attribute "
            f"to fit on. Fewer than {FEW} rows with yes or with no have {_listed(few)}; give "
            f"--min-positives {FEW} to leave these out, or a smaller --holdout."
        ) from error


def fewest(Y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Rows with yes or rows with no of each attribute, whichever are fewer."""
    counts: NDArray[np.intp] = np.minimum((Y > 0).sum(0), (Y <= 0).sum(0))
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


def read_groups(
    path: Path | None,
    names: Sequence[str],
    left_out: Sequence[str] = (),
    *,
    latent: bool = False,
) -> Groups | None:
    """Read groups of attributes; without a file there are none.

    Parameters
    ----------
    path
        TOML, JSON or CSV.
    names
        Attributes.
    left_out
        Others that may be in the file: they are taken out of the groups.
    latent
        Whether they are for the latent model, which takes no group of weight 0.
    """
    if path is None:
        return None
    from proxmtl.estimators.grouping import check_weighted  # noqa: PLC0415 - heavy
    from proxmtl.experiments.metrics import TOTAL  # noqa: PLC0415 - heavy

    if not path.is_file():
        raise InputError(path, "no such file; check the path to the groups.")
    groups = Groups.from_file(path, [*names, *left_out])
    if TOTAL in groups.names:
        raise InputError(
            path, f"a group is called {TOTAL!r}, as the mean over all attributes is; rename it."
        )
    if left_out:
        if not groups.coverage[: len(names)].any():  # all groups were of attributes left out
            return None
        groups = groups.restricted(range(len(names)))
    if latent:
        try:
            check_weighted(groups)
        except ValueError as error:
            raise InputError(path, str(error)) from error
    return groups


def features_for(
    model: LinearModel,
    path: Path,
    key: str | None,
    id_column: str | None = None,
    *,
    id_column_required: bool = True,
    memory: str | None = None,
) -> Features:
    """Read features, as `load_features` does, in the order of the model where both have names.

    Raises
    ------
    InputError
        As `load_features` does, and if they are not the features of the model.
    """
    read = load_features(
        path,
        key,
        id_column=id_column,
        id_column_required=id_column_required,
        memory=memory_of(memory),
    )
    known = getattr(model, "feature_names_in_", None)
    if known is not None:
        read = read.in_order(known.tolist(), path)
    if read.values.shape[1] != model.n_features_in_:
        raise InputError(
            path,
            f"{read.values.shape[1]} features per row, and the model was fitted on "
            f"{model.n_features_in_}; give features made in the same way.",
        )
    return read


def scores_of(model: LinearModel, X: Any) -> NDArray[np.float64]:
    """Scores (N, M) of features (N, D) in the order in which the model was fitted on them.

    Of a classifier less its thresholds: above zero means yes. Of a regressor its predictions.
    """
    from proxmtl.estimators.classifier import LinearAttributeClassifier  # noqa: PLC0415 - heavy

    with warnings.catch_warnings():  # they are in that order, whether or not they have names
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        if isinstance(model, LinearAttributeClassifier):
            scores = model.decision_function(X).reshape(X.shape[0], -1)
            return np.asarray(scores - model.decision_thresholds_)
        return np.asarray(model.predict(X)).reshape(X.shape[0], -1)


def labels_for(
    names: Sequence[str],
    labels: Labels,
    path: Path,
    cells: str = "blank cells for missing labels",
) -> NDArray[np.float64]:
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
        raise InputError(
            path,
            f"no column for {len(missing)} of the model's {counted(len(names), 'attribute')}, the "
            f"first is {missing[0]!r}; add it ({cells}), or "
            f"{index.advice(missing[0])}",
            line=1,
        )
    kept = [place for place in places if place is not None]
    values: NDArray[np.float64] = labels.values[:, kept]
    return values


def memory_of(given: str | None) -> int | None:
    """Give the bytes of an option; None where it was not given.

    Raises
    ------
    ValueError
        If it is no size of a byte or more.
    """
    if given is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B?|B)?\s*", given, re.IGNORECASE)
    unit, binary = (found.group(2) or "", found.group(3)) if found else ("", "")
    power = " KMGT".index(unit.upper()) if unit else 0
    size = int(float(found.group(1)) * (1024 if binary else 1000) ** power) if found else 0
    if size < 1:
        raise ValueError(f"--memory: got {given}; give bytes, or a size such as 4GiB or 500MB.")
    return size


def torch_device(name: str) -> torch.device:
    """Return the device of a name; raise if it can't be used."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise ValueError(f"device: {name!r} can't be used ({reason}); use 'cpu'.") from error
    return device
