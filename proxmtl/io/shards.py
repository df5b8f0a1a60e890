"""Rows of feature matrices that stay in their files: what a streamed design reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from proxmtl.io.array_files import npy_layout
from proxmtl.io.errors import InputError
from proxmtl.wording import counted

__all__ = ["NpyRows", "open_shards"]


class NpyRows:
    """Matrix (N, D) in an npy file, of which a slice of rows is read when it is asked for.

    Nothing is mapped: memory holds what was asked for alone, and a file that changed since it was
    opened raises.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    InputError
        If the file is not an npy file with a matrix of floating-point numbers, rows one after
        another.
    """

    ndim = 2

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with _opened(self.path) as stream:
            self._mark = _mark(stream)
            shape, self.dtype, self._offset = npy_layout(self.path, stream)
        if len(shape) != 2 or 0 in shape:
            raise InputError(
                self.path, f"holds shape {shape}; give a matrix (samples, features) with some."
            )
        if self.dtype.kind != "f":
            raise InputError(self.path, f"holds {self.dtype}; save floating-point numbers.")
        self.shape = (shape[0], shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, last, _ = rows.indices(len(self))
        found = np.empty((max(0, last - first), self.shape[1]), self.dtype)
        self.read_into(first, found)
        return found

    def read_into(self, first: int, out: NDArray[Any]) -> None:
        """Read consecutive rows into memory that is there.

        Parameters
        ----------
        first : int
            Number of the first row.
        out : ndarray, shape (n, D)
            Contiguous, of the type of the file.
        """
        with _opened(self.path) as stream:
            if _mark(stream) != self._mark:
                raise InputError(self.path, "has changed since it was opened; start again.")
            stream.seek(self._offset + first * self.shape[1] * self.dtype.itemsize)
            data, done = out.reshape(-1).view(np.uint8).data, 0
            while done < len(data):
                count = stream.readinto(data[done:])  # type: ignore[attr-defined]
                if not count:
                    last = first + len(out)
                    raise InputError(
                        self.path, f"ends before row {last}; it has changed while it was read."
                    )
                done += count


def _place(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Key of a name by which numbers in it are ordered as numbers."""
    parts = re.findall(r"\d+|\D+", path.stem)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file; a file that is not there or cannot be read raises by name, with advice."""
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(path, f"{reason}; are the shards still there?") from error


def _mark(stream: BinaryIO) -> tuple[int, int]:
    """Size and time of the last change."""
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns


def open_shards(source: str | Path | Iterable[str | Path]) -> list[NpyRows]:
    """Open the parts of a feature matrix, rows end to end, for :class:`proxmtl.StreamedDesign`.

    Parameters
    ----------
    source : path, or iterable of paths
        An npy file, npy files in their order, or a folder of which all npy files are taken in the
        order of their names, numbers in these by size: ``part-2.npy`` before ``part-10.npy``.

    Raises
    ------
    InputError
        If a file cannot be used, a folder has none, or the parts differ in their number of features
        or in their type.
    """
    if isinstance(source, (str, Path)):
        folder = Path(source)
        paths = sorted(folder.glob("*.npy"), key=_place) if folder.is_dir() else [folder]
        if not paths:
            raise InputError(folder, "holds no npy file; give the folder of the shards.")
    else:
        paths = [Path(path) for path in source]
    parts = [NpyRows(path) for path in paths]
    for part in parts[1:]:
        if part.shape[1] != parts[0].shape[1] or part.dtype != parts[0].dtype:
            raise InputError(
                part.path,
                f"has {counted(part.shape[1], 'feature')} in {part.dtype}, and "
                f"{parts[0].path.name} has {parts[0].shape[1]} in {parts[0].dtype}; "
                "shards have one width and one type.",
            )
    return parts
