"""Tiny ImageNet's images of classes that Animals with Attributes has too, 64 x 64 pixels.

Eleven classes of both, an image has the attributes of its class. The folder has ``classes.csv``
with columns ``wnid`` and ``awa_class``, and a tar archive ``images*.tar`` with members
``<wnid>/train_<n>.jpg`` and ``<wnid>/val_<n>.jpg``, the parts of Tiny ImageNet (Le and Yang, 2015).
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
from proxmtl.groups import Groups

from .awa import GROUPS, Animals, load_awa_classes, load_awa_groups

CLASSES = "classes.csv"
ATTRIBUTES = "awa1"
PARTS = ("train", "val")


@dataclass(frozen=True)
class TinyAwA(Animals):
    """Images, and what is known of their classes.

    Attributes
    ----------
    images
        The N images, in the order of the archive.
    image_names
        N members of the archive, ``n02403003/train_17.jpg``.
    groups
        The nine groups over the attributes.
    parts
        Rows of Tiny ImageNet's ``train`` and ``val`` part.
    """

    images: TarImages
    image_names: tuple[str, ...]
    groups: Groups
    parts: dict[str, NDArray[np.intp]]


def load_tiny_awa(folder: str | Path) -> TinyAwA:
    """Read the data set.

    Parameters
    ----------
    folder
        Folder with ``classes.csv`` and ``images*.tar``. The attributes of the classes are the text
        files and the groups of Animals with Attributes 1, in the folder ``awa1`` beside it.

    Raises
    ------
    FileNotFoundError
        If a file or folder isn't there.
    ValueError
        If a file can't be read or disagrees with another; the message names it.
    """
    root = require(Path(folder), "the folder of Tiny ImageNet's images of animals")
    beside = require(
        root.resolve().parent / ATTRIBUTES, "the attributes of Animals with Attributes 1"
    )
    classes = load_awa_classes(beside)
    numbers = _numbers(root / CLASSES, classes.names)
    archives = sorted(root.glob("images*.tar"))
    if not archives:
        require(root / "images.tar", "a tar archive of the images")
    images = TarImages(archives[0])
    label, part = [], []
    for name in images.names:
        wnid, _, file = name.partition("/")
        kind = file.partition("_")[0]
        if wnid not in numbers or kind not in PARTS:
            msg = (
                f"{archives[0]} has {name!r}; expected <wnid>/train_<n>.jpg or <wnid>/val_<n>.jpg "
                f"with a wnid of {CLASSES}."
            )
            raise ValueError(msg)
        label.append(numbers[wnid])
        part.append(kind)
    parts = {kind: np.flatnonzero(np.array(part) == kind) for kind in PARTS}
    groups = load_awa_groups(beside / GROUPS, classes.attribute_names)
    return TinyAwA(classes, np.array(label), images, tuple(images.names), groups, parts)


def _numbers(path: Path, names: tuple[str, ...]) -> dict[str, int]:
    """Class number of each wnid."""
    text = read_text(path, "a table of classes with columns wnid and awa_class")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    found = {}
    for row in rows:
        wnid, name = row.get("wnid"), row.get("awa_class")
        if not wnid or name not in names:
            msg = f"{path} has the class {name!r} for {wnid!r}, which classes.txt doesn't name."
            raise ValueError(msg)
        found[wnid] = names.index(name)
    if not found or len(found) != len(rows):
        msg = f"{path} has no class, or one wnid twice; get it again."
        raise ValueError(msg)
    return found
