"""Checkpoints of solves and fits: what is done of them, from which the same call goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from proxmtl.io.atomic import atomic_path
from proxmtl.io.errors import InputError, first_line
from proxmtl.io.identity import fingerprint
from proxmtl.io.seal import append_seal, check_seal
from proxmtl.io.temporaries import remove_leftovers
from proxmtl.ranks import Ranks

__all__ = ["Checkpoint"]

NAME = re.compile(r"rank-(\d+)-of-(\d+)-iteration-(\d+)\.pt")


WORTH = 0.05
"""A finished part of a fit is kept if it took at least this fraction of the time between writes."""


class Checkpoint:
    """Folder in which a solve or a fit keeps what it has done, so that the same call resumes it.

    Given to :func:`proxmtl.minimize`, :meth:`LatentMTL.solve` or ``fit`` of an estimator. The state
    is written every so many seconds, after the iteration that exceeds them, and at the end of a
    solve. A run that starts with a state in its folder goes on from there, along the same path as
    one that was not interrupted (to the last bit on one machine); if the state is that of a
    finished run, it ends at once. Each rank writes its own file, and all resume from the last
    iteration that all have written.

    A fit keeps each of its solves, and each finished fold of a cross-validation, in a subfolder;
    those that took less than a twentieth of ``seconds`` are not kept.

    Parameters
    ----------
    folder : str or Path
        Created by the first write. It should hold nothing else.
    seconds : float
        Time between two writes. A state takes some times the memory of the parameter, and for most
        solvers two or three times that of the scores.
    begin : callable, optional
        Called before each write into the folder, which exists.

    Raises
    ------
    ValueError
        If ``seconds`` is negative.
    """

    of: Mapping[str, object] | None = None
    """What a part belongs to, by name; None for a checkpoint that stands alone."""

    def __init__(
        self,
        folder: str | Path,
        *,
        seconds: float = 60.0,
        begin: Callable[[], None] | None = None,
    ) -> None:
        if not seconds >= 0:
            raise ValueError(f"seconds: got {seconds}; it must be >= 0.")
        self.folder, self.seconds = Path(folder), seconds
        self._last = 0.0
        self._least = 0.0
        self._begin = begin

    def part(self, name: str, of: Mapping[str, object]) -> Checkpoint:
        """Checkpoint of a part of a computation, in a subfolder.

        Parameters
        ----------
        name : str
            Of the subfolder.
        of : mapping
            What the computation is, as the ``identity`` of :meth:`load`.
        """
        part = Checkpoint(self.folder / name, seconds=self.seconds, begin=self._begin)
        part.of, part._least = of, WORTH * self.seconds
        return part

    def due(self, seconds: float, *, ended: bool = False) -> bool:
        """Whether it is time for a write, at a number of seconds since the start of the run."""
        return seconds >= (self._least if ended else self._last + self.seconds)

    def load(self, identity: Mapping[str, object], ranks: Ranks) -> dict[str, Any] | None:
        """Return the last fields that all ranks have written; None if there are none.

        Parameters
        ----------
        identity : mapping
            Objects that describe the computation, by name, such as its loss. Those of the files
            must have the same contents: fields, tensors, members of groups.
        ranks : Ranks

        Raises
        ------
        InputError
            If a file is damaged, or of another computation or another number of ranks.
        """
        self._last = 0.0
        remove_leftovers(self.folder)
        path = self._latest(ranks)
        if path is None:
            return None
        with ranks.together():
            fields = self._read(path, identity)
        self._last = float(fields["seconds"])
        return fields

    def told(self, name: str, ranks: Ranks) -> str | None:
        """Return the text of an object of the computation that is kept; None if there is none.

        Raises as :meth:`load`.
        """
        path = self._latest(ranks)
        if path is None:
            return None
        with ranks.together():
            text, _ = self._content(path)["identity"].get(name, (None, None))
        return None if text is None else str(text)

    def _latest(self, ranks: Ranks) -> Path | None:
        """File of this rank that was written last of those that all ranks have written."""
        with ranks.together():
            written = self._written(ranks)
        common = set(written).intersection(*ranks.gathered(set(written)))
        return written[max(common)] if common else None

    def _written(self, ranks: Ranks) -> dict[int, Path]:
        """Files of this rank by iteration."""
        found = {}
        for path in self.folder.glob("*.pt"):
            if (match := NAME.fullmatch(path.name)) is None:
                continue
            rank, size, iteration = map(int, match.groups())
            if size != ranks.size:
                raise InputError(
                    path,
                    f"was written by a run of {size} processes, and this one has {ranks.size}; "
                    "start as many, or give another folder.",
                )
            if rank == ranks.rank:
                found[iteration] = path
        return found

    @staticmethod
    def _content(path: Path) -> dict[str, dict[str, Any]]:
        check_seal(path, "delete the folder to start anew")
        try:
            content = torch.load(path, weights_only=True)
            return {name: dict(content[name]) for name in ("fields", "identity")}
        except Exception as error:
            raise InputError(
                path,
                f"is no checkpoint of this version ({first_line(error)}); give another folder.",
            ) from error

    def _read(self, path: Path, identity: Mapping[str, object]) -> dict[str, Any]:
        content = self._content(path)
        fields, known = content["fields"], content["identity"]
        for name, (text, mark) in _described(identity).items():
            before, other = known.get(name, (None, None))
            if other != mark:
                seen = "differs in its contents" if before == text else f"is {before}"
                raise InputError(
                    path,
                    f"is of another computation: its {name} {seen}, and this one's is {text}; "
                    "give another folder.",
                )
        return fields

    def save(
        self,
        fields: Mapping[str, Any],
        identity: Mapping[str, object],
        iteration: int,
        seconds: float,
        ranks: Ranks,
    ) -> None:
        """Write fields; earlier ones go once all ranks have written them.

        Parameters
        ----------
        fields : mapping
            Tensors, numbers and texts, also in lists, tuples and mappings.
        identity : mapping
            As for :meth:`load`.
        iteration : int
        seconds : float
            Since the start of the run.
        ranks : Ranks
        """
        self._last = seconds
        with ranks.together():
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._begin is not None:
                self._begin()
            name = f"rank-{ranks.rank}-of-{ranks.size}-iteration-{iteration}.pt"
            with atomic_path(self.folder / name) as temporary:
                content = {"fields": dict(fields), "identity": _described(identity)}
                torch.save(content, temporary)
                append_seal(temporary)
            written = self._written(ranks)
        # together() has returned on all: their files are on the disk
        for other, path in written.items():
            if other != iteration:
                path.unlink(missing_ok=True)


def _described(identity: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """A text for people, and a checksum of the contents, of each object."""
    return {
        name: (value if isinstance(value, str) else repr(value), fingerprint(value))
        for name, value in identity.items()
    }
