"""Pixels of a table's images: decoded into memory, or into a file that later calls find again.

The file is sealed: a damaged one is made again. That takes one pass over it at each start, seconds
for gigabytes, where a training passes over it in every epoch.
"""

from __future__ import annotations

import hashlib
import logging
import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import PIL
from numpy.typing import NDArray

from proxmtl.backbones.ahead import ahead
from proxmtl.backbones.data.files import named_paths
from proxmtl.backbones.images import Fit, read_encoded, to_pixels
from proxmtl.io.atomic import atomic_path
from proxmtl.io.errors import InputError
from proxmtl.io.outputs import reserve
from proxmtl.io.seal import Entry, entry_of, read_sealed, write_sealed
from proxmtl.io.temporaries import remove_leftovers
from proxmtl.machine import check_memory
from proxmtl.sources import Source
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["PixelCache", "Pixels", "decode_images"]

FORMAT = "proxmtl pixels 1"
AGAIN = "the images are decoded again."
NOTHING: NDArray[np.uint8] = np.zeros((0, 3, 0, 0), np.uint8)
Put: TypeAlias = "Callable[[int, NDArray[np.uint8]], object]"
"""Takes an image with its row, in the order of the rows."""
logger = logging.getLogger(__name__)


class Pixels(NamedTuple):
    """Decoded images."""

    values: NDArray[np.uint8]
    """(N, 3, S, S), those that could be decoded."""
    rows: list[int]
    """Their numbers."""
    bad: list[str]
    """Why the others could not."""
    source: Source
    """The folder; its hash is that of the lines ``<sha256>  <name>`` of the files that were read,
    in their order."""


class PixelCache:
    """A file of decoded pixels, which is mapped, and notes that seal it.

    Parameters
    ----------
    folder
        Where it lies; made if it does not exist.
    images, names
        Folder of the images, and their names in it. The file is found again for the same names,
        sizes and times of files, and the same version of Pillow.
    size, fit
        As for :func:`to_pixels`.
    """

    def __init__(
        self, folder: Path, images: Path, names: Sequence[str], size: int, fit: Fit
    ) -> None:
        # by whole paths: sets of images have files of one name, size and time in several folders
        form = f"{size} {fit} Pillow {PIL.__version__} {images.resolve()}"
        digest = hashlib.sha256(form.encode(errors="surrogateescape"))
        for name, path in zip(names, named_paths(images, names), strict=True):
            stat = path.stat() if path.is_file() else None
            seen = None if stat is None else (stat.st_size, stat.st_mtime_ns)
            digest.update(f"\n{name} {seen}".encode(errors="surrogateescape"))
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"pixels-{digest.hexdigest()[:16]}.npy"
        self.notes = self.path.with_suffix(".json")

    def read(self) -> Pixels | None:
        """What the file holds; None if it isn't there, or is damaged."""
        # the notes are written last, so with them the pixels are whole
        if not (self.path.is_file() and self.notes.is_file()):
            return None
        try:
            notes = read_sealed(self.notes, AGAIN)
        except InputError as error:
            logger.warning("%s", error)
            return None
        if notes.get("format") == FORMAT and Entry(**notes["file"]) == entry_of(self.path):
            return self._mapped(notes)
        logger.warning(
            "%s: is not the file that %s was written for; %s", self.path, self.notes.name, AGAIN
        )
        return None

    def write(self, shape: tuple[int, ...], fill: Callable[[Put], Pixels]) -> Pixels:
        """Write images of a shape as they are decoded; seal them, and map them."""
        remove_leftovers(self.path.parent)
        self.notes.unlink(missing_ok=True)
        with atomic_path(self.path) as temporary, temporary.open("r+b") as stream:
            # written, not mapped: a full disk is then an error, not a signal
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.flush()
            reserve(stream.fileno(), stream.tell() + math.prod(shape), self.path)
            filled = fill(lambda _, image: stream.write(np.ascontiguousarray(image).data))
            stream.flush()
            entry = entry_of(temporary)
        notes = {
            "format": FORMAT,
            "file": entry._asdict(),
            "rows": filled.rows,
            "bad": filled.bad,
            "source": filled.source._asdict(),
        }
        write_sealed(self.notes, notes)
        return self._mapped(notes)

    def _mapped(self, notes: dict[str, Any]) -> Pixels:
        rows = notes["rows"]
        values = np.load(self.path, mmap_mode="r")[: len(rows)]
        return Pixels(values, rows, notes["bad"], Source(**notes["source"]))


def decode_images(
    folder: Path,
    names: Sequence[str],
    size: int,
    fit: Fit,
    *,
    cache: PixelCache | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Pixels:
    """Decode images of a folder, into the cache where one is given.

    Parameters
    ----------
    folder, names
        N files; bad ones are left out, and reported.
    size, fit
        As for :func:`to_pixels`.
    cache
        Where to find them, or to keep them.
    workers
        Threads that decode; 0: none.
    progress
        Called with (done, N) after each.

    Raises
    ------
    MemoryError
        If there is no cache, and not enough memory.
    """
    found = None if cache is None else cache.read()
    if found is not None:
        return found
    shape = (len(names), 3, size, size)
    decoded = ahead(lambda path: _read(path, size, fit), named_paths(folder, names), workers)

    def fill(put: Put) -> Pixels:
        """Hand each image on with its row."""
        rows: list[int] = []
        bad: list[str] = []
        n_bytes, digest = 0, hashlib.sha256()
        for i, (name, found) in enumerate(zip(names, decoded, strict=True)):
            n_bytes += found.n_bytes
            if found.sha256:
                line = f"{found.sha256}  {name}\n"
                digest.update(line.encode(errors="surrogateescape"))
            if found.image is None:
                bad.append(found.trouble)
            else:
                put(len(rows), found.image)
                rows.append(i)
            if progress is not None:
                progress(i + 1, len(names))
        source = Source(str(folder), n_bytes, digest.hexdigest())
        return Pixels(NOTHING, rows, bad, source)

    if cache is not None:
        return cache.write(shape, fill)
    check_memory(
        math.prod(shape),
        f"{counted(len(names), 'image')} of {size} x {size} pixels",
        "keep them on the disk (--cache DIR, in Python cache=DIR), or make them smaller",
    )
    values: NDArray[np.uint8] = np.zeros(shape, np.uint8)
    filled = fill(values.__setitem__)
    return filled._replace(values=values[: len(filled.rows)])


class _Read(NamedTuple):
    """A file that was to be an image."""

    n_bytes: int = 0
    sha256: str = ""
    """Empty if it could not be read."""
    image: NDArray[np.uint8] | None = None
    trouble: str = ""


def _read(path: Path, size: int, fit: Fit) -> _Read:
    found = _Read()
    try:
        content = read_encoded(path)
        found = _Read(len(content), hashlib.sha256(content).hexdigest())
        return found._replace(image=to_pixels(content, size, fit, str(path)))
    except (FileNotFoundError, ValueError) as error:
        # without the advice, which is given once for all of them
        return found._replace(trouble=str(error).rsplit("; ", 1)[0].rstrip("."))
