"""The files beside features that are being written, and what a kill leaves of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxmtl.io.lock import FileLock

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PartialFiles", "clear_up"]


class PartialFiles:
    """Names of the files beside a features file, ``<name>.partial`` and so on.

    Attributes
    ----------
    rows
        The features so far.
    record
        How far they got.
    new
        A file on its way to replace one.
    copy
        Rows without the room that skipped images left.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.rows = out.with_name(f"{out.name}.partial")
        self.record = out.with_name(f"{out.name}.partial.json")
        self.new = out.with_name(f"{out.name}.partial.new")
        self.copy = out.with_name(f"{out.name}.partial.rows")
        self._lock = out.with_name(f"{out.name}.partial.lock")

    def lock(self) -> FileLock:
        """Keep other processes from writing these features; raises `InputError` if one does."""
        return FileLock(
            self._lock,
            f"another process is writing {self.out.name}; wait for it, or choose another file.",
        )

    def remove_leftovers(self) -> None:
        """Remove what is of no use to go on with; the caller holds the lock."""
        self.new.unlink(missing_ok=True)
        self.copy.unlink(missing_ok=True)
        if not self.rows.exists():  # a process was killed once the rows were in place
            self.record.unlink(missing_ok=True)

    def any(self) -> bool:
        """Whether there is one of them."""
        return any(path.exists() for path in (self.record, self.new, self.copy, self._lock))


def clear_up(out: Path) -> None:
    """Remove what a process left that was killed when its features were in place.

    Raises
    ------
    InputError
        If another process is at work on them.
    """
    files = PartialFiles(out)
    if out.exists() and files.any():
        lock = files.lock()
        try:
            files.remove_leftovers()
        finally:
            lock.release()
