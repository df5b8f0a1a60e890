"""What the data sets of photographs have in common: attributes of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxmtl.backbones.images import SizedImages


@dataclass(frozen=True)
class LabelledImages:
    """N images with M attributes.

    Attributes
    ----------
    Y
        (N, M) float64 labels: 1 = yes, 0 = no, NaN = missing.
    names
        The attributes.
    image_names
        N file names, as the data set has them.
    images
        The images in the same order, or ``None`` if only the labels are there.
    """

    Y: NDArray[np.float64]
    names: tuple[str, ...]
    image_names: tuple[str, ...]
    images: SizedImages | None
