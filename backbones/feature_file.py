"""An ``.npy`` file of features that grows row by row, and goes on after a kill.

The rows lie in ``<name>.partial``, which has the size of the whole from the start; how far it got
is in ``<name>.partial.json``, rewritten once the rows that it speaks of are on the disk, with their
SHA-256: rows that have changed since raise. Nothing is held in memory, and nothing is mapped: a
full disk is an error here, not a signal. One process at a time: ``<name>.partial.lock`` is held
from the start to the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from proxmtl.backbones.partial_files import PartialFiles
from proxmtl.io.beside import check_new, features_seal, seal_beside
from proxmtl.io.errors import InputError, naming
from proxmtl.io.features import ids_sidecar
from proxmtl.io.outputs import reserve
from proxmtl.io.seal import read_sealed, sealed_text
from proxmtl.text_tables import table_line
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["FeatureFile", "Progress"]

FORMAT = "proxmtl features 2"
RECORD_EVERY = 256
"""Images after which the progress is recorded: what a kill costs at most, and one flush."""
CHUNK = 1 << 24
"""Bytes copied at a time where rows of skipped images are taken out."""
HEADER = 128
"""Bytes before the rows, whatever the shape: a smaller one is written over a larger one."""


@dataclass(frozen=True)
class Progress:
    """How far a file got."""

    identity: dict[str, str]
    """What is being computed, by part: to go on, all parts must agree."""
    done: int = 0
    """Images looked at."""
    seen: str = ""
    """Digest of these images, one by one: whether they still are the same."""
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Those that were skipped, each with the reason."""
    sha256: list[str] = field(default_factory=list)
    """Of the rows written, of each network by itself."""

    @property
    def rows(self) -> int:
        """Rows written."""
        return self.done - len(self.bad)


class FeatureFile:
    """Rows of features on their way into an ``.npy`` file; a context, which holds a lock.

    Parameters
    ----------
    out
        The file; it appears when it is complete.
    shape
        (N, D), or (M, N, D) for M networks; N is the number of images.
    identity
        What is being computed.
    ids
        Names of the N images, written beside the file; None: there are none.
    fresh
        Replace a file that is there, and start over where the part that is there can't be gone on
        with, instead of raising.
    may_skip
        Whether images may be skipped: M blocks of rows are then copied at the end, which needs room
        on the disk for both.

    Raises
    ------
    InputError
        If another process writes this file, the file is there, or names beside it that are not
        those of an extraction to it; if a part of another computation is there, or it is damaged,
        or the disk is too small.
    """

    def __init__(
        self,
        out: Path,
        shape: tuple[int, ...],
        identity: dict[str, str],
        *,
        ids: Sequence[str] | None = None,
        fresh: bool = False,
        may_skip: bool = False,
    ) -> None:
        self.out, self.shape, self.identity = out, shape, identity
        self.ids, self._fresh = ids, fresh
        self._files = files = PartialFiles(out)
        self.partial, self.record_path = files.rows, files.record
        self._room = _size(shape) * (2 if may_skip and len(shape) == 3 else 1)
        self._digests: list[hashlib._Hash] = []  # of the rows of each block so far
        self._lock = files.lock()
        try:
            with naming(self.partial):
                self._begin()
        except BaseException:
            self._lock.release()
            raise

    def _begin(self) -> None:
        self._files.remove_leftovers()
        try:
            found = self._found()
        except InputError:
            if not self._fresh:
                raise
            found = None
        self.progress = found or Progress(self.identity)
        self._recorded = self.progress.done
        if not self._fresh:
            check_new(self.out, self._names())
        if found is None:
            self._allocate()
        self._open()

    def __enter__(self) -> Self:
        """Return the file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep what there is, say so where the block ended early, and let go of the lock."""
        # one without a number may be about an image, and the name would hide its message
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(self.partial)
        with naming(self.partial), contextlib.ExitStack() as last:
            last.callback(self._lock.release)
            last.callback(self._keep, error)
            last.callback(self._stream.close)  # which writes what is left, and may fail again
            self.record()

    def _keep(self, error: BaseException | None) -> None:
        """Keep features that are worth it, and say so in an error that is not about an image."""
        of_files = isinstance(error, ValueError | FileNotFoundError)
        if not self.progress.done:
            self.partial.unlink(missing_ok=True)
        elif error is not None and not of_files and self.partial.exists():
            error.add_note(
                f"Features of {counted(self._recorded, 'image')} are kept in {self.partial}; "
                "the same command goes on from there."
            )

    def start_over(self) -> None:
        """Drop what is there."""
        self._stream.close()
        self.progress, self._recorded = Progress(self.identity), 0
        self._allocate()
        self._open()

    def _open(self) -> None:
        # by one descriptor, whatever may happen to the name meanwhile
        self._stream = self.partial.open("r+b")
        with naming(self.partial):
            self._stream.write(_header(self.shape))  # a damaged one is mended
            self._stream.flush()

    def append(
        self,
        features: NDArray[np.float32],
        *,
        images: int,
        seen: str,
        bad: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Write rows (B, D) or (M, B, D) of the next images.

        Parameters
        ----------
        features
            Of those that could be decoded.
        images
            Number of images looked at.
        seen
            Digest up to the last of them.
        bad
            Those among them that are skipped.
        """
        progress, digests = self.progress, [digest.copy() for digest in self._digests]
        for block, rows in enumerate(features if features.ndim == 3 else features[None]):
            data = np.ascontiguousarray(rows, dtype="<f4").data
            self._stream.seek(self._position(block, progress.rows))
            self._stream.write(data)
            digests[block].update(data)
        # one assignment: an interruption comes before or after all of it
        self.progress = Progress(
            progress.identity,
            progress.done + images,
            seen,
            [*progress.bad, *bad] if bad else progress.bad,
            [digest.hexdigest() for digest in digests],
        )
        self._digests = digests
        if self.progress.done - self._recorded >= RECORD_EVERY:
            self.record()

    def record(self) -> None:
        """Note on the disk how far it got, after what it got."""
        progress = self.progress
        if progress.done == self._recorded:
            return
        self._flush()
        text = sealed_text({"format": FORMAT, **asdict(progress)})
        self._replace(self.record_path, text)
        self._recorded = progress.done

    def finish(self) -> None:
        """Move the rows, and a file of their identifiers, into place.

        Raises
        ------
        ValueError
            If images are left to do, or all were skipped.
        InputError
            If what would be replaced has appeared meanwhile.
        """
        progress, n = self.progress, self.shape[-2]
        if progress.done != n or progress.rows == 0:
            raise ValueError(f"{progress.done} of {n} images done, {len(progress.bad)} skipped.")
        self.record()
        if not self._fresh:
            check_new(self.out, self._names())
        shape = self._shape(progress)
        if progress.rows < n:
            if len(shape) == 3 and not self._is_cut(progress):  # the blocks move together
                self._copy_rows(self._files.copy, shape)
                self._stream.close()
                self._files.copy.replace(self.partial)
                self._stream = self.partial.open("r+b")
            self._stream.truncate(_size(shape))
            self._stream.seek(0)
            self._stream.write(_header(shape))
            self._flush()
        self._identify()
        self._stream.close()
        self._replace(seal_beside(self.out), features_seal(self.out, self.partial))
        self.partial.replace(self.out)
        self.record_path.unlink(missing_ok=True)

    def _flush(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _replace(self, path: Path, text: str) -> None:
        """Write a file whole or not at all; the lock makes one name for all of them enough."""
        with naming(path), self._files.new.open("w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        self._files.new.replace(path)

    def _identify(self) -> None:
        # features of another run must not stand beside these identifiers, not even for a moment
        beside, seal = ids_sidecar(self.out), seal_beside(self.out)
        for path in (self.out, beside, seal):  # the seal last: it says whose names these are
            path.unlink(missing_ok=True)
        names = self._names()
        if names is not None:
            self._replace(beside, names)

    def _names(self) -> str | None:
        """Text of the names of the rows so far, and of those to come."""
        if self.ids is None:
            return None
        skipped = {number for number, _ in self.progress.bad}
        kept = [name for i, name in enumerate(self.ids) if i not in skipped]
        return "".join(table_line([name]) for name in ("id", *kept))

    def _position(self, block: int, row: int, n_rows: int | None = None) -> int:
        """Where a row is, in blocks of some rows; default: of all images."""
        return HEADER + 4 * (block * (n_rows or self.shape[-2]) + row) * self.shape[-1]

    def _shape(self, progress: Progress) -> tuple[int, ...]:
        """Of the rows without the room of skipped images."""
        return (*self.shape[:-2], progress.rows, self.shape[-1])

    def _is_cut(self, progress: Progress) -> bool:
        """Whether the room of skipped images is cut off: a process was killed after that."""
        whole = progress.done == self.shape[-2]
        return whole and self.partial.stat().st_size == _size(self._shape(progress))

    def _allocate(self) -> None:
        self.record_path.unlink(missing_ok=True)
        self.partial.unlink(missing_ok=True)
        free = shutil.disk_usage(self.out.parent).free
        if free < self._room:
            raise InputError(
                self.out,
                f"features of {counted(self.shape[-2], 'image')} take {self._room / 1e9:.3g} GB, "
                f"and its disk has {free / 1e9:.3g} GB left; make room, or choose another disk.",
            )
        with naming(self.partial), self.partial.open("wb") as stream:
            try:
                stream.write(_header(self.shape))
                stream.flush()
                reserve(stream.fileno(), _size(self.shape), self.out)
            except BaseException:
                self.partial.unlink()
                raise
        self._digests = [hashlib.sha256() for _ in range(math.prod(self.shape[:-2]))]

    def _found(self) -> Progress | None:
        if not (self.partial.is_file() and self.record_path.is_file()):
            return None
        again = "start over (--force, in Python fresh=True), or remove it."
        try:
            record = read_sealed(self.record_path, again)
            written = record.pop("format")
            bad = [(int(number), str(reason)) for number, reason in record.pop("bad")]
            progress = Progress(**record, bad=bad)
            whole = 0 <= progress.rows <= progress.done <= self.shape[-2]
        except InputError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(self.record_path, f"can't be read ({error!r}); {again}") from error
        differ = [
            name for name, part in self.identity.items() if progress.identity.get(name) != part
        ]
        if differ or written != FORMAT:
            raise InputError(
                self.partial,
                f"holds a part of other features: {', '.join(differ) or 'the format'} differ. "
                f"Ask for the same to go on with it, {again}",
            )
        cut = whole and self._is_cut(progress)
        if not (cut or (whole and self.partial.stat().st_size == _size(self.shape))):
            raise InputError(self.partial, f"is damaged; {again}")
        self._digests = self._read_digests(progress.rows, progress.rows if cut else None)
        if [digest.hexdigest() for digest in self._digests] != progress.sha256:
            raise InputError(
                self.partial, f"its rows aren't those written (SHA-256 differs); {again}"
            )
        return progress

    def _read_digests(self, n_rows: int, block_rows: int | None) -> list[hashlib._Hash]:
        """SHA-256 of the first rows of each block: some seconds for features of an hour."""
        digests = []
        with self.partial.open("rb") as stream:
            for block in range(math.prod(self.shape[:-2])):
                digest, left = hashlib.sha256(), 4 * n_rows * self.shape[-1]
                stream.seek(self._position(block, 0, block_rows))
                while left and (part := stream.read(min(CHUNK, left))):
                    digest.update(part)
                    left -= len(part)
                digests.append(digest)
        return digests

    def _copy_rows(self, path: Path, shape: tuple[int, ...]) -> None:
        """Write the rows to another file, without the room that skipped images left."""
        self._stream.flush()
        with naming(path), path.open("wb") as target:
            target.write(_header(shape))
            for block in range(shape[0]):
                self._stream.seek(self._position(block, 0))
                left = 4 * shape[1] * shape[2]
                while left and (part := self._stream.read(min(CHUNK, left))):
                    target.write(part)
                    left -= len(part)
            target.flush()
            os.fsync(target.fileno())


def _size(shape: tuple[int, ...]) -> int:
    return HEADER + 4 * math.prod(shape)


def _header(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
    return np.lib.format.magic(1, 0) + struct.pack("<H", HEADER - 10) + f"{text:<117}\n".encode()
