"""An ``.npy`` file of features that grows row by row, and goes on after a kill.

The rows lie in ``<name>.partial``, which has the size of the whole from the start; how far it got
is in ``<name>.partial.json``, rewritten once the rows that it speaks of are on the disk. Nothing is
held in memory, and nothing is mapped: a full disk is an error here, not a signal.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxmtl.io.atomic import atomic_path, write_json, write_text
from proxmtl.io.errors import InputError
from proxmtl.io.features import ids_beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["FeatureFile", "Progress"]

FORMAT = "proxmtl features 1"
RECORD_EVERY = 256
"""Images after which the progress is recorded: what a kill costs at most, and one flush."""
CHUNK = 1 << 24
"""Bytes copied at a time where rows of skipped images are taken out."""


@dataclass
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

    @property
    def rows(self) -> int:
        """Rows written."""
        return self.done - len(self.bad)


class FeatureFile:
    """Rows of features on their way into an ``.npy`` file.

    Parameters
    ----------
    out
        The file; it appears when it is complete.
    shape
        (N, D), or (M, N, D) for M networks; N is the number of images.
    identity
        What is being computed.
    fresh
        Start over where the part that is there can't be gone on with, instead of refusing it.

    Raises
    ------
    InputError
        If a part of another computation is there, or it is damaged, or the disk is too small.
    """

    def __init__(
        self, out: Path, shape: tuple[int, ...], identity: dict[str, str], *, fresh: bool = False
    ) -> None:
        self.out, self.shape = out, shape
        self.partial = out.with_name(f"{out.name}.partial")
        self.record_path = out.with_name(f"{out.name}.partial.json")
        self.identity = identity
        self._offset = len(_header(shape))
        self.size = self._offset + 4 * int(np.prod(shape))
        self._clear()
        try:
            found = self._found(identity)
        except InputError:
            if not fresh:
                raise
            found = None
        if found is None:
            self.start_over()
        else:
            self.progress, self._recorded = found, found.done

    def start_over(self) -> None:
        """Drop what is there."""
        self.progress, self._recorded = Progress(self.identity), 0
        self._allocate()

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
        progress = self.progress
        with self.partial.open("r+b") as stream:
            for block, rows in enumerate(features if features.ndim == 3 else features[None]):
                stream.seek(self._position(block, progress.rows))
                stream.write(np.ascontiguousarray(rows, dtype="<f4").data)
        progress.done += images
        progress.seen = seen
        progress.bad.extend(bad)
        if progress.done - self._recorded >= RECORD_EVERY:
            self.record()

    def record(self) -> None:
        """Note on the disk how far it got, after what it got."""
        if self.progress.done == self._recorded:
            return
        with self.partial.open("r+b") as stream:
            os.fsync(stream.fileno())
        write_json(self.record_path, {"format": FORMAT, **asdict(self.progress)})
        self._recorded = self.progress.done

    def finish(self, ids: Sequence[str] | None = None) -> None:
        """Move the rows, and a file of their identifiers, into place.

        Raises
        ------
        ValueError
            If images are left to do, or all were skipped.
        """
        progress, n = self.progress, self.shape[-2]
        if progress.done != n or progress.rows == 0:
            raise ValueError(f"{progress.done} of {n} images done, {len(progress.bad)} skipped.")
        self.record()
        if progress.rows < n:  # the blocks move together: in a copy, as a kill may come any time
            with atomic_path(self.out) as temporary:
                self._copy_rows(temporary)
                self._identify(ids)
        else:
            self._identify(ids)
            self.partial.replace(self.out)
        self.partial.unlink(missing_ok=True)
        self.record_path.unlink(missing_ok=True)
        self._clear()

    def _clear(self) -> None:
        """Remove what was left by a process that was killed while it replaced a file."""
        for name in (self.out.name, ids_beside(self.out).name):
            for leftover in self.out.parent.glob(f".{glob.escape(name)}.*"):
                leftover.unlink(missing_ok=True)

    def _identify(self, ids: Sequence[str] | None) -> None:
        # features of another run must not stand beside these identifiers, not even for a moment
        self.out.unlink(missing_ok=True)
        beside = ids_beside(self.out)
        beside.unlink(missing_ok=True)
        if ids is not None:
            skipped = {number for number, _ in self.progress.bad}
            text = io.StringIO()
            lines = csv.writer(text, lineterminator="\n")
            lines.writerow(["id"])
            lines.writerows([name] for i, name in enumerate(ids) if i not in skipped)
            write_text(beside, text.getvalue())

    def _position(self, block: int, row: int) -> int:
        return self._offset + 4 * (block * self.shape[-2] + row) * self.shape[-1]

    def _allocate(self) -> None:
        self.record_path.unlink(missing_ok=True)
        self.partial.unlink(missing_ok=True)
        free = shutil.disk_usage(self.out.parent).free
        if free < self.size:
            raise InputError(
                self.out,
                f"features of {self.shape[-2]} images take {self.size / 1e9:.3g} GB, and its disk "
                f"has {free / 1e9:.3g} GB left; make room, or choose another disk.",
            )
        with self.partial.open("wb") as stream:
            stream.write(_header(self.shape))
            stream.truncate(self.size)

    def _found(self, identity: dict[str, str]) -> Progress | None:
        if not (self.partial.is_file() and self.record_path.is_file()):
            return None
        again = "start over (--force, in Python fresh=True), or remove it."
        try:
            record: dict[str, Any] = json.loads(self.record_path.read_text(encoding="utf-8"))
            written = record.pop("format")
            progress = Progress(**record)
            progress.bad = [(int(number), str(reason)) for number, reason in progress.bad]
            whole = 0 <= progress.rows <= progress.done <= self.shape[-2]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(self.record_path, f"can't be read ({error!r}); {again}") from error
        differ = [name for name, part in identity.items() if progress.identity.get(name) != part]
        if differ or written != FORMAT:
            raise InputError(
                self.partial,
                f"holds a part of other features: {', '.join(differ) or 'the format'} differ. "
                f"Ask for the same to go on with it, {again}",
            )
        if not whole or self.partial.stat().st_size != self.size:
            raise InputError(self.partial, f"is damaged; {again}")
        return progress

    def _copy_rows(self, path: Path) -> None:
        """Write the rows to another file, without the room that skipped images left."""
        rows = self.progress.rows
        with self.partial.open("rb") as source, path.open("wb") as target:
            target.write(_header((*self.shape[:-2], rows, self.shape[-1])))
            for block in range(int(np.prod(self.shape[:-2]))):
                source.seek(self._position(block, 0))
                left = 4 * rows * self.shape[-1]
                while left and (part := source.read(min(CHUNK, left))):
                    target.write(part)
                    left -= len(part)


def _header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    content = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, content)
    return stream.getvalue()
