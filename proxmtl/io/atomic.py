"""Atomic writing: files appear complete or not at all.

A file is written beside its destination, flushed to the disk and moved over it with ``os.replace``,
which is atomic within one file system: a reader sees the old file or the new one, and a crash
leaves the old one.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from proxmtl.io.errors import InputError, name_file
from proxmtl.io.temporaries import is_ours, temporary_file
from proxmtl.machine import errno_of

__all__ = [
    "atomic_path",
    "files_below",
    "flush_folder",
    "regular_file",
    "umask",
    "write_json",
    "write_text",
]


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, so that renames in it survive a crash."""
    # Windows has no descriptors of folders; there the rename alone must suffice.
    if os.name == "posix":
        _flush_to_disk(folder)


_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def regular_file(path: Path) -> Path:
    """Follow links to the regular file that will be created or replaced.

    Raises
    ------
    InputError
        If its folder does not exist, or there is something other than a regular file.
    OSError
        If its links form a loop, or its folder is not accessible.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise InputError(path, f"its folder {target.parent} does not exist; create it first.")
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise InputError(path, "this is a folder where a file is to be written; name a file.")
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise InputError(path, f"this is {kind}, not a regular file; name a regular file.")
    return target


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; move it to `path` if the block succeeds.

    Parameters
    ----------
    path
        Destination, in an existing folder. Links are followed: the file they lead to is replaced.

    Yields
    ------
    Path
        Path to write to. If the block raises, that file is removed and `path` is unchanged.

    Raises
    ------
    InputError
        If the folder of `path` does not exist, or `path` exists and is not a regular file.
    OSError
        The system's error, with the name of `path`, whichever library wrote the file.
    """
    path = Path(path)
    target = regular_file(path)
    try:
        with temporary_file(target.parent, target.suffix) as temporary:
            with _errors_of(temporary):
                yield temporary
            _flush_to_disk(temporary)
            # mkstemp makes files readable by their owner only; set the permissions of open()
            temporary.chmod(0o666 & ~umask())
            temporary.replace(target)
            flush_folder(target.parent)
    except OSError as error:
        # name the destination rather than the temporary file or a descriptor
        if error.filename is None or is_ours(Path(os.fsdecode(error.filename))):
            name_file(error, path)
        raise


@contextlib.contextmanager
def _errors_of(temporary: Path) -> Iterator[None]:
    """Convert errors of libraries back to the system's errors that caused them."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        number = errno_of(error)
        if number is None:  # torch, NumPy and Pillow don't say why they couldn't write
            _ask_again(temporary)
        elif not isinstance(error, OSError):
            raise OSError(number, os.strerror(number)) from error
        raise


def _ask_again(temporary: Path) -> None:
    """Write a little more to a file, to provoke the system's own error if there is one."""
    with temporary.open("ab") as stream:
        stream.write(bytes(1 << 20))
        stream.flush()
        os.fsync(stream.fileno())


def umask() -> int:
    """Return the umask of this process: permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8 with newlines as given."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON lacks, by None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON atomically; non-finite numbers become null.

    Raises
    ------
    TypeError
        If `value` holds something JSON cannot express.
    """
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    # names of files may hold bytes that are no text; escaped, they are JSON
    write_text(path, text.encode(errors="backslashreplace").decode() + "\n")


def files_below(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it, with slashes."""
    return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
