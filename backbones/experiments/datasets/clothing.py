"""The Clothing Attributes data set (Chen, Gallagher and Girod, ECCV 2012).

1856 photographs and 26 attributes, 23 of them binary, labelled by six people each; where they
disagreed the label is missing. The labels are MATLAB files, one per attribute: ``GT`` is a column
with 1 = no (gender: male, skin exposure: low), 2 = yes (female, high), NaN = missing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxmtl.backbones.archive import TarImages
from proxmtl.backbones.experiments.location import require
from proxmtl.backbones.images import SizedImages
from proxmtl.groups import Groups

from .labelled_images import LabelledImages
from .mat import read_mat_array

CLOTHING_GROUPS: dict[str, tuple[str, ...]] = {
    "colors": (
        "black",
        "blue",
        "brown",
        "cyan",
        "gray",
        "green",
        "many_colors",
        "red",
        "purple",
        "white",
        "yellow",
    ),
    "patterns": (
        "pattern_floral",
        "pattern_graphics",
        "pattern_plaid",
        "pattern_solid",
        "pattern_stripe",
        "pattern_spot",
    ),
    "cloth_parts": ("necktie", "scarf", "placket", "collar"),
    "appearance": ("skin_exposure", "gender"),
}
"""The 23 binary attributes in the groups of the paper's Table II: 11 + 6 + 4 + 2."""

LABEL_FOLDERS = ("labels_mat", "labels")
IMAGE_FOLDER = "images"
MAT_SUFFIX = "_GT.mat"


class Clothing(LabelledImages):
    """The 23 attributes, group by group in the order of :data:`CLOTHING_GROUPS`.

    "Yes" means female for the gender, and high for the skin exposure.
    """

    @property
    def groups(self) -> Groups:
        """The paper's groups over the columns of ``Y``."""
        return Groups.from_names(CLOTHING_GROUPS, self.names)


def load_clothing(folder: str | Path) -> Clothing:
    """Read the data set.

    Parameters
    ----------
    folder
        Folder with the labels, ``labels_mat/`` or ``labels/`` (``<attribute>_GT.mat``), and with
        the images, a folder ``images/`` or a tar archive ``images*.tar`` of such a folder.

    Returns
    -------
    Clothing

    Raises
    ------
    FileNotFoundError
        If the folder or a label file isn't there.
    ValueError
        If a label file can't be read, has values other than 1, 2 and NaN or another length than
        the rest, or the number of images differs from the number of labels.
    """
    root = require(Path(folder), "the folder of the Clothing Attributes data set")
    labels = next((root / f for f in LABEL_FOLDERS if (root / f).is_dir()), root / "labels_mat")
    require(labels, "the folder of the label files <attribute>_GT.mat")
    names = tuple(name for members in CLOTHING_GROUPS.values() for name in members)
    columns = [_read_labels(labels / f"{name}{MAT_SUFFIX}") for name in names]
    for name, column in zip(names, columns, strict=True):
        if len(column) != len(columns[0]):
            msg = (
                f"{labels / name}{MAT_SUFFIX} has {len(column)} labels and {names[0]}{MAT_SUFFIX} "
                f"has {len(columns[0])}; get the labels again."
            )
            raise ValueError(msg)
    images, image_names = _find_images(root, len(columns[0]))
    return Clothing(np.column_stack(columns), names, image_names, images)


def _read_labels(path: Path) -> NDArray[np.float64]:
    require(path, "the labels of one attribute, a MATLAB file")
    try:
        values = read_mat_array(path, "GT").ravel()
    except ValueError as error:
        msg = f"{path} can't be read as a MATLAB file with a numeric GT ({error}); get it again."
        raise ValueError(msg) from error
    other = set(np.unique(values[~np.isnan(values)]).tolist()) - {1.0, 2.0}
    if other:
        msg = f"{path} has the values {sorted(other)[:3]}; binary labels are 1, 2 or NaN."
        raise ValueError(msg)
    return values - 1


def _find_images(root: Path, n: int) -> tuple[SizedImages | None, tuple[str, ...]]:
    names = tuple(f"{i + 1:06d}.jpg" for i in range(n))
    if (root / IMAGE_FOLDER).is_dir():
        paths = [root / IMAGE_FOLDER / name for name in names]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            msg = f"{root / IMAGE_FOLDER} lacks {len(missing)} of {n} images: {missing[0].name} ..."
            raise ValueError(msg)
        return paths, names
    archives = sorted(root.glob(f"{IMAGE_FOLDER}*.tar"))
    if not archives:
        return None, names
    return TarImages(archives[0], [f"{IMAGE_FOLDER}/{name}" for name in names]), names
