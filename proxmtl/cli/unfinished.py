"""What is done of a ``fit`` that has not ended: kept beside its run, for the same command."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from typing import TYPE_CHECKING, Any

from proxmtl import __version__
from proxmtl.cli.console import keeping, say_note
from proxmtl.io import Checkpoint, InputError
from proxmtl.io.run_folder import unfinished_folder
from proxmtl.io.seal import MANIFEST_FILE, read_sealed, write_sealed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from proxmtl.ranks import Ranks
    from proxmtl.sources import Source

__all__ = ["Unfinished"]

PLACES = (
    "features",
    "labels",
    "test",
    "features_file",
    "out",
    "force",
    "config",
    "report",
    "batch_size",
    "workers",
    "checkpoint",
)
"""Options that name places, or change no result: files count by their contents."""
DONE = "done"
"""In the folder of a fit whose run was about to be put into place: the mark of the run before."""


class Unfinished:
    """The folder of a fit that has not ended.

    Parameters
    ----------
    out
        The run folder.
    ranks
        Processes that fit together; each keeps its own files, on one machine in one folder.
    """

    def __init__(self, out: Path, ranks: Ranks) -> None:
        self.out, self.ranks = out, ranks
        self.folder = unfinished_folder(out)
        self._request = self.folder / f"fit-{ranks.rank}.json"
        self._before = self._mark()  # of the run that is there now: another rank may replace it
        with contextlib.suppress(FileNotFoundError):  # of no run, or removed by another rank
            # a kill came while the run was put into place
            if (self.folder / DONE).read_text(encoding="utf-8") != self._before:
                self.remove()
            else:
                (self.folder / DONE).unlink()
        with contextlib.suppress(OSError):  # no empty one, which a kill may leave, too
            self.folder.rmdir()

    @property
    def kept(self) -> bool:
        """Whether there is something to go on from."""
        return any(self.folder.rglob("*.pt"))

    @contextlib.contextmanager
    def checkpoint(
        self,
        options: Mapping[str, object],
        sources: Sequence[Source],
        *,
        seconds: float,
        force: bool,
    ) -> Iterator[Checkpoint]:
        """Give the checkpoint of the fit that is asked for; what ends it early says what is kept.

        Parameters
        ----------
        options
            Of the command, by the names of its parameters.
        sources
            The files that were read.
        seconds
            Between two writes.
        force
            Whether to begin anew where another fit has not ended.

        Raises
        ------
        InputError
            If another fit has not ended and ``force`` is false, or the record of it is damaged.
        """
        asked = {
            "version": __version__,
            "number of processes": self.ranks.size,
            **{
                f"--{name.replace('_', '-')}": None if value is None else str(value)
                for name, value in sorted(options.items())
                if name not in PLACES
            },
            "contents of the files": [[each.bytes, each.sha256] for each in sources],
        }
        with self.ranks.together():
            others = self._others(asked, force=force)
        if any(self.ranks.gathered(others)):
            if others:
                say_note(f"begins anew: {self.out} has an unfinished fit in which {others}.")
            self.remove()
            self.ranks.gathered("removed")  # before any rank writes into a folder that all share
        elif any(self.ranks.gathered(self.kept)):
            say_note(f"goes on with the fit that is kept in {self.folder}.")

        def begin() -> None:
            if not self._request.exists():
                write_sealed(self._request, asked)

        def advice(end: BaseException) -> str:
            del end
            return (
                f"What is done of the fit is kept in {self.folder}: the same command goes on."
                if self.kept
                else ""
            )

        with keeping(advice):
            yield Checkpoint(self.folder, seconds=seconds, begin=begin)

    def _others(self, asked: Mapping[str, Any], *, force: bool) -> str:
        """Say in what an unfinished fit differs from the one asked for; blank: in nothing."""
        if not self.kept or not self._request.exists():
            return ""
        anew = f"remove {self.folder} to begin anew."
        known = read_sealed(self._request, anew)
        parts = [
            f"{name} was {known.get(name)} and is {value} now"
            if not isinstance(value, list)
            else f"the {name} were others"
            for name, value in asked.items()
            if known.get(name) != value
        ]
        if parts and not force:
            raise InputError(
                self.out,
                f"a fit that was to be written here has not ended, and {', '.join(parts)}. Give "
                "the same command to go on with it, --force to begin anew, or another --out.",
            )
        return ", ".join(parts)

    def done(self) -> None:
        """Say that the fit has ended, and its run is about to be put into place."""
        if self.folder.is_dir():
            (self.folder / DONE).write_text(self._before, encoding="utf-8")

    def _mark(self) -> str:
        """Checksum of the run's manifest; blank where there is no run."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return hashlib.sha256((self.out / MANIFEST_FILE).read_bytes()).hexdigest()
        return ""

    def remove(self) -> None:
        """Remove the folder: states first, for a kill must leave none without what they are of.

        The mark goes last: by it the next command removes what a kill has left.
        """
        with contextlib.suppress(FileNotFoundError):  # other ranks remove it, too
            for state in self.folder.rglob("*.pt"):
                state.unlink(missing_ok=True)
            for entry in self.folder.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                elif entry.name != DONE:
                    entry.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
