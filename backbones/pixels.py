"""Preparation of stored pixels for networks: crop, augmentation, mean and scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from proxmtl.backbones.training.augment import Augmentation, Seed

__all__ = ["central_crop", "channel_moments", "cropped", "moments", "to_input"]

CHUNK = 64
"""Images read at a time; the sums are of whole numbers, and the same for any."""


def channel_moments(
    pixels: NDArray[np.uint8], rows: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (C,) and covariance (C, C) of the channels over all pixels of some images.

    The images may lie in a memory-mapped file: they are read in pieces.
    """
    channels, n_pixels = pixels.shape[1], len(rows) * pixels.shape[2] * pixels.shape[3]
    total, products = np.zeros(channels), np.zeros((channels, channels))
    for start in range(0, len(rows), CHUNK):
        part = pixels[rows[start : start + CHUNK]].swapaxes(0, 1).reshape(channels, -1)
        wide = part.astype(np.float64)
        total += wide.sum(1)
        products += wide @ wide.T
    mean = total / n_pixels
    return mean, products / n_pixels - np.outer(mean, mean)


def moments(pixels: NDArray[np.uint8], rows: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
    """Mean of each channel (C,) over some images, and one standard deviation of all, (1,).

    One scale for all channels, so that subtracting the mean and dividing keeps colours apart.
    """
    mean, covariance = channel_moments(pixels, rows)
    deviation = float(np.sqrt(np.maximum(covariance.diagonal(), 0).mean()))
    scale = deviation if deviation > 0 else 1.0
    return torch.tensor(mean, dtype=torch.float32), torch.tensor([scale], dtype=torch.float32)


def cropped(
    pixels: NDArray[np.uint8],
    shape: tuple[int, int, int],
    augmentation: Augmentation | None = None,
    seeds: Sequence[Seed] = (),
) -> NDArray[np.uint8]:
    """Images (B, C, H, W) of the shape that the network takes, contiguous and writeable.

    An augmentation changes each by its seed; without one the middle of each image is taken.

    Raises
    ------
    ValueError
        If the images are smaller than ``shape`` or have other channels.
    """
    images = np.asarray(pixels)
    images = (
        central_crop(images, *shape[1:]) if augmentation is None else augmentation(images, seeds)
    )
    if images.shape[1:] != shape:
        msg = f"images have shape {images.shape[1:]}, the network takes {shape}."
        raise ValueError(msg)
    # torch can't hold memory that may not be written, such as that of a file mapped for reading
    return np.require(images, requirements=["C", "W"])


def central_crop(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return the middle (B, C, height, width) of images.

    Raises
    ------
    ValueError
        If the images are smaller.
    """
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    if min(top, left) < 0:
        msg = (
            f"images have {images.shape[2]} x {images.shape[3]} pixels, the network takes "
            f"{height} x {width}; read larger images."
        )
        raise ValueError(msg)
    return images[:, :, top : top + height, left : left + width]


def to_input(images: Tensor, mean: Tensor, scale: Tensor, *, channels_last: bool = False) -> Tensor:
    """Images (B, C, H, W) of 0..255 as the network takes them, on the device of ``mean``.

    ``mean`` and ``scale`` have one number per channel, or one for all.
    """
    floats = images.to(mean.device, non_blocking=True).to(mean.dtype)
    normalised = (floats - mean[:, None, None]) / scale[:, None, None]
    return normalised.contiguous(memory_format=torch.channels_last) if channels_last else normalised
