"""Rows of feature matrices that stay in npy and safetensors files."""

from __future__ import annotations

import json
import mmap
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from proxmtl.io.array_files import npy_layout
from proxmtl.io.errors import InputError, first_line
from proxmtl.row_sources import FeatureRows, MappedRows

__all__ = [
    "FileRows",
    "Mark",
    "NpyRows",
    "check_mark",
    "mark_of",
    "npy_rows",
    "opened",
    "pick",
    "safetensors_rows",
]

Array = NDArray[Any]

SCALE, ZERO = "_scale", "_zero_point"
"""What follows the name of a tensor of codes in the names of its scales and of its zero points."""
FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2", "I8": "i1"}
"""Types of safetensors by the NumPy type in which their bytes are read."""
MAGNITUDE = 1 << 22
"""Most numbers that a tensor of scales may hold: a scale for each row of as many."""
PAGE = max(mmap.PAGESIZE, 4096)
"""Reads past the page cache begin and end at multiples of so many bytes."""
SCRATCH = (4 << 20) + 2 * PAGE
"""Bytes of such a read at most."""

_local = threading.local()


class Mark(NamedTuple):
    """Size of a file and time of its last change, in nanoseconds."""

    bytes: int
    changed: int


class FileRows(FeatureRows):
    """Matrix (N, D) in a file, rows one after another, of which slices are read.

    Nothing is mapped: memory holds what was asked for alone, and a file that changed since it was
    opened raises.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Of a matrix with rows and columns; others raise.
    dtype
        Of the bytes in the file.
    offset : int
        Bytes before the first row.
    mark : Mark
        Of the file when it was opened.
    passing : bool
        Whether the file is part of more than fits into memory, so that what is read again would
        have been dropped from the page cache by then. It is read past the cache (Linux, where the
        file system permits it), which saves the time that the system needs to find memory for it.

    Raises
    ------
    InputError
        If the shape is not that of a matrix with entries.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        offset: int,
        mark: Mark,
        *,
        passing: bool = False,
    ) -> None:
        if len(shape) != 2 or 0 in shape:
            raise InputError(
                path, f"holds shape {shape}; give a matrix (samples, features) with some."
            )
        self.path, self.mark, self.offset, self.passing = path, mark, offset, passing
        self.shape, self.dtype = (shape[0], shape[1]), dtype

    def place(self, row: int) -> str:
        return f"{self.path}, row {row}"

    def read_into(self, first: int, out: Array) -> None:
        begin = self.offset + first * self.shape[1] * self.dtype.itemsize
        data = out.reshape(-1).view(np.uint8)
        done = self._past_the_cache(begin, data) if self.passing and hasattr(os, "O_DIRECT") else 0
        if done == len(data):
            return
        with opened(self.path) as stream:
            check_mark(self.path, stream, self.mark)
            stream.seek(begin + done)
            while done < len(data):
                count = stream.readinto(data[done:].data)  # type: ignore[attr-defined]
                if not count:
                    last = first + len(out)
                    raise InputError(
                        self.path, f"ends before row {last}; it has changed while it was read."
                    )
                done += count
            if self.passing:
                _drop(stream, begin, done)

    def _past_the_cache(self, begin: int, data: NDArray[np.uint8]) -> int:
        """Read bytes from a place on past the page cache, and return how many could be read so."""
        done = 0
        # what a file system without such reads raises; what others raise, the usual read does, too
        with suppress(OSError), open(self.path, "rb", buffering=0, opener=_direct) as stream:
            check_mark(self.path, stream, self.mark)
            while done < len(data):
                place = begin + done
                start = place // PAGE * PAGE
                end = min(-(-(begin + len(data)) // PAGE) * PAGE, start + SCRATCH)
                scratch = _scratch(end - start)
                count = os.preadv(stream.fileno(), [scratch.data], start) - (place - start)
                if count <= 0:
                    break
                piece = data[done : done + count]
                np.copyto(piece, scratch[place - start :][: len(piece)])
                done += len(piece)
        return done


def _direct(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_DIRECT)


def _scratch(size: int) -> NDArray[np.uint8]:
    """Memory of the thread at hand that begins at a page, for reads past the page cache."""
    if getattr(_local, "scratch", None) is None or len(_local.scratch) < size:
        _local.scratch = np.frombuffer(mmap.mmap(-1, size), np.uint8)
    found: NDArray[np.uint8] = _local.scratch[:size]
    return found


def _drop(stream: BinaryIO, begin: int, size: int) -> None:
    """Tell the system not to keep a part of a file in memory: it need not find memory for more."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # of a file system that takes no advice
            os.posix_fadvise(stream.fileno(), begin, size, os.POSIX_FADV_DONTNEED)


class NpyRows(FileRows):
    """Matrix (N, D) in an npy file, of which a slice of rows is read when it is asked for.

    Nothing is mapped: memory holds what was asked for alone, and a file that changed since it was
    opened raises.

    Parameters
    ----------
    path : str or Path
    passing : bool
        As for :class:`FileRows`.

    Raises
    ------
    InputError
        If the file is not an npy file with a matrix of floating-point numbers, rows one after
        another.
    """

    def __init__(self, path: str | Path, *, passing: bool = False) -> None:
        path = Path(path)
        with opened(path) as stream:
            mark = mark_of(stream)
            shape, dtype, offset = npy_layout(path, stream)
        super().__init__(path, shape, dtype, offset, mark, passing=passing)
        if dtype.kind != "f":
            raise InputError(path, f"holds {dtype}; save floating-point numbers.")


def npy_rows(path: Path, *, passing: bool = False) -> tuple[FeatureRows, str]:
    """Rows of an npy file in the byte order of this machine, and their type in the file."""
    return _native(NpyRows(path, passing=passing))


def _native(rows: FileRows) -> tuple[FeatureRows, str]:
    if rows.dtype.isnative:
        return rows, str(rows.dtype)
    native = rows.dtype.newbyteorder("=")
    return MappedRows(rows, np.asarray, dtype=native), str(native)


def safetensors_rows(
    path: Path, key: str | None = None, *, passing: bool = False
) -> tuple[FeatureRows, str]:
    """Rows of a tensor (N, D) of a safetensors file, and their type in the file.

    bfloat16 is given as float32, exactly. int8 is given as float32 times the tensor of the same
    name followed by ``_scale``: of one number, of D (one a feature), or of shape (N, 1) (one a
    row).

    Parameters
    ----------
    path
        The file.
    key
        Name of the tensor; by default the only one, scales aside.
    passing
        As for :class:`FileRows`.

    Raises
    ------
    InputError
        If the file is damaged, has no such tensor, or one of another type or shape; if codes have
        no scales, scales of another shape, or zero points.
    """
    with opened(path) as stream:
        mark = mark_of(stream)
        try:
            with safe_open(path, framework="numpy") as archive:  # checks the header
                header, begin = _header(stream)
                scales = {name + SCALE for name in header}
                shapes = {
                    name: tuple(header[name]["shape"])
                    for name in archive.keys()  # noqa: SIM118 (not a dict)
                    if name not in scales
                }
                key = pick(path, shapes, key)
                stored = str(header[key]["dtype"])
                scale = _scales(path, header, key, archive) if stored == "I8" else None
        except InputError:
            raise
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                path, f"not a readable safetensors file ({first_line(error)}); save it again."
            ) from error
    if stored not in FLOATS:
        raise InputError(
            path,
            f"{key!r} holds {stored}; save float16, bfloat16, float32 or float64, or int8 with "
            f"its scales as {key + SCALE!r}.",
        )
    offset = begin + int(header[key]["data_offsets"][0])
    dtype = np.dtype(FLOATS[stored])
    rows = FileRows(path, shapes[key], dtype, offset, mark, passing=passing)
    if stored == "BF16":
        bits, _ = _native(rows)
        return MappedRows(bits, _widened, dtype=np.float32), "bfloat16"
    if scale is None:
        return _native(rows)
    if scale.shape == (rows.shape[0], 1):
        return MappedRows(rows, _scaled, dtype=np.float32, beside=scale), "int8"
    if scale.size not in {1, rows.shape[1]}:
        raise InputError(
            path,
            f"{key + SCALE!r} has shape {scale.shape} for codes of shape {rows.shape}; give one "
            f"number, {rows.shape[1]} (one a feature) or ({rows.shape[0]}, 1) (one a row).",
        )
    return MappedRows(rows, partial(_scaled, scale=scale.reshape(-1)), dtype=np.float32), "int8"


def pick(path: Path, shapes: Mapping[str, object], key: str | None) -> str:
    """Choose the array to read: the requested one, or the only one."""
    listing = ", ".join(f"{name!r} {shape}" for name, shape in shapes.items()) or "nothing"
    if key is not None:
        if key not in shapes:
            raise InputError(path, f"there is no array {key!r}; the file holds {listing}.")
        return key
    if len(shapes) != 1:
        raise InputError(
            path,
            f"the file holds {len(shapes)} arrays ({listing}); say which are the features with "
            "--key NAME (in Python: key=...).",
        )
    return next(iter(shapes))


def _header(stream: BinaryIO) -> tuple[dict[str, Any], int]:
    """Header of a safetensors file, whose reader does not say where tensors are; its end."""
    length = int.from_bytes(stream.read(8), "little")
    header: dict[str, Any] = json.loads(stream.read(length))
    return header, 8 + length


def _scales(path: Path, header: Mapping[str, Any], key: str, archive: Any) -> NDArray[np.float32]:
    if key + ZERO in header:
        raise InputError(
            path, f"{key + ZERO!r}: zero points are not read; save symmetric codes, or float16."
        )
    if key + SCALE not in header:
        raise InputError(
            path,
            f"{key!r} holds int8, and there is no {key + SCALE!r} to multiply by: save the scales "
            "under that name, one number, one a feature, or (rows, 1).",
        )
    found = header[key + SCALE]
    if found["dtype"] not in {"F16", "F32", "F64"} or np.prod(found["shape"]) > MAGNITUDE:
        raise InputError(
            path, f"{key + SCALE!r} holds {found['dtype']} {found['shape']}; save float32 scales."
        )
    scale = np.asarray(archive.get_tensor(key + SCALE)).astype(np.float32)
    if not np.isfinite(scale).all():
        raise InputError(path, f"{key + SCALE!r} is not finite; save the scales again.")
    return scale


def _widened(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Numbers of bfloat16, whose bits are the upper half of those of float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _scaled(codes: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    return codes.astype(np.float32) * scale


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file; a file that is not there or cannot be read raises by name, with advice."""
    try:
        stream = path.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        with stream:
            yield stream
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    reason = (error.strerror or str(error)).lower()
    return InputError(path, f"{reason}; are the shards still there?")


def mark_of(stream: BinaryIO) -> Mark:
    """Size and time of the last change of an open file."""
    status = os.fstat(stream.fileno())
    return Mark(status.st_size, status.st_mtime_ns)


def check_mark(path: Path, stream: BinaryIO, mark: Mark) -> None:
    """Raise `InputError` where an open file is not the one that it was when it was marked."""
    if mark_of(stream) != mark:
        raise InputError(path, "has changed since it was opened; start again.")
