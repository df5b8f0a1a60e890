"""Features on their way into an ``.npy`` file: parts in a folder, from which a killed run goes on.

The parts of ``<name>`` lie in ``<name>.partial``, each with a sealed record that has its SHA-256
and says how far the extraction had come. When all are there, the whole file, the names of its rows
and their seal are made ready in that folder, the seal last; once it is there, the three are put
into place, by this process or by the next. A lock keeps other processes away.
"""

from __future__ import annotations

import contextlib
import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self

import numpy as np

from proxmtl.io.atomic import atomic_path, write_text
from proxmtl.io.beside import check_new, features_seal, ids_sidecar, seal_beside
from proxmtl.io.errors import InputError
from proxmtl.io.lock import FileLock
from proxmtl.io.outputs import reserve
from proxmtl.io.seal import Entry, entry_of, read_sealed, write_sealed
from proxmtl.io.temporaries import is_ours, remove_leftovers
from proxmtl.text_tables import table_line
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["FeatureFile", "Progress", "clear_up"]

FORMAT = "proxmtl features 3"
PART_IMAGES = 256
"""Images of a part, as a rule: what a kill costs at most."""
PART_BYTES = 1 << 23
"""Bytes of features that are held in memory, but for those of one batch."""
PLAN, WHOLE, NAMES, SEAL = "plan.json", "features.npy", "ids.csv", "seal.json"
_OWN = re.compile(r"\d{5,}\.(npy|json)|plan\.json|features\.npy|ids\.csv|seal\.json")
AGAIN = "start over (--force, in Python fresh=True), or remove it."


@dataclass(frozen=True)
class Progress:
    """How far an extraction has come."""

    done: int = 0
    """Images looked at."""
    seen: str = ""
    """Digest of these images, one by one: whether they still are the same."""
    bad: tuple[tuple[int, str], ...] = ()
    """Those that were skipped, each with the reason."""

    @property
    def rows(self) -> int:
        """Rows of features."""
        return self.done - len(self.bad)


class _State(NamedTuple):
    """One value, which an interruption finds before or after a change, never in the middle."""

    progress: Progress = Progress()
    held: tuple[NDArray[np.float32], ...] = ()
    """Features that are in no part yet."""
    recorded: Progress = Progress()
    """Up to the last part."""
    n_parts: int = 0


class FeatureFile:
    """Rows of features on their way into an ``.npy`` file; a context, which holds a lock.

    Parameters
    ----------
    out
        The file; it appears when it is complete.
    shape
        (N, D), or (M, N, D) for M networks; N is the number of images.
    identity
        What is being computed, by part: to go on, all parts must agree.
    ids
        Names of the N images, written beside the file; None: there are none.
    fresh
        Replace a file that is there, and start over where the parts that are there can't be gone on
        with, instead of raising.

    Raises
    ------
    InputError
        If another process writes this file, the file is there, or names beside it that are not
        those of an extraction to it; if parts of another computation are there, or one is damaged,
        or the disk is too small for the parts and the file.
    """

    def __init__(
        self,
        out: Path,
        shape: tuple[int, ...],
        identity: dict[str, str],
        *,
        ids: Sequence[str] | None = None,
        fresh: bool = False,
    ) -> None:
        self.out, self.shape, self.identity = out, shape, identity
        self.ids, self._fresh, self.folder = ids, fresh, _folder(out)
        self._state = _State()
        self._lock = _lock(out)
        try:
            self._begin()
        except BaseException:
            self._lock.release()
            raise

    def _begin(self) -> None:
        remove_leftovers(self.out.parent)
        _remove_rest(self.folder)
        try:
            found = self._found()
        except InputError:
            if not self._fresh:
                raise
            found = None
        if found is not None:
            self._state = found
        if not self._fresh:
            check_new(self.out, self._names())
        if found is None:
            self.start_over()

    @property
    def progress(self) -> Progress:
        """How far it has come, with what is still held in memory."""
        return self._state.progress

    def __enter__(self) -> Self:
        """Return the file."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Keep what there is, say so where the block ended early, and let go of the lock."""
        # one without a number may be about an image, and the name would hide its message
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(self.folder)
        with contextlib.ExitStack() as last:
            last.callback(self._lock.release)
            last.callback(self._keep, error)
            self.record()

    def _keep(self, error: BaseException | None) -> None:
        """Keep features that are worth it, and say so in an error that is not about an image."""
        of_files = isinstance(error, ValueError | FileNotFoundError)
        if not self._state.recorded.done:
            _remove(self.folder)
        elif error is not None and not of_files and not _is_needless(self.folder):
            error.add_note(
                f"Features of {counted(self._state.recorded.done, 'image')} are kept in "
                f"{self.folder}; the same command goes on from there."
            )

    def start_over(self) -> None:
        """Drop what is there, and begin."""
        size = 4 * math.prod(self.shape)
        free = shutil.disk_usage(self.out.parent).free
        if free < 2 * size:
            raise InputError(
                self.out,
                f"features of {counted(self.shape[-2], 'image')}, in parts and as a whole, take "
                f"{2 * size / 1e9:.3g} GB, and its disk has {free / 1e9:.3g} GB left; make room, "
                "or choose another disk.",
            )
        _remove(self.folder)
        self.folder.mkdir()
        self._state = _State()
        write_sealed(self.folder / PLAN, {"format": FORMAT, "identity": self.identity})

    def append(
        self,
        features: NDArray[np.float32],
        *,
        images: int,
        seen: str,
        bad: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Take rows (B, D) or (M, B, D) of the next images.

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
        progress, held, recorded, n_parts = self._state
        now = Progress(progress.done + images, seen, (*progress.bad, *bad))
        self._state = _State(now, (*held, np.asarray(features, "<f4")), recorded, n_parts)
        n_bytes = sum(part.nbytes for part in self._state.held)
        if now.done - recorded.done >= PART_IMAGES or n_bytes >= PART_BYTES:
            self.record()

    def record(self) -> None:
        """Write what is held as a part, and then its record."""
        progress, held, recorded, n_parts = self._state
        if progress.done == recorded.done:
            return
        path = self._part(n_parts)
        rows = np.concatenate(held, axis=-2)
        with atomic_path(path) as temporary:
            with temporary.open("wb") as stream:
                _write_header(stream, rows.shape)
                stream.write(rows.data)  # NumPy's own writing may be cut short without an error
            entry = entry_of(temporary)
        new = progress.bad[len(recorded.bad) :]
        document = {"done": progress.done, "seen": progress.seen, "bad": new}
        write_sealed(path.with_suffix(".json"), {**document, "file": entry._asdict()})
        self._state = _State(progress, (), progress, n_parts + 1)

    def finish(self) -> None:
        """Make the whole file, and put it and the names of its rows into place.

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
        if not (self.folder / SEAL).exists():
            names = self._names()
            self._join((*self.shape[:-2], progress.rows, self.shape[-1]))
            if names is not None:
                write_text(self.folder / NAMES, names)
            whole, of_names = self.folder / WHOLE, self.folder / NAMES
            write_text(self.folder / SEAL, features_seal(self.out, whole, of_names))
        self._install()

    def _join(self, shape: tuple[int, ...]) -> None:
        """Write the rows of all parts into one file, in blocks of (M, N, D)."""
        with atomic_path(self.folder / WHOLE) as temporary, temporary.open("r+b") as stream:
            _write_header(stream, shape)
            stream.flush()
            begin, size = stream.tell(), 4 * shape[-1]
            reserve(stream.fileno(), begin + 4 * math.prod(shape), self.out)
            row = 0
            for number in range(self._state.n_parts):
                part = np.load(self._part(number))
                for block, rows in enumerate(part if part.ndim == 3 else part[None]):
                    stream.seek(begin + size * (block * shape[-2] + row))
                    stream.write(rows.data)
                row += part.shape[-2]

    def _install(self) -> None:
        """Put what is ready into place; done again after an interruption, it ends the same."""
        beside, seal, names = ids_sidecar(self.out), seal_beside(self.out), self.folder / NAMES
        # features of another run must not stand beside these identifiers, not even for a moment
        for path in (self.out, beside, seal):  # the seal last: it says whose names these are
            path.unlink(missing_ok=True)
        if names.exists():
            write_text(beside, names.read_bytes().decode())
        write_text(seal, (self.folder / SEAL).read_text())
        (self.folder / WHOLE).replace(self.out)
        _remove_rest(self.folder)

    def _names(self) -> str | None:
        """Text of the names of the rows so far, and of those to come."""
        if self.ids is None:
            return None
        skipped = {number for number, _ in self.progress.bad}
        kept = [name for i, name in enumerate(self.ids) if i not in skipped]
        return "".join(table_line([name]) for name in ("id", *kept))

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:05}.npy"

    def _found(self) -> _State | None:
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(self.folder, f"is of another version of proxmtl; {AGAIN}")
        if not (self.folder / PLAN).exists():
            return None
        with _reading(self.folder / PLAN):
            plan = read_sealed(self.folder / PLAN, AGAIN)
            written, identity = plan["format"], dict(plan["identity"])
        differ = [name for name, part in self.identity.items() if identity.get(name) != part]
        if differ or written != FORMAT:
            raise InputError(
                self.folder,
                f"holds a part of other features: {', '.join(differ) or 'the format'} differ. "
                f"Ask for the same to go on with it, {AGAIN}",
            )
        progress, number = Progress(), 0
        while (record := self._part(number).with_suffix(".json")).exists():
            with _reading(record):
                progress = self._checked(read_sealed(record, AGAIN), self._part(number), progress)
            number += 1
        return _State(progress, (), progress, number)

    def _checked(self, record: dict[str, Any], part: Path, before: Progress) -> Progress:
        """Progress with a part, which must be as it was written."""
        new = tuple((int(number), str(reason)) for number, reason in record["bad"])
        progress = Progress(int(record["done"]), str(record["seen"]), (*before.bad, *new))
        if not before.done < progress.done <= self.shape[-2] or progress.rows < before.rows:
            raise ValueError("of other images")
        if not part.exists() or entry_of(part) != Entry(**record["file"]):
            raise InputError(part, f"is damaged: its rows aren't those written; {AGAIN}")
        return progress


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def clear_up(out: Path) -> None:
    """Remove what a process left that was killed when its features were in place.

    Raises
    ------
    InputError
        If another process is at work on them.
    """
    lock_file, folder = _lock_file(out), _folder(out)
    if out.exists() and (lock_file.exists() or folder.exists()):
        lock = _lock(out)
        try:
            _remove_rest(folder)
        finally:
            lock.release()


def _folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


def _lock_file(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial.lock")


def _lock(out: Path) -> FileLock:
    return FileLock(
        _lock_file(out),
        f"another process is writing {out.name}; wait for it, or choose another file.",
    )


def _is_needless(folder: Path) -> bool:
    """Whether the features are in place, or the folder was just being made or removed."""
    in_place = (folder / SEAL).exists() and not (folder / WHOLE).exists()
    return in_place or not (folder / PLAN).exists()


def _remove_rest(folder: Path) -> None:
    if folder.is_dir() and _is_needless(folder):
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder of parts, or the file that another version left; nothing else that is there.

    The plan goes first, without which nothing is gone on with, but the seal, which says that the
    features are in place, goes last.
    """
    if not folder.is_dir():
        for path in (folder, folder.with_name(f"{folder.name}.json")):
            path.unlink(missing_ok=True)
        return
    own = [path for path in folder.iterdir() if is_ours(path) or _OWN.fullmatch(path.name)]
    for path in sorted(own, key=lambda path: (path.name == SEAL, path.name != PLAN)):
        path.unlink(missing_ok=True)
    folder.rmdir()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what a document of another shape leads to into an error that names it."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(path, f"can't be read ({error!r}); {AGAIN}") from error
