"""The files of a command, read and brought together."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import issparse

from proxmtl.cli.console import say_note
from proxmtl.cli.fitted_attributes import attributes_to_fit
from proxmtl.cli.labels_of_test import read_with_test
from proxmtl.cli.option_values import memory_of
from proxmtl.groups import Groups
from proxmtl.io import InputError, join_rows, load_features
from proxmtl.io.errors import first_line
from proxmtl.io.rows import check_match
from proxmtl.row_sources import rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from proxmtl.estimators.base import LinearModel
    from proxmtl.io import Features
    from proxmtl.label_arrays import SparseLabels

__all__ = [
    "LabelledSamples",
    "features_for",
    "pair_scores_of",
    "read_groups",
    "read_samples",
    "scores_of",
    "torch_device",
]


class LabelledSamples(NamedTuple):
    """Features with their labels, row by row."""

    X: Any
    """(N, D): an array, a sparse CSR array, or rows that are read when they are used."""
    Y: Any
    """(N, M): an array, NaN for missing; or a sparse array of the labels that are known, -1, +1."""
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
    pairs: bool = False,
) -> LabelledSamples:
    """Read both files and bring their rows together; say what is left out.

    With ``pairs`` labels of a sparse matrix that stores those that are known stay sparse, unless
    the features are sparse.
    """
    way = check_match(match)
    # a column of that name may be one of the labels alone, which raise where it is not
    X = load_features(
        features, key, id_column=id_column, id_column_required=False, memory=memory_of(memory)
    )
    how = {"id_column": id_column, "unique_ids": way != "position", "task_column": task_column}
    how["sparse"] = pairs and not issparse(X.values)
    read, n_fitted = read_with_test(labels, test, **how)
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
        "labels": read.values.shape[0],
        "attributes_left_out": [read.names[m] for m in np.setdiff1d(range(len(read.names)), kept)],
    }
    return LabelledSamples(values, Y[:, kept], names, ids, record, X.names, for_test)


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


def pair_scores_of(model: LinearModel, X: Any, pairs: SparseLabels) -> NDArray[np.float64]:
    """Scores (E,) of some pairs of a row and an attribute alone; as those of `scores_of`."""
    from proxmtl.estimators.classifier import LinearAttributeClassifier  # noqa: PLC0415 - heavy

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        assert isinstance(model, LinearAttributeClassifier)
        return model.pair_scores(X, pairs)


def torch_device(name: str) -> torch.device:
    """Return the device of a name; raise if it can't be used."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise ValueError(f"device: {name!r} can't be used ({reason}); use 'cpu'.") from error
    return device
