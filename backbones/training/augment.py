"""Random changes of training images: crops, flips, and the colour shifts of Krizhevsky et al."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Augmentation", "CropsAndFlips", "Krizhevsky"]


class Augmentation(Protocol):
    """Changes images at random; the same seed gives the same images."""

    def __call__(self, images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """Images (B, C, H, W) to images (B, C, side, side)."""


@dataclass(frozen=True)
class CropsAndFlips:
    """Squares of a side, cut at random places, and half of them mirrored.

    Parameters
    ----------
    side
        Of the result.
    padding
        Pixels added on each side before the crop, copies of the border.
    flips
        Whether left and right may be swapped; not where attributes tell them apart.
    """

    side: int
    padding: int = 0
    flips: bool = True

    def __call__(self, images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        random, p = np.random.default_rng(seed), self.padding
        padded = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p)), mode="edge")
        room = [length - self.side for length in padded.shape[2:]]
        if min(room) < 0:
            msg = (
                f"side={self.side} with images of {images.shape[2:]} and padding={p}: "
                "the crop is larger than the padded image; read larger images, or pad more."
            )
            raise ValueError(msg)
        tops, lefts = (random.integers(0, r + 1, len(images)) for r in room)
        mirrored = random.random(len(images)) < 0.5 * self.flips
        out: NDArray[np.uint8] = np.empty((*images.shape[:2], self.side, self.side), np.uint8)
        for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            crop = padded[i, :, top : top + self.side, left : left + self.side]
            out[i] = crop[..., ::-1] if mirrored[i] else crop
        return out


class Krizhevsky:
    """Crops, flips and colour PCA, by albumentations (``pip install 'proxmtl[images]'``).

    Colours move along the principal axes of the pixels, by normal amounts of standard deviation
    0.1 times the eigenvalue. albumentations takes the axes of each image; the original took those
    of all ImageNet.

    Parameters
    ----------
    side
        Of the result.
    flips
        As in :class:`CropsAndFlips`.

    Raises
    ------
    ImportError
        If albumentations isn't installed.

    References
    ----------
    Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
    networks", 2012, section 4.1.
    """

    def __init__(self, side: int, *, flips: bool = True) -> None:
        # its import would ask the network for a newer version
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        try:
            import albumentations  # noqa: PLC0415 (an optional extra)
        except ImportError as error:
            msg = (
                "colour augmentation needs albumentations; pip install 'proxmtl[images]', or use "
                "CropsAndFlips."
            )
            raise ImportError(msg) from error
        self.side, self.flips = side, flips
        steps: list[Any] = [albumentations.RandomCrop(side, side)]
        if flips:
            steps.append(albumentations.HorizontalFlip(p=0.5))
        steps.append(albumentations.FancyPCA(alpha=0.1, p=1.0))
        self._change = albumentations.Compose(steps, seed=0)

    def __repr__(self) -> str:
        return f"Krizhevsky(side={self.side}, flips={self.flips})"

    def __call__(self, images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        self._change.set_random_seed(seed)
        rows = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        changed = np.stack([self._change(image=row)["image"] for row in rows])
        out: NDArray[np.uint8] = np.ascontiguousarray(changed.transpose(0, 3, 1, 2))
        return out
