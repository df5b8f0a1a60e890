"""Files that appear whole or not at all.

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
    """Make sure that what was moved in a folder is on the disk."""
    # Windows has no descriptor for a folder; there the rename alone has to do.
    if os.name == "posix":
        _flush_to_disk(folder)


_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def regular_file(path: Path) -> Path:
    """Follow links to the regular file that a path is to become, or to replace.

    Raises
    ------
    InputError
        If its folder does not exist, or something else than a regular file is there.
    OSError
        If its links go round in a circle, or its folder can't be looked at.
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
    """Give a temporary path in the folder of `path`; move it to `path` when the block succeeds.

    Parameters
    ----------
    path
        The destination. Its folder must exist. A link is followed: the file that it leads to is
        replaced.

    Yields
    ------
    Path
        Where to write. When the block raises, the file is removed and `path` is left as it was.

    Raises
    ------
    InputError
        If the folder of `path` does not exist, or `path` is there and is no regular file.
    OSError
        Of the system, with the name of `path`, whichever library wrote the file.
    """
    path = Path(path)
    target = regular_file(path)
    try:
        with temporary_file(target.parent, target.suffix) as temporary:
            with _errors_of(temporary):
                yield temporary
            _flush_to_disk(temporary)
            # mkstemp makes files that only their owner can read; give what open() would have given
            temporary.chmod(0o666 & ~umask())
            temporary.replace(target)
            flush_folder(target.parent)
    except OSError as error:
        # the temporary file, or a descriptor without a name, means nothing to anyone
        if error.filename is None or is_ours(Path(os.fsdecode(error.filename))):
            name_file(error, path)
        raise


@contextlib.contextmanager
def _errors_of(temporary: Path) -> Iterator[None]:
    """Turn what libraries make of the system's errors back into these."""
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
    """Write a little more to a file, for the system's own error if there is one."""
    with temporary.open("ab") as stream:
        stream.write(bytes(1 << 20))
        stream.flush()
        os.fsync(stream.fileno())


def umask() -> int:
    """Permissions that new files of this process don't get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8 with newlines as given."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by null."""
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
