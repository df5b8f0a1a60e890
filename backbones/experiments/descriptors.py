"""Hand-made features of photographs: shape, texture and colour, without a network or a pose.

The features of Chen, Gallagher and Girod, "Describing clothing by semantic attributes" (2012), are
of this kind, but follow the parts of the body; here they follow a grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proxmtl.backbones.experiments.protocol import Array
from proxmtl.backbones.images import SizedImages, to_pixels

__all__ = ["DESCRIPTORS", "hand_made_features"]

SIDE = 160
"""Pixels of a side of the square that images are stretched to."""
CELL = 20
"""Of the cells that gradients are counted in."""
ORIENTATIONS = 9
GRID = 4
"""Regions of texture and colour along a side, besides the whole image."""
RADII = 1, 2, 4
"""Of the local binary patterns, pixels."""
NEIGHBOURS = 8
PATTERNS = NEIGHBOURS + 2
LIGHT, TONES = 8, 8
"""Bins of the lightness, and of each of the two axes of colour in CIELAB."""
CHROMA = 60.0
"""The axes of colour are counted within plus and minus this; few pixels are outside."""
DESCRIPTORS = (
    f"stretched to {SIDE}, HOG of {ORIENTATIONS} in {CELL}, blocks of 2; roots of shares in 1 and "
    f"{GRID} x {GRID} regions: LBP {NEIGHBOURS} at {RADII}, CIELAB {LIGHT}, {TONES} x {TONES} "
    f"within {CHROMA:g}"
)
"""What the features are, in the configuration of cells."""


def hand_made_features(images: SizedImages) -> Array:
    """Histograms of oriented gradients, local binary patterns, and CIELAB colours, (N, D).

    Texture and colour are counted in the whole image and in regions of a grid, as square roots of
    shares: products of two images are Hellinger's affinity of their histograms.

    Parameters
    ----------
    images
        Paths, encoded bytes, or what :func:`proxmtl.backbones.images.open_image` takes.

    Raises
    ------
    ModuleNotFoundError
        If scikit-image isn't installed.
    ValueError
        If an image can't be decoded.
    """
    try:
        import skimage  # noqa: F401, PLC0415 (optional)
    except ModuleNotFoundError as error:
        msg = "hand-made features need scikit-image; pip install 'proxmtl[descriptors]'."
        raise ModuleNotFoundError(msg) from error
    return np.stack([_features(to_pixels(image, SIDE, "stretch")) for image in images])


def _features(pixels: Array) -> Array:
    """Features of an image (3, SIDE, SIDE)."""
    from skimage.color import rgb2gray, rgb2lab  # noqa: PLC0415
    from skimage.feature import hog, local_binary_pattern  # noqa: PLC0415

    image = pixels.transpose(1, 2, 0)
    gray = rgb2gray(image)
    gradients = hog(gray, ORIENTATIONS, (CELL, CELL), (2, 2), block_norm="L2-Hys")
    lab = rgb2lab(image)
    light = np.clip(lab[..., 0] / 100 * LIGHT, 0, LIGHT - 1).astype(np.intp)
    a, b = (
        np.clip((lab[..., axis] / CHROMA + 1) / 2 * TONES, 0, TONES - 1).astype(np.intp)
        for axis in (1, 2)
    )
    levels = np.rint(255 * gray).astype(np.uint8)
    binary_patterns: Any = local_binary_pattern  # without types
    patterns = [
        binary_patterns(levels, NEIGHBOURS, radius, "uniform").astype(np.intp) for radius in RADII
    ]
    counted = [(light, LIGHT), (TONES * a + b, TONES * TONES)]
    counted += [(values, PATTERNS) for values in patterns]
    histograms = [_shares(values, n) for values, n in counted]
    # blocks of gradients have unit norm, as the square roots of the shares of a region
    return np.concatenate([gradients, np.sqrt(np.concatenate(histograms))]).astype(np.float32)


def _shares(values: Array, n: int) -> Array:
    """Shares of the values 0 to n - 1 in the whole image and in each region, flattened."""
    side = SIDE // GRID
    regions = values.reshape(GRID, side, GRID, side).transpose(0, 2, 1, 3).reshape(GRID * GRID, -1)
    counts = np.stack([np.bincount(region, minlength=n) for region in regions])
    sizes = np.repeat([SIDE * SIDE, side * side], [n, n * GRID * GRID])
    shares: Array = np.concatenate([counts.sum(axis=0), counts.ravel()]) / sizes
    return shares
