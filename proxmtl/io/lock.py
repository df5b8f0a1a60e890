"""File locks that the system releases when the process ends, even if it is killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from typing import TYPE_CHECKING

from proxmtl.io.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HOST", "FileLock", "holds", "try_lock"]

HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
"""Hash of this machine's name, for file names: locks may not work across machines."""


def try_lock(descriptor: int) -> bool | None:
    """Try to lock an open file or folder, for this descriptor.

    The system releases the lock when the last copy of the descriptor is closed, also when the
    process is killed.

    Returns
    -------
    bool or None
        True if locked; False if another descriptor, of this or another process, holds the lock;
        None if there are no such locks (Windows, some network file systems).
    """
    if sys.platform == "win32":
        return None
    import fcntl  # noqa: PLC0415 - only there where there is such a lock

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def holds(descriptor: int, path: Path) -> bool:
    """Whether a path still leads to the open file, which an earlier holder may have removed."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


class FileLock:
    """A lock on a file; the system releases it when the process ends, even if it is killed.

    The file contains the name of the machine. If the system has no locks (see :func:`try_lock`),
    nothing is locked.

    Parameters
    ----------
    path
        The file; created, and removed at the end (on Windows it stays).
    sentence
        Error message if another process, or another part of this one, holds the lock.
    shown
        Path named in that message; default: the file.

    Raises
    ------
    InputError
        If the lock is held.
    """

    def __init__(self, path: Path, sentence: str, *, shown: Path | None = None) -> None:
        self.path = path
        while True:
            self._stream = path.open("ab", buffering=0)
            if try_lock(self._stream.fileno()) is False:
                self._stream.close()
                raise InputError(shown or path, sentence)
            # if an earlier holder has removed the file meanwhile, try again with a new one
            if holds(self._stream.fileno(), path):
                with contextlib.suppress(OSError):  # a full disk: it is a lock all the same
                    os.truncate(self._stream.fileno(), 0)
                    self._stream.write(HOST.encode())
                return
            self._stream.close()

    def release(self) -> None:
        """Release the lock."""
        if os.name == "posix":  # remove it while locked: later the name may be another holder's
            self.path.unlink(missing_ok=True)
        self._stream.close()
