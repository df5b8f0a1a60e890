"""Files of labels and groups, and the images that they name: checked before torch is imported.

That import takes seconds, and most errors of new users are in these files. The readers of the work
check them; the work reads them again. A file so large that reading it takes longer than the import
is left to the work.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from proxmtl.cli.fitted_attributes import check_classes
from proxmtl.cli.image_options import holds_images
from proxmtl.cli.labels_of_test import labels_for, read_with_test
from proxmtl.cli.ranks import several
from proxmtl.cli.taken_samples import check_fitted_samples, check_samples
from proxmtl.group_files import read_places
from proxmtl.io.errors import InputError
from proxmtl.io.labels import read_labels
from proxmtl.io.model import read_model_description
from proxmtl.io.rows import check_match

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_scored", "check_tables", "labelled_images"]

LARGEST = 1 << 22
"""Bytes of a file that is read twice, which takes about a second."""


def check_tables(
    samples: Path,
    labels: Path,
    test: Path | None = None,
    groups: Path | None = None,
    *,
    match: str = "auto",
    min_positives: int = 0,
    id_column: str | None = None,
    task_column: str | None = None,
    skip_corrupt: bool = False,
) -> None:
    """Check labels to fit on, groups of their attributes, and that images are where they say.

    Parameters
    ----------
    samples
        Features, or a folder, an archive or a table of images.
    labels, test, groups
        Files; None: there are none.
    match, min_positives, id_column, task_column, skip_corrupt
        As the options of these names.

    Raises
    ------
    InputError, ValueError
        As the work raises.
    """
    way = check_match(match)
    check_fitted_samples(samples)
    if several() or not _quick(labels, test, groups):
        return
    how = {"id_column": id_column, "task_column": task_column}
    names: Sequence[str]
    with warnings.catch_warnings(action="ignore"):  # the work says them
        if holds_images(samples):
            images, names = labelled_images(labels, test, match, min_positives, **how)
            _check_images(samples, images, missing_ok=skip_corrupt)
        else:
            read, n_fitted = read_with_test(labels, test, unique_ids=way != "position", **how)
            names = read.names
            if not min_positives:
                check_classes(labels, read.values[:n_fitted], names)
        if groups is not None:
            read_places(groups, names)


def check_scored(
    run: Path,
    samples: Path,
    labels: Path,
    *,
    match: str = "auto",
    id_column: str | None = None,
    task_column: str | None = None,
) -> None:
    """Check that a run has a model, and samples and labels that it is to be scored on.

    Raises
    ------
    InputError, ValueError
        As the work raises.
    """
    way = check_match(match)
    check_samples(run, samples)
    description = read_model_description(run)
    names = description.get("label_names", description.get("names"))
    if description.get("classes", ()) is None or not _quick(labels):  # None: of a regressor
        return
    with warnings.catch_warnings(action="ignore"):
        read = read_labels(
            labels, unique_ids=way != "position", id_column=id_column, task_column=task_column
        )
        if names:
            labels_for(names, read, labels)


def labelled_images(
    labels: Path,
    test: Path | None,
    match: str,
    min_positives: int,
    *,
    id_column: str | None = None,
    task_column: str | None = None,
) -> tuple[list[str], list[str]]:
    """Names of the images that labels are of, and of the attributes.

    Raises
    ------
    ValueError
        If they are to be matched by position.
    InputError
        If the labels can't be fitted, or name no images.
    """
    if match == "position":
        raise ValueError("match: images are matched by their names; leave out 'position'.")
    read, n_fitted = read_with_test(labels, test, id_column=id_column, task_column=task_column)
    if read.ids is None or read.counted:
        raise InputError(
            labels,
            "has no column of file names, by which its rows would be those of images, but only "
            f"attributes ({', '.join(map(repr, read.names[:5]))}{', ...' if read.names[5:] else ''}"
            "); add one, called 'image', or name it by --id-column.",
        )
    if not min_positives:
        check_classes(labels, read.values[:n_fitted], read.names)
    return list(read.ids), list(read.names)


def _check_images(source: Path, names: Sequence[str], *, missing_ok: bool) -> None:
    """Look for images; those of an archive are listed by the work, which takes a pass over it."""
    from proxmtl.backbones.data import find_images  # noqa: PLC0415 - imports Pillow

    if source.suffix.lower() != ".tar" and not missing_ok:
        find_images(source, names)


def _quick(*files: Path | None) -> bool:
    """Whether files can be read twice, and quickly: no pipes, and none that may unpack to much."""
    given = [file for file in files if file is not None]
    tables = all(file.is_file() and file.suffix.lower() != ".npz" for file in given)
    return tables and all(file.stat().st_size <= LARGEST for file in given)
