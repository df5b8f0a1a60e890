"""A file that says that a process is at work on something, until it ends, however it ends."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from proxmtl.io.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileLock"]


class FileLock:
    """A lock by a file; the system lets go of it when the process is killed.

    Windows has no such lock, and some network file systems have none: there nothing is held.

    Parameters
    ----------
    path
        The file; it is made, and removed at the end (on Windows it stays).
    sentence
        What to say if another process, or another part of this one, has it.

    Raises
    ------
    InputError
        If it is held.
    """

    def __init__(self, path: Path, sentence: str) -> None:
        self.path = path
        while True:
            self._stream = path.open("ab")
            try:
                _lock(self._stream.fileno())
                # a file that its last holder removed meanwhile is no lock: take the next one
                if os.path.samestat(os.fstat(self._stream.fileno()), path.stat()):
                    return
            except BlockingIOError as error:
                self._stream.close()
                raise InputError(path, sentence) from error
            except FileNotFoundError:
                pass
            self._stream.close()

    def release(self) -> None:
        """Let go of it."""
        if os.name == "posix":  # while it is held: afterwards the name may be another holder's
            self.path.unlink(missing_ok=True)
        self._stream.close()


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        return
    import fcntl  # noqa: PLC0415 - only there where there is such a lock

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # the file system has no locks
        return
