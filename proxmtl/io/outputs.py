"""Outputs are settled before work starts: what may be written, where, and that there is room."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from proxmtl.io.atomic import regular_file
from proxmtl.io.errors import InputError
from proxmtl.io.names import is_run_file
from proxmtl.io.temporaries import remove_leftovers, temporary_file

__all__ = ["reserve", "room", "settle_file", "settle_folder"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNABLE = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


def settle_file(
    path: Path | None, *, force: bool = False, inputs: Iterable[Path | None] = ()
) -> None:
    """Check, before the work of which it is to hold the result, that a file can be written.

    What dead processes left beside it is removed.

    Parameters
    ----------
    path
        The file; None: there is none to write.
    force
        Whether a file that is there may be replaced.
    inputs
        What the result is made from, files and folders.

    Raises
    ------
    InputError
        If it is there and may not be replaced, is an input or no regular file, or its folder does
        not exist.
    OSError
        If its folder takes no file.
    """
    if path is None:
        return
    target = regular_file(path)
    for source in inputs:
        if source is not None and _is_part_of(target, source):
            raise InputError(
                path, f"this is read by the same command (as {source}); name another file."
            )
    if target.exists() and not force:
        raise InputError(path, "the file exists; give --force to replace it or another --out.")
    remove_leftovers(target.parent)
    try:
        with temporary_file(target.parent):
            pass
    except OSError as error:
        error.filename = str(path)
        raise


def _is_part_of(target: Path, source: Path) -> bool:
    """Whether a file is an input, or one of the files of an input folder."""
    if not target.exists() or not source.exists():
        return False
    if source.is_dir():
        # predictions and pages in a run folder may be made again; its own files, and images, are
        # inputs
        own = target.suffix.lower() not in {".csv", ".html", ".npy"} or (
            is_run_file(target.name) or target.name == "scalars.csv"
        )
        return own and target.is_relative_to(Path(os.path.realpath(source)))
    return target.samefile(source)


def settle_folder(path: Path | None, option: str, out: Path) -> None:
    """Check a folder of intermediate results, which must outlive the run that it serves.

    Parameters
    ----------
    path
        The folder; None: there is none.
    option
        By which it was given.
    out
        The run folder.

    Raises
    ------
    InputError
        If it is a file, or lies in the run folder.
    """
    if path is None:
        return
    if path.exists() and not path.is_dir():
        raise InputError(path, f"this is a file; give a folder as {option}.")
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out)):
        raise InputError(
            path, f"lies in the run folder {out}; give a folder beside it as {option}."
        )


def reserve(descriptor: int, size: int, path: Path) -> None:
    """Give an open file its size, and take the room for it on the disk.

    A disk that fills up later is then no matter, and a mapped file never meets a page that the disk
    has no room for, which would end the process by a signal.

    Raises
    ------
    InputError
        If there is no room.
    """
    try:
        free = _allocate(descriptor, size)
    except OSError as error:
        if error.errno != errno.EFBIG:
            error.filename = str(path)
            raise
        raise InputError(
            path,
            f"it takes {size / 1e9:.3g} GB, which is more than a file may have here; raise the "
            "limit (ulimit -f), or choose another disk.",
        ) from error
    if free is not None:
        raise InputError(
            path,
            f"it takes {size / 1e9:.3g} GB, and its disk has {free / 1e9:.3g} GB left; make room, "
            "or choose another disk.",
        )


def _allocate(descriptor: int, size: int) -> int | None:
    """Give a file its room; return how much there is where that is too little."""
    free = None
    if hasattr(os, "fstatvfs"):
        status = os.fstatvfs(descriptor)
        free = status.f_bavail * status.f_frsize
        if free < size - os.fstat(descriptor).st_blocks * 512:
            return free
    if hasattr(os, "posix_fallocate") and size:
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno in _FULL:
                return free or 0
            if error.errno not in _UNABLE:
                raise
    os.truncate(descriptor, size)
    return None


@contextlib.contextmanager
def room(folder: Path, size: int, path: Path) -> Iterator[None]:
    """Hold room on the disk of a folder in the block, for what is written there after it.

    `path` is what errors name.

    Raises
    ------
    InputError
        If there is no room.
    """
    with temporary_file(folder) as placeholder:
        descriptor = os.open(placeholder, os.O_RDWR)
        try:
            reserve(descriptor, size, path)
        finally:
            os.close(descriptor)
        yield
