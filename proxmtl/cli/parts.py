"""What a finished computation yields is saved part by part; what could not be is told then."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from proxmtl.cli.signals import received
from proxmtl.io import write_text
from proxmtl.io.held import HeldSignals
from proxmtl.io.run_folder import name_of_target

__all__ = ["Parts", "saved_or_kept", "written_or_kept"]


class Parts:
    """Parts of a result, and why some of them are missing.

    As a context it keeps signals from a result: from `begin` to the end of the block they wait,
    and reach at most the part that is being written.

    Attributes
    ----------
    missing
        Names of the parts that were not saved.
    reason
        The error of the first of them, or the signal after which no more were tried.
    """

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.reason: BaseException | None = None
        self._stopped = False
        self._signals = HeldSignals()

    def __enter__(self) -> Self:
        """Return the parts."""
        return self

    def __exit__(self, *error: object) -> None:
        """Let signals that have come take effect."""
        self._signals.release()

    def begin(self) -> None:
        """Say that there is a result: it is to be saved, whatever comes."""
        self._signals.hold()

    def save(self, name: str, write: Callable[[], object]) -> None:
        """Write a part; an error is kept for the end."""
        if not self._stopped:
            try:
                with self._signals.let_through():
                    write()
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - raised by `tell`
                self._stopped = isinstance(error, KeyboardInterrupt) or received() is not None
                if self.reason is None or self._stopped:
                    self.reason = error
            else:
                return
        self.missing.append(name)

    def tell(self, out: Path, how: str = "with --force the same command") -> None:
        """Raise the error of the first part that is missing, with what is saved in a run folder.

        Parameters
        ----------
        out
            The run folder.
        how
            What writes the whole run.
        """
        if self.reason is None:
            return
        if isinstance(self.reason, OSError):
            name_of_target(self.reason, out)
        self.reason.add_note(
            f"The model is saved in {out}, without {', '.join(self.missing)}; {how} writes the "
            "whole run."
        )
        raise self.reason


def saved_or_kept(folder: Path, save: Callable[[Path], object]) -> None:
    """Save a finished model into a folder, or if that fails into the folder of temporary files.

    Parameters
    ----------
    folder
        Made again if it was removed during the work.
    save
        Writes the model into the folder that it is given.

    Raises
    ------
    OSError
        That of `folder`; a note says where the model is.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save(folder)
    except OSError as error:
        spare = Path(tempfile.mkdtemp(prefix="proxmtl-kept-"))
        try:
            save(spare)
        except OSError:
            shutil.rmtree(spare, ignore_errors=True)
        else:
            error.add_note(f"The finished model is kept in {spare}.")
        raise


def written_or_kept(path: Path, text: str) -> None:
    """Write a finished table, or if that fails into the folder of temporary files.

    Raises
    ------
    OSError
        That of `path`; a note says where the table is.
    """
    try:
        write_text(path, text)
    except OSError as error:
        descriptor, name = tempfile.mkstemp(prefix="proxmtl-kept-", suffix=path.suffix)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
        except OSError:
            Path(name).unlink(missing_ok=True)
        else:
            error.add_note(f"The finished table is kept in {name}.")
        raise
