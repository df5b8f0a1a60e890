"""Safe readers of arrays from untrusted npy and npz files: sizes are checked before allocation.

Headers that do not match the size of the data, object and record arrays, and archive members that
are encrypted, packed by unusual methods, or expand far beyond their packed size raise.
"""

from __future__ import annotations

import lzma
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxmtl.io.errors import InputError, first_line
from proxmtl.limits import advice, limit

__all__ = ["NpyLayout", "check_expansion", "npy_layout", "read_npy", "read_npz"]

ROOMY = 1 << 26
"""Number of bytes to which any member may be unpacked."""
CHUNK = 1 << 22
_TROUBLE = (
    ValueError,
    OSError,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What zipfile and its decompressors raise for damaged, encrypted and exotic archives."""

Array = NDArray[Any]


class _Header(NamedTuple):
    """The header of an npy file."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy(path: Path, stream: IO[bytes], records: np.dtype[Any] | None = None) -> Array:
    """Read the array of an npy file.

    Parameters
    ----------
    path
        Path for error messages.
    stream
        Contents of the file.
    records
        Dtype of the entries, if these are records.

    Raises
    ------
    InputError
        If the file is not an npy file of numbers, text or such records, or its size does not match
        the header.
    """
    if stream.read(4) == b"PK\x03\x04":
        raise InputError(path, "this is an npz archive under the name of an npy file; rename it.")
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return _array(path, stream, size, "not a readable npy file of numbers", records)


class NpyLayout(NamedTuple):
    """Where the numbers of an npy file are."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    """Bytes before the first number."""


def npy_layout(path: Path, stream: IO[bytes]) -> NpyLayout:
    """Read the header of an npy file, rows one after another.

    Raises
    ------
    InputError
        If it is no npy file of numbers, stores columns one after another, or its size is not that
        of the array.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    with _named(path, "not a readable npy file of numbers"):
        header = _header(stream)
        offset = stream.tell()
        if header.size != size - offset:
            raise ValueError(
                f"its header announces {header.size:,} bytes of data, shape {header.shape}, and "
                f"{size - offset:,} are there"
            )
    if header.is_fortran:
        raise InputError(
            path, "stores columns one after another; save it by np.save(path, X.copy(order='C'))."
        )
    return NpyLayout(header.shape, header.dtype, offset)


def read_npz(
    path: Path, stream: IO[bytes], choose: Callable[[Mapping[str, object]], list[str]]
) -> dict[str, Array]:
    """Read arrays of an npz archive.

    Parameters
    ----------
    path, stream
        As for `read_npy`.
    choose
        Maps the shapes of all arrays by name to the names of the arrays to read.

    Raises
    ------
    InputError
        If the file is not an archive of arrays of numbers or text, is damaged, or unpacks to more
        than the limit.
    """
    with _named(path, "not a readable npz archive of numbers"):
        archive = zipfile.ZipFile(stream)
        members = _members(path, archive)
        shapes: dict[str, object] = {}
        for name, info in members.items():
            with archive.open(info) as packed:
                shapes[name] = _shape(packed)
    chosen = [members[name] for name in choose(shapes)]
    packed_size = sum(info.compress_size for info in chosen)
    check_expansion(path, packed_size, sum(info.file_size for info in chosen))
    found = {}
    for info in chosen:
        name = info.filename.removesuffix(".npy")
        what = f"not a readable npz archive of numbers, in its array {name!r}"
        with _named(path, what), archive.open(info) as packed:
            found[name] = _array(path, packed, info.file_size, what)
            packed.read(1)  # at its end zipfile compares the checksum
    return found


def check_expansion(path: Path, packed: int, unpacked: int) -> None:
    """Raise if a small file would become a large array.

    Raises
    ------
    InputError
        If `unpacked` bytes are more than 64 MiB and more than the limit times `packed` bytes.
    """
    if unpacked > ROOMY and unpacked > limit("expansion") * packed:
        needed = -(-unpacked // max(packed, 1))
        raise InputError(
            path,
            f"{packed:,} bytes would become {unpacked:,}, {needed:,} times as many; "
            f"{advice('expansion', needed)}.",
        )


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    most, listed = limit("archive_members"), archive.infolist()
    if len(listed) > most:
        raise InputError(
            path, f"{len(listed):,} members; {advice('archive_members', len(listed))}."
        )
    members: dict[str, zipfile.ZipInfo] = {}
    for info in listed:
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise InputError(path, f"holds {name!r} twice; save it again, each array once.")
        if info.flag_bits & 1:
            raise InputError(path, f"its member {name!r} is encrypted; save it without a password.")
        members[name] = info
    return members


def _header(stream: IO[bytes], records: np.dtype[Any] | None = None) -> _Header:
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        header = _Header(*read(stream))
    except Exception as error:  # NumPy evaluates the header as Python, so anything may be raised
        raise ValueError(f"its header can't be read: {first_line(error)}") from error
    plain = not (header.dtype.hasobject or header.dtype.names or header.dtype.subdtype)
    if not plain and header.dtype != records:
        raise ValueError(f"it holds {header.dtype}, which are no plain numbers")
    if any(isinstance(n, bool) or n < 0 for n in header.shape) or not header.dtype.itemsize:
        raise ValueError(f"it has the shape {header.shape} of {header.dtype}")
    return header


def _shape(stream: IO[bytes]) -> object:
    """Shape of an array, or a text that it is unreadable: other members can still be read."""
    try:
        return _header(stream).shape
    except ValueError:
        return "(no array)"


def _array(
    path: Path, stream: IO[bytes], size: int, what: str, records: np.dtype[Any] | None = None
) -> Array:
    with _named(path, what):
        header = _header(stream, records)
        there = size - stream.tell()
        if header.size != there:
            raise ValueError(
                f"its header announces {header.size:,} bytes of data, shape {header.shape}, and "
                f"{there:,} are there"
            )
        flat = np.empty(math.prod(header.shape), header.dtype)
        data, done = flat.view(np.uint8).data, 0
        while done < header.size:
            part = stream.read(min(CHUNK, header.size - done))
            if not part:
                raise EOFError("the file ends in the middle of the data")
            data[done : done + len(part)] = part
            done += len(part)
        if header.is_fortran:
            return flat.reshape(header.shape[::-1]).T
        return flat.reshape(header.shape)


@contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    """Convert errors of the readers to ``InputError`` with the name of the file."""
    try:
        yield
    except InputError:
        raise
    except _TROUBLE as error:
        raise InputError(path, f"{what} ({first_line(error)}); save it again.") from error
