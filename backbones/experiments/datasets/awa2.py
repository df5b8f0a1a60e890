"""Animals with Attributes 2 (Xian, Lampert, Schiele and Akata, PAMI 2019): images in class folders.

37322 images of the 50 classes and with the 85 attributes of the first version. An image has the
attributes of its class, which is what zero-shot recognition needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxmtl.backbones.data.files import find_images
from proxmtl.backbones.data.table import ImageTable
from proxmtl.backbones.experiments.location import require
from proxmtl.backbones.images import Fit

from .awa import Animals, load_awa_classes

IMAGE_FOLDER = "JPEGImages"


@dataclass(frozen=True)
class AwA2(Animals):
    """Class knowledge, and where the images are.

    Attributes
    ----------
    image_names
        N paths relative to ``JPEGImages``, ``zebra/zebra_10001.jpg``.
    images
        The paths of the files.
    """

    image_names: tuple[str, ...]
    images: list[Path]

    def table(
        self, rows: NDArray[np.intp] | None = None, size: int = 256, *, fit: Fit = "stretch"
    ) -> ImageTable:
        """Decode some images (default: all) with the attributes of their classes."""
        chosen = np.arange(len(self.images)) if rows is None else rows
        return ImageTable.from_images(
            (self.images[i] for i in chosen),
            self.Y[chosen],
            self.classes.attribute_names,
            size,
            fit=fit,
            ids=[self.image_names[i] for i in chosen],
        )


def load_awa2(folder: str | Path, images: str = IMAGE_FOLDER) -> AwA2:
    """Read the data set, or the part of its classes that has images.

    Parameters
    ----------
    folder
        Folder with ``classes.txt``, ``predicates.txt``, ``predicate-matrix-binary.txt``,
        ``trainclasses.txt`` and ``testclasses.txt``.
    images
        Folder in it with a folder for each class.

    Raises
    ------
    FileNotFoundError
        If a file or the folder of images isn't there.
    ValueError
        If a file can't be read or disagrees with another, a folder has the name of no class, or
        there is no image.
    """
    root = require(Path(folder), "the folder of Animals with Attributes 2")
    classes = load_awa_classes(root)
    found = find_images(require(root / images, "a folder for each class, with its images"))
    number = {name: i for i, name in enumerate(classes.names)}
    kinds = [name.partition("/")[0] for name in found.ids]
    unknown = next((kind for kind in kinds if kind not in number), None)
    if unknown is not None:
        msg = f"{root / images} has {unknown!r}, which is the name of no class in classes.txt."
        raise ValueError(msg)
    paths = [root / images / name for name in found.ids]
    return AwA2(classes, np.array([number[kind] for kind in kinds]), found.ids, paths)
