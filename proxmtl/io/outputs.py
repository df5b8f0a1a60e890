"""Checks of outputs before work starts: permission to write, overwriting, and disk space."""

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
    """Check, before the work starts, that a result file can be written.

    Removes temporary files that dead processes have left next to it.

    Parameters
    ----------
    path
        The file; None if there is none to write.
    force
        Whether an existing file may be replaced.
    inputs
        Files and folders from which the result is computed.

    Raises
    ------
    InputError
        If the file exists and may not be replaced, is an input or not a regular file, or its folder
        does not exist.
    OSError
        If no file can be created in its folder.
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
        own = target.suffix.lower() not in {".csv", ".html", ".npy"} or is_run_file(target.name)
        return own and target.is_relative_to(Path(os.path.realpath(source)))
    return target.samefile(source)


def settle_folder(path: Path | None, option: str, out: Path) -> None:
    """Check a folder of intermediate results, which must outlive the run.

    Parameters
    ----------
    path
        The folder; None if there is none.
    option
        Command-line option with which it was given.
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
    """Set the size of an open file, and allocate that space on the disk.

    The file can then be written even if the disk fills up; in a memory-mapped file, a page without
    space would end the process by a signal.

    Raises
    ------
    InputError
        If there is not enough space.
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
    """Allocate the space of a file; return the free bytes if they are too few, else None."""
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
    """Reserve disk space in a folder during the block, for files that are written after it.

    Errors name `path`.

    Raises
    ------
    InputError
        If there is not enough space.
    """
    with temporary_file(folder) as placeholder:
        descriptor = os.open(placeholder, os.O_RDWR)
        try:
            reserve(descriptor, size, path)
        finally:
            os.close(descriptor)
        yield
