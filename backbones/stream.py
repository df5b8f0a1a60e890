"""Images decoded batch by batch: memory for one batch, however many there are."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proxmtl.backbones.archive import TarImages
from proxmtl.backbones.images import Fit, ImageLike, SizedImages, check_fit, to_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Decoded", "check_request", "decode"]


class Decoded(NamedTuple):
    """A batch of images."""

    images: list[ImageLike]
    """As they came, bad ones too."""
    rows: list[int]
    """Numbers of those that could be decoded."""
    pixels: NDArray[np.uint8]
    """(B, 3, S, S), those that could be decoded."""
    bad: list[tuple[int, str]]
    """Numbers of the others, each with the reason."""


def decode(
    images: SizedImages,
    size: int,
    fit: Fit,
    batch_size: int,
    *,
    names: Sequence[str] | None = None,
    skip_corrupt: bool = False,
    start: int = 0,
) -> Iterator[Decoded]:
    """Decode images in batches.

    Parameters
    ----------
    images
        Paths, encoded bytes, Pillow images or uint8 arrays.
    size, fit
        As for :func:`to_pixels`.
    batch_size
        Images looked at for each batch.
    names
        How errors call images that aren't paths.
    skip_corrupt
        Report images that can't be decoded in ``bad``; without it the first ends the iteration.
    start
        Number of images to pass over.

    Raises
    ------
    ValueError
        If there is no image, an argument is out of range, or an image can't be decoded.
    FileNotFoundError
        If an image isn't there.
    """
    check_request(images, size, fit, batch_size)
    if isinstance(images, TarImages):
        names = [f"{images.path}: {name}" for name in images.names]
    numbered = itertools.islice(enumerate(images), start, None)
    return _batches(numbered, size, fit, batch_size, names=names, skip_corrupt=skip_corrupt)


def check_request(images: SizedImages, size: int, fit: Fit, batch_size: int) -> None:
    """Refuse arguments of :func:`decode` that are out of range, before any work.

    Raises
    ------
    ValueError
        With what was seen.
    """
    if len(images) == 0 or batch_size < 1:
        msg = f"{len(images)} images in batches of {batch_size}: both must be at least 1."
        raise ValueError(msg)
    check_fit(size, fit)


def _batches(
    numbered: Iterator[tuple[int, ImageLike]],
    size: int,
    fit: Fit,
    batch_size: int,
    *,
    names: Sequence[str] | None,
    skip_corrupt: bool,
) -> Iterator[Decoded]:
    while batch := list(itertools.islice(numbered, batch_size)):
        rows: list[int] = []
        pixels: list[NDArray[np.uint8]] = []
        bad: list[tuple[int, str]] = []
        for i, image in batch:
            try:
                pixels.append(to_pixels(image, size, fit, names[i] if names else f"image {i}"))
                rows.append(i)
            except (FileNotFoundError, ValueError) as error:
                if not skip_corrupt:
                    raise
                bad.append((i, str(error)))
        stacked = np.stack(pixels) if pixels else np.zeros((0, 3, size, size), np.uint8)
        yield Decoded([image for _, image in batch], rows, stacked, bad)
