"""Animals with Attributes 2 (Xian, Lampert, Schiele and Akata, PAMI 2019): images in class folders.

37322 images of the 50 classes and with the 85 attributes of the first version. An image has the
attributes of its class, which is what zero-shot recognition needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proxmtl.backbones.data.awa import AwAClasses, load_awa_classes
from proxmtl.backbones.data.files import find_images
from proxmtl.backbones.data.location import require
from proxmtl.backbones.data.table import ImageTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.backbones.images import Fit

IMAGE_FOLDER = "JPEGImages"


@dataclass(frozen=True)
class AwA2:
    """Class knowledge, and where the images are.

    Attributes
    ----------
    classes
        Names, attributes and the official split of the classes.
    label
        (N,) class number of each image, a row of ``classes.attributes``.
    image_names
        N paths relative to ``JPEGImages``, ``zebra/zebra_10001.jpg``.
    images
        The paths of the files.
    """

    classes: AwAClasses
    label: NDArray[np.int64]
    image_names: tuple[str, ...]
    images: list[Path]

    @property
    def Y(self) -> NDArray[np.float64]:  # noqa: N802 - the label matrix of the mathematics
        """(N, 85) labels of the images: the attributes of their classes."""
        return self.classes.attributes[self.label]

    def rows(self, classes: tuple[int, ...]) -> NDArray[np.intp]:
        """Numbers of the images of some classes."""
        return np.flatnonzero(np.isin(self.label, classes))

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
