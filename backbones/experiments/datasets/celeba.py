"""CelebA's attributes (Liu, Luo, Wang and Tang, ICCV 2015), in the file that is distributed.

``list_attr_celeba.txt``: the number of images, the 40 attribute names, then one line per image:
its file name, and 1 (yes) or -1 (no) for each attribute.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from proxmtl.backbones.experiments.location import read_text, require

from .labelled_images import LabelledImages

ATTRIBUTES_FILE = "list_attr_celeba.txt"
IMAGE_FOLDER = "img_align_celeba"


def load_celeba(folder: str | Path) -> LabelledImages:
    """Read the attributes of a folder with ``list_attr_celeba.txt`` and ``img_align_celeba/``.

    The images are paths in the latter, whether the files are there or not.

    Raises
    ------
    FileNotFoundError
        If the folder or the file isn't there.
    ValueError
        If a line has other cells than the header says, or the number of images differs.
    """
    root = require(Path(folder), "the folder of CelebA")
    path = root / ATTRIBUTES_FILE
    lines = read_text(path, "the attributes of CelebA").splitlines()
    count = lines[0].strip() if lines else ""
    if len(lines) < 3 or not re.fullmatch(r"[0-9]{1,9}", count):
        msg = f"{path} doesn't begin with the number of images and the names; get it again."
        raise ValueError(msg)
    names = tuple(lines[1].split())
    rows = [line.split() for line in lines[2:] if line.strip()]
    announced = int(count)
    if len(rows) != announced:
        msg = f"{path} announces {announced} images and has {len(rows)} lines; get it again."
        raise ValueError(msg)
    for number, row in enumerate(rows, 3):
        if len(row) != len(names) + 1 or not set(row[1:]) <= {"1", "-1"}:
            msg = f"{path}, line {number}: expected a file name and {len(names)} times 1 or -1."
            raise ValueError(msg)
    labels = np.array([[cell == "1" for cell in row[1:]] for row in rows], dtype=np.float64)
    image_names = tuple(row[0] for row in rows)
    images = [root / IMAGE_FOLDER / name for name in image_names]
    return LabelledImages(labels, names, image_names, images)
