"""Temporary files and folders beside their destination, and the removal of those left by crashes.

Each is locked by the process that writes it, and the system lets go of a lock however a process
ends. So whatever carries a name of ours and is not locked was left by a process that is dead: it is
removed when the next one writes into the same folder. Numbers of processes, which the system gives
anew, are not needed for that, and neither are clocks. Names say which machine is at work: where a
lock is not seen on others, as on some network file systems, what is of another machine stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from proxmtl.io.lock import HOST, holds, try_lock

__all__ = ["PREFIX", "is_ours", "remove_leftovers", "temporary_file", "temporary_folder"]

PREFIX = ".proxmtl-"
"""Begins every name; the destination's own may be as long as the file system allows."""
OWN = f"{PREFIX}{HOST}-"
"""Begins the names that are made on this machine, but for those of locks."""
ATTEMPTS = 100
"""Names tried; another process may take one for a leftover in the moment before it is locked."""


def is_ours(path: Path) -> bool:
    """Whether a path has the name of a temporary file or folder, or of a lock."""
    return path.name.startswith(PREFIX)


@contextlib.contextmanager
def temporary_file(folder: Path, suffix: str = "") -> Iterator[Path]:
    """Make an empty file that is locked in the block and gone after it, unless it was moved.

    It always has a suffix: torch writes no file without one.

    Raises
    ------
    OSError
        If the folder takes no file.
    """
    for _ in range(ATTEMPTS):
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=OWN, suffix=suffix[:64] or ".part")
        path = Path(name)
        if os.name != "posix":  # an open file can't be moved
            os.close(descriptor)
            break
        if try_lock(descriptor) is not False and holds(descriptor, path):
            break
        os.close(descriptor)
    else:
        raise BlockingIOError(f"{folder}: other processes take every file for a leftover.")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        if os.name == "posix":
            os.close(descriptor)


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Make an empty folder that is locked in the block and gone after it, unless it was moved.

    Raises
    ------
    OSError
        If the folder takes none.
    """
    descriptor = None
    for _ in range(ATTEMPTS):
        path = Path(tempfile.mkdtemp(dir=folder, prefix=OWN))
        if os.name != "posix":
            break
        with contextlib.suppress(FileNotFoundError):  # taken for a leftover
            descriptor = os.open(path, os.O_RDONLY)
            if try_lock(descriptor) is not False and holds(descriptor, path):
                break
            os.close(descriptor)
    else:
        raise BlockingIOError(f"{folder}: other processes take every folder for a leftover.")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)  # it may have been moved, or removed by others
        if descriptor is not None:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove what dead processes of this machine left in a folder.

    Where there are no locks nothing is removed.
    """
    if os.name != "posix":
        return
    try:
        found = [Path(entry.path) for entry in os.scandir(folder) if entry.name.startswith(PREFIX)]
    except OSError:  # it isn't there, or can't be read: what follows says so
        return
    for path in found:
        with contextlib.suppress(OSError):  # another process was faster, or it is another user's
            # a FIFO under such a name must not be waited for, nor a link be followed
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                if not (path.name.startswith(OWN) or _is_own_lock(path, descriptor)):
                    continue
                if try_lock(descriptor) and holds(descriptor, path):
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
            finally:
                os.close(descriptor)


def _is_own_lock(path: Path, descriptor: int) -> bool:
    return path.suffix == ".lock" and os.read(descriptor, len(HOST) + 1) == HOST.encode()
