"""A file that says that a process is at work on something, until it ends, however it ends."""

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
"""This machine, in names: some network file systems keep a lock from other machines."""


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file or folder for this descriptor.

    The system lets go of the lock when the last copy of the descriptor is closed, so also when the
    process is killed.

    Returns
    -------
    bool or None
        False: another descriptor, of this process or another, has it. None: there are no such locks
        here (Windows, some network file systems).
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
    """Whether a path still leads to an open file: the last holder of a lock may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


class FileLock:
    """A lock by a file; the system lets go of it when the process is killed.

    The file holds the name of the machine.

    Where the system has no locks (see :func:`try_lock`) nothing is held.

    Parameters
    ----------
    path
        The file; it is made, and removed at the end (on Windows it stays).
    sentence
        What to say if another process, or another part of this one, has it.
    shown
        What to name in that; by default the file.

    Raises
    ------
    InputError
        If it is held.
    """

    def __init__(self, path: Path, sentence: str, *, shown: Path | None = None) -> None:
        self.path = path
        while True:
            self._stream = path.open("ab", buffering=0)
            if try_lock(self._stream.fileno()) is False:
                self._stream.close()
                raise InputError(shown or path, sentence)
            # a file that its last holder removed meanwhile is no lock: take the next one
            if holds(self._stream.fileno(), path):
                with contextlib.suppress(OSError):  # a full disk: it is a lock all the same
                    os.truncate(self._stream.fileno(), 0)
                    self._stream.write(HOST.encode())
                return
            self._stream.close()

    def release(self) -> None:
        """Let go of it."""
        if os.name == "posix":  # while it is held: afterwards the name may be another holder's
            self.path.unlink(missing_ok=True)
        self._stream.close()
