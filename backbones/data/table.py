"""Tables of images with attributes, in memory or in a mapped file: the input of training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proxmtl.backbones.data.files import SKIPPING, check_there, listed, named_paths
from proxmtl.backbones.data.pixels import PixelCache, decode_images
from proxmtl.backbones.images import Fit, ImageLike, to_pixels
from proxmtl.io.errors import InputError
from proxmtl.io.labels import read_labels
from proxmtl.sources import note_source
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["ImageTable"]


@dataclass(frozen=True)
class ImageTable:
    """N images with M attributes.

    Attributes
    ----------
    pixels
        (N, C, H, W) uint8; an array, or a memory-mapped one.
    labels
        (N, M): 1 yes, 0 no, NaN missing.
    names
        Of the attributes.
    ids
        Of the images.
    skipped
        Images that were left out because they couldn't be decoded, each with the reason.

    Raises
    ------
    ValueError
        If shapes or types don't fit together.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.float64]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.pixels)
        right = self.pixels.ndim == 4 and self.pixels.dtype == np.uint8
        if not right or self.labels.shape != (n, len(self.names)) or len(self.ids) != n:
            msg = (
                f"pixels {self.pixels.shape} {self.pixels.dtype}, labels {self.labels.shape}, "
                f"{len(self.names)} names, {len(self.ids)} ids: give uint8 (N, C, H, W), (N, M), M "
                "and N."
            )
            raise ValueError(msg)
        odd = ~(np.isnan(self.labels) | np.isin(self.labels, (0.0, 1.0)))
        if odd.any():
            msg = f"labels: saw {self.labels[odd][0]:g}; use 1 yes, 0 no, NaN missing."
            raise ValueError(msg)

    @classmethod
    def read(
        cls,
        folder: str | Path,
        labels: str | Path,
        size: int = 256,
        *,
        fit: Fit = "stretch",
        skip_corrupt: bool = False,
        id_column: str | None = None,
        cache: str | Path | None = None,
        workers: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> ImageTable:
        """Read a folder of images and a CSV file of attributes.

        Parameters
        ----------
        folder
            Where the images are.
        labels
            As for ``proxmtl fit``, with a first column of file names, relative to the folder.
        size, fit
            Side of the square that images become, and how: see :func:`to_pixels`. The paper
            stretches to 256.
        skip_corrupt
            Leave out images that aren't there or can't be decoded, and say so in ``skipped``.
        id_column
            Header of the column of file names, where it isn't the first.
        cache
            Folder for a file with the decoded pixels, which is then mapped and not held in memory;
            a later call with the same files finds it there.
        workers
            Threads that decode images; 0: none. The table is the same.
        progress
            Called with (done, N) after each image.

        Raises
        ------
        InputError
            If the labels can't be read, don't name images, or an image is bad; all bad ones are
            counted, and the first are named.
        """
        folder, table = Path(folder), read_labels(labels, id_column=id_column)
        if not folder.is_dir():
            raise InputError(folder, "no such folder; give the folder of the images.")
        if table.ids is None:
            raise InputError(
                Path(labels),
                "has no column of file names; add one, called 'image', or name it by id_column.",
            )
        paths = named_paths(folder, table.ids)
        if not skip_corrupt:
            check_there(folder, folder, paths, table.ids)
        kept = None if cache is None else PixelCache(Path(cache), folder, table.ids, size, fit)
        decoded = decode_images(
            folder, table.ids, size, fit, cache=kept, workers=workers, progress=progress
        )
        pixels, rows, bad, source = decoded
        note_source(source)
        if bad and not skip_corrupt:
            raise InputError(
                folder,
                f"{len(bad)} of {counted(len(paths), 'image')} can't be used: {listed(bad)}. Get "
                f"them again, or {SKIPPING}.",
            )
        if not len(rows):
            check_there(folder, folder, paths, table.ids)
            raise InputError(
                folder, f"none of the {counted(len(paths), 'image')} can be used: {listed(bad)}."
            )
        ids = tuple(table.ids[i] for i in rows)
        return cls(pixels, table.values[rows], table.names, ids, tuple(bad))

    def with_attributes(self, names: Sequence[str]) -> ImageTable:
        """Return the same images with some of the attributes, in the order given.

        Raises
        ------
        ValueError
            If one of the names is none of the table's.
        """
        place = {name: column for column, name in enumerate(self.names)}
        unknown = [name for name in names if name not in place]
        if unknown:
            raise ValueError(f"names: {unknown[0]!r} is no attribute of this table; leave it out.")
        labels = self.labels[:, [place[name] for name in names]]
        return replace(self, labels=labels, names=tuple(names))

    @classmethod
    def from_images(
        cls,
        images: Iterable[ImageLike],
        labels: NDArray[np.float64],
        names: Sequence[str],
        size: int = 256,
        *,
        fit: Fit = "stretch",
        ids: Sequence[str] | None = None,
    ) -> ImageTable:
        """Decode images into memory, such as those of :class:`~.Clothing` or an archive.

        Parameters
        ----------
        images
            One for each row of the labels; read one at a time.
        labels, names
            As the attributes of the table.
        size, fit
            As for :meth:`read`.
        ids
            Of the images; default: their numbers.

        Raises
        ------
        ValueError
            If there are more or fewer images than rows of labels, or one can't be decoded.
        """
        labels = np.asarray(labels, np.float64)
        n, done = len(labels), 0
        if ids is not None and len(ids) != n:
            raise ValueError(f"{len(ids)} ids for {n} rows of labels; give one for each.")
        if labels.shape != (n, len(names)):
            msg = f"labels {labels.shape} for {len(names)} names: give (N, M) and M."
            raise ValueError(msg)
        # zeros come from the system page by page: memory is that of the pixels, once
        pixels = np.zeros((n, 3, size, size), np.uint8)
        for i, image in enumerate(images):
            if i < n:
                pixels[i] = to_pixels(image, size, fit, f"image {i}")
            done = i + 1
        if done != n:
            msg = f"{done} images for {n} rows of labels; give one for each."
            raise ValueError(msg)
        chosen = tuple(map(str, range(n))) if ids is None else tuple(ids)
        return cls(pixels, labels, tuple(names), chosen)
