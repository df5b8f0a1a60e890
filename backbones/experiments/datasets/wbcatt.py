"""WBCAtt: white blood cells with morphological attributes (Tsutsui, Pang and Wen, NeurIPS 2023).

10298 microscope images of the PBC data set (Acevedo et al., 2020) and 11 attributes with two to six
values each. The labels are CSV files; every value becomes a binary attribute, ``nucleus_shape=
irregular``, of which exactly one per attribute is yes. ``nil`` and ``no`` are values.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxmtl.backbones.archive import TarImages
from proxmtl.backbones.experiments.location import read_text, require
from proxmtl.backbones.images import SizedImages
from proxmtl.groups import Groups

from .labelled_images import LabelledImages

WBCATT_GROUPS: dict[str, tuple[str, ...]] = {
    "cell": ("cell_size", "cell_shape"),
    "nucleus": ("nucleus_shape", "nuclear_cytoplasmic_ratio", "chromatin_density"),
    "cytoplasm": ("cytoplasm_vacuole", "cytoplasm_texture", "cytoplasm_colour"),
    "granule": ("granule_type", "granule_colour", "granularity"),
}
"""The 11 attributes by the part of the cell that they describe."""

SPLITS = ("train", "val", "test")
ONE_FILE = "attributes.csv"
THREE_FILES = "pbc_attr_v1_{}.csv"


@dataclass(frozen=True)
class WBCAtt(LabelledImages):
    """The 31 values ``attribute=value``, attribute by attribute, in alphabetical order.

    Attributes
    ----------
    attributes
        The attribute of each column.
    cell_types
        (N,) type of each cell, such as ``Neutrophil``.
    splits
        Rows of the official ``train``, ``val`` and ``test`` parts.
    """

    attributes: tuple[str, ...]
    cell_types: NDArray[np.str_]
    splits: dict[str, NDArray[np.intp]]

    @property
    def groups(self) -> Groups:
        """:data:`WBCATT_GROUPS` over the columns of ``Y``."""
        members = {
            group: [n for n, a in zip(self.names, self.attributes, strict=True) if a in inside]
            for group, inside in WBCATT_GROUPS.items()
        }
        return Groups.from_names(members, self.names)

    def values(self, scores: NDArray[np.float64], attribute: str) -> list[str]:
        """The likeliest value of an attribute for each row of scores (N, 31).

        Raises
        ------
        ValueError
            If there is no such attribute.
        """
        columns = [i for i, name in enumerate(self.attributes) if name == attribute]
        if not columns:
            msg = f"attribute: got {attribute!r}; use {', '.join(dict.fromkeys(self.attributes))}."
            raise ValueError(msg)
        chosen = np.argmax(np.asarray(scores)[:, columns], axis=1)
        return [self.names[columns[k]].partition("=")[2] for k in chosen]


def load_wbcatt(folder: str | Path) -> WBCAtt:
    """Read the data set.

    Parameters
    ----------
    folder
        Folder with ``pbc_attr_v1_train.csv``, ``..._val.csv`` and ``..._test.csv``, or with one
        ``attributes.csv`` that has a column ``split``; and with the images where column ``path``
        says, or in a tar archive ``images*.tar`` (with or without the first folder of the paths).

    Raises
    ------
    FileNotFoundError
        If the folder or a table isn't there.
    ValueError
        If a table lacks a column, a cell is blank, a split is unknown, or images are missing.
    """
    root = require(Path(folder), "the folder of WBCAtt")
    rows = _rows(root)
    columns, names, attributes = [], [], []
    for attribute in (a for inside in WBCATT_GROUPS.values() for a in inside):
        cells = np.array([row[attribute] for row in rows])
        for value in np.unique(cells):
            columns.append((cells == value).astype(np.float64))
            names.append(f"{attribute}={value}")
            attributes.append(attribute)
    where = np.array([row["split"] for row in rows])
    image_names = tuple(row["path"] for row in rows)
    return WBCAtt(
        Y=np.column_stack(columns),
        names=tuple(names),
        attributes=tuple(attributes),
        cell_types=np.array([row["label"] for row in rows]),
        splits={split: np.flatnonzero(where == split) for split in SPLITS},
        image_names=image_names,
        images=_images(root, image_names),
    )


def _rows(root: Path) -> list[dict[str, str]]:
    if (root / ONE_FILE).is_file():
        rows = _table(root / ONE_FILE)
    else:
        rows = []
        for split in SPLITS:
            path = require(root / THREE_FILES.format(split), f"the table of part {split!r}")
            rows += [{**row, "split": split} for row in _table(path)]
    if not rows or len({row.get("path") for row in rows}) != len(rows):
        msg = f"the tables of {root} have no rows, or an image twice; get them again."
        raise ValueError(msg)
    return rows


def _table(path: Path) -> list[dict[str, str]]:
    needed = ["label", "path", *(a for inside in WBCATT_GROUPS.values() for a in inside)]
    if path.name == ONE_FILE:
        needed.append("split")
    reader = csv.DictReader(io.StringIO(read_text(path, "a table of attributes"), newline=""))
    try:
        rows = list(reader)
        missing = [name for name in needed if name not in (reader.fieldnames or [])]
    except csv.Error as error:
        msg = f"{path} can't be read as CSV ({error}); get the table again."
        raise ValueError(msg) from error
    if missing:
        msg = f"{path} has no column {missing[0]!r}; get the table again."
        raise ValueError(msg)
    for number, row in enumerate(rows, 2):
        blank = next((name for name in needed if not row[name]), None)
        if blank is not None or row.get("split", SPLITS[0]) not in SPLITS:
            msg = f"{path}, line {number}: {blank or 'split'!r} is blank or unknown; get it again."
            raise ValueError(msg)
    return rows


def _images(root: Path, names: tuple[str, ...]) -> SizedImages | None:
    # as distributed the paths begin with the folder of the PBC archive; it may have been left out
    short = tuple(name.partition("/")[2] for name in names)
    for chosen in (names, short):
        paths = [root / name for name in chosen]
        missing = [path for path in paths if not path.is_file()]
        if len(missing) < len(paths):
            if missing:
                msg = f"{root} lacks {len(missing)} of {len(paths)} images: {missing[0]} ..."
                raise ValueError(msg)
            return paths
    archives = sorted(root.glob("images*.tar"))
    if not archives:
        return None
    inside = set(TarImages(archives[0]).names)
    return TarImages(archives[0], names if names[0] in inside else short)
