"""Decoding of images batch by batch, with memory for a single batch."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from proxmtl.backbones.ahead import ahead
from proxmtl.backbones.archive import TarImages
from proxmtl.backbones.images import Fit, ImageLike, SizedImages, check_fit, to_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Decoded", "check_request", "decode", "undecodable"]

_Numbered: TypeAlias = "tuple[int, ImageLike, NDArray[np.uint8] | str | None]"
"""Number of an image, the image, and its pixels, or why there are none; None: not asked for."""


class Decoded(NamedTuple):
    """A batch of images."""

    images: list[ImageLike]
    """As they came, bad ones too."""
    rows: list[int]
    """Numbers of those that were decoded."""
    pixels: NDArray[np.uint8]
    """(B, 3, S, S), those that were decoded."""
    bad: list[tuple[int, str]]
    """Numbers of those that could not be, each with the reason."""


def decode(
    images: SizedImages,
    size: int,
    fit: Fit,
    batch_size: int,
    *,
    names: Sequence[str] | None = None,
    skip_corrupt: bool = False,
    start: int = 0,
    workers: int = 0,
    known: NDArray[np.bool_] | None = None,
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
    workers
        Threads that decode ahead; 0: none.
    known
        (N,): images that are not decoded, as what is made of them is there; None: all are.

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

    def one(numbered: tuple[int, ImageLike]) -> _Numbered:
        i, image = numbered
        if known is not None and known[i]:
            return i, image, None
        try:
            return i, image, to_pixels(image, size, fit, names[i] if names else f"image {i}")
        except (FileNotFoundError, ValueError) as error:
            if not skip_corrupt:
                raise
            return i, image, str(error)

    numbered = itertools.islice(enumerate(images), start, None)
    return _batches(ahead(one, numbered, workers), size, batch_size)


def undecodable(images: SizedImages, size: int, fit: Fit, **options: Any) -> Iterator[str | None]:
    """Decode images for nothing but why they can't be: None for each that can, else the reason.

    Takes ``names``, ``start`` and ``workers`` as :func:`decode` does.
    """
    for batch in decode(images, size, fit, 1, skip_corrupt=True, **options):
        yield batch.bad[0][1] if batch.bad else None


def check_request(images: SizedImages, size: int, fit: Fit, batch_size: int) -> None:
    """Check the arguments of :func:`decode` before any work.

    Raises
    ------
    ValueError
        If one is out of range.
    """
    if len(images) == 0 or batch_size < 1:
        msg = f"{len(images)} images in batches of {batch_size}: both must be at least 1."
        raise ValueError(msg)
    check_fit(size, fit)


def _batches(decoded: Iterator[_Numbered], size: int, batch_size: int) -> Iterator[Decoded]:
    while batch := list(itertools.islice(decoded, batch_size)):
        good = [(i, found) for i, _, found in batch if isinstance(found, np.ndarray)]
        bad = [(i, found) for i, _, found in batch if isinstance(found, str)]
        nothing = np.zeros((0, 3, size, size), np.uint8)
        pixels = np.stack([found for _, found in good]) if good else nothing
        yield Decoded([image for _, image, _ in batch], [i for i, _ in good], pixels, bad)
