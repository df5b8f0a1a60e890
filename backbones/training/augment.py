"""Random changes of training images: crops, flips, and the colour shifts of Krizhevsky et al."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from proxmtl.backbones.pixels import channel_moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Augmentation", "CropsAndFlips", "Krizhevsky", "Seed"]

Seed: TypeAlias = "int | tuple[int, ...]"
"""What :func:`numpy.random.default_rng` takes; of an image in training (run, epoch, row)."""


class Augmentation(ABC):
    """Changes images at random; an image is changed in the same way whenever its seed is the same.

    In particular the change depends neither on the other images of a batch nor on the thread that
    makes it, so that there is no generator whose state an interrupted run would have to keep.
    """

    @abstractmethod
    def __call__(self, images: NDArray[np.uint8], seeds: Sequence[Seed]) -> NDArray[np.uint8]:
        """Change images (B, C, H, W), each by its own seed, into images (B, C, side, side)."""

    def fitted(self, pixels: NDArray[np.uint8], rows: NDArray[np.intp]) -> Augmentation:  # noqa: ARG002
        """Return the augmentation for a training set, some rows of ``pixels``."""
        return self


@dataclass(frozen=True)
class CropsAndFlips(Augmentation):
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

    def __call__(self, images: NDArray[np.uint8], seeds: Sequence[Seed]) -> NDArray[np.uint8]:
        p = self.padding
        padded = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p)), mode="edge")
        height, width = (length - self.side for length in padded.shape[2:])
        if min(height, width) < 0:
            msg = (
                f"side={self.side} with images of {images.shape[2:]} and padding={p}: "
                "the crop is larger than the padded image; read larger images, or pad more."
            )
            raise ValueError(msg)
        out: NDArray[np.uint8] = np.empty((*images.shape[:2], self.side, self.side), np.uint8)
        for image, seed, changed in zip(padded, seeds, out, strict=True):
            random = np.random.default_rng(seed)
            top, left = random.integers(0, height + 1), random.integers(0, width + 1)
            crop = image[:, top : top + self.side, left : left + self.side]
            mirrored = random.random() < 0.5 * self.flips
            changed[:] = self._coloured(crop[..., ::-1] if mirrored else crop, random)
        return out

    def _coloured(self, image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[Any]:  # noqa: ARG002
        return image


@dataclass(frozen=True)
class Krizhevsky(CropsAndFlips):
    """Crops, flips and colour PCA, for :class:`CropsAndFlips` with the colours moved as well.

    The colour of an image moves along the principal axes of the pixels of the training set, by
    normal amounts of standard deviation 0.1 times the eigenvalue, for pixels in 0..1.

    Parameters
    ----------
    side, padding, flips
        As in :class:`CropsAndFlips`.
    covariance
        (C, C), of the channels, for pixels in 0..255; :meth:`fitted` sets it.

    References
    ----------
    Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
    networks", 2012, section 4.1.
    """

    covariance: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)

    def fitted(self, pixels: NDArray[np.uint8], rows: NDArray[np.intp]) -> Self:
        return replace(self, covariance=channel_moments(pixels, rows)[1])

    def _coloured(self, image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[Any]:
        if self.covariance is None:
            raise ValueError("colour shifts need the colours of the training set; call fitted.")
        # U diag(lambda) z and the covariance U diag(lambda) U' times z have one distribution
        shift = 0.1 / 255 * self.covariance @ random.standard_normal(len(image))
        return np.clip(np.rint(image + shift[:, None, None]), 0, 255)
