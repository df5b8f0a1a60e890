"""The files of a command, read and brought together."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from proxmtl.groups import Groups
from proxmtl.io import InputError, Labels, align_rows, load_features, read_labels
from proxmtl.io.atomic import check_target
from proxmtl.io.errors import first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from proxmtl.estimators.base import LinearAttributeClassifier

__all__ = [
    "Samples",
    "check_classes",
    "check_out",
    "described",
    "features_for",
    "labels_for",
    "read_groups",
    "read_samples",
    "split_rows",
    "torch_device",
]


class Samples(NamedTuple):
    """Features with their labels, row by row."""

    X: NDArray[Any]
    Y: NDArray[np.float64]
    names: tuple[str, ...]
    ids: tuple[str, ...] | None = None
    """Of the rows, where the features have them."""


def read_samples(
    features: Path, labels: Path, *, key: str | None = None, id_column: str | None = None
) -> Samples:
    """Read both files and match their rows."""
    X = load_features(features, key)
    read = read_labels(labels, id_column=id_column)
    aligned = align_rows(read, X.ids, len(X.values), labels_path=labels, features_path=features)
    check_classes(labels, aligned.values, aligned.names)
    return Samples(X.values, aligned.values, aligned.names, X.ids)


def check_classes(path: Path, values: NDArray[np.float64], names: Sequence[str]) -> None:
    """Refuse labels (of a path) with an attribute that has not both classes, by its name."""
    yes, no = (values > 0).sum(0), (values <= 0).sum(0)
    lacking = [m for m in range(len(names)) if not (yes[m] and no[m])]
    if lacking:
        m = lacking[0]
        seen = "only yes" if yes[m] else "only no" if no[m] else "no label"
        more = f", as have {len(lacking) - 1} others" if lacking[1:] else ""
        raise InputError(
            path,
            f"{names[m]!r} has {seen} in the {len(values)} rows{more}; leave the column out or "
            "add rows of the other kind.",
        )


def split_rows(data: Samples, holdout: float, seed: int) -> tuple[Any, Any]:
    """Rows to fit on and rows to score, both classes of every attribute among the former."""
    from proxmtl.experiments import random_splits  # noqa: PLC0415 - heavy

    if holdout == 0:
        return np.arange(len(data.X)), np.arange(0)
    return random_splits(len(data.X), 1, holdout, seed, Y=data.Y)[0]


def described(path: Path) -> dict[str, Any]:
    """Name, size and hash of an input, for the record of a run."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest}


def read_groups(path: Path | None, names: Sequence[str]) -> Groups | None:
    """Read groups of attributes; without a file there are none."""
    if path is None:
        return None
    if not path.is_file():
        raise InputError(path, "no such file; check the path to the groups.")
    try:
        return Groups.from_file(path, names)
    except ValueError as error:
        raise InputError(path, str(error).removeprefix(f"{path.name}: ")) from error


def features_for(
    model: LinearAttributeClassifier, path: Path, key: str | None
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Read features (and row identifiers) and check that they are those of the model."""
    read = load_features(path, key)
    if read.values.shape[1] != model.n_features_in_:
        raise InputError(
            path,
            f"{read.values.shape[1]} features per row, and the model was fitted on "
            f"{model.n_features_in_}; give features made in the same way.",
        )
    return read.values, read.ids


def labels_for(names: Sequence[str], labels: Labels, path: Path) -> NDArray[np.float64]:
    """Put the label columns into the order of the model's attributes; others are left out."""
    missing = [name for name in names if name not in labels.names]
    if missing:
        raise InputError(
            path,
            f"no column for {len(missing)} of the model's {len(names)} attributes, the first is "
            f"{missing[0]!r}; add it (blank cells for missing labels).",
            line=1,
        )
    values: NDArray[np.float64] = labels.values[:, [labels.names.index(name) for name in names]]
    return values


def check_out(out: Path | None, *, force: bool) -> None:
    """Refuse a file that is there, unless it may be replaced, or that can't be written."""
    if out is None:
        return
    check_target(out)
    if out.exists() and not force:
        raise InputError(out, "the file exists; give --force to replace it or another --out.")


def torch_device(name: str) -> torch.device:
    """Make a device of its name, and refuse one that can't be used."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise ValueError(f"device: {name!r} can't be used ({reason}); use 'cpu'.") from error
    return device
