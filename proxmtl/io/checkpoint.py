"""Checkpoints of solves: the solver's state on disk, from which the same call goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from proxmtl.io.atomic import atomic_path
from proxmtl.io.errors import InputError, first_line
from proxmtl.io.identity import fingerprint
from proxmtl.io.seal import append_seal, check_seal
from proxmtl.ranks import Ranks

__all__ = ["Checkpoint"]

NAME = re.compile(r"rank-(\d+)-of-(\d+)-iteration-(\d+)\.pt")


class Checkpoint:
    """Folder in which a solve keeps its state, so that the same call resumes it.

    Given to :func:`proxmtl.minimize` or :meth:`LatentMTL.solve`. The state is written every so many
    seconds, after the iteration that exceeds them, and at the end of the run. A run that starts
    with a state in its folder goes on from there, along the same path as one that was not
    interrupted (to the last bit on one machine); if the state is that of a finished run, it ends at
    once. Each rank writes its own file, and all resume from the last iteration that all have
    written.

    Parameters
    ----------
    folder : str or Path
        Created by the first write. It should hold nothing else.
    seconds : float
        Time between two writes. A state takes some times the memory of the parameter, and for most
        solvers two or three times that of the scores.

    Raises
    ------
    ValueError
        If ``seconds`` is negative.
    """

    def __init__(self, folder: str | Path, *, seconds: float = 60.0) -> None:
        if not seconds >= 0:
            raise ValueError(f"seconds: got {seconds}; it must be >= 0.")
        self.folder, self.seconds = Path(folder), seconds
        self._last = 0.0

    def due(self, seconds: float) -> bool:
        """Whether it is time for a write, at a number of seconds since the start of the run."""
        return seconds >= self._last + self.seconds

    def load(self, identity: Mapping[str, object], ranks: Ranks) -> dict[str, Any] | None:
        """Return the fields of the last state that all ranks have written; None if there is none.

        Parameters
        ----------
        identity : mapping
            Objects that describe the solve, by name, such as its loss. Those of the state must have
            the same contents: fields, tensors, members of groups.
        ranks : Ranks

        Raises
        ------
        InputError
            If a file is damaged, or of another solve or another number of ranks.
        """
        self._last = 0.0
        with ranks.together():
            written = self._written(ranks)
        common = set(written).intersection(*ranks.gathered(set(written)))
        if not common:
            return None
        with ranks.together():
            return self._read(written[max(common)], identity)

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
    def _read(path: Path, identity: Mapping[str, object]) -> dict[str, Any]:
        check_seal(path, "delete the folder to start anew")
        try:
            content = torch.load(path, weights_only=True)
            fields: dict[str, Any] = content["state"]
            known = content["identity"]
        except Exception as error:
            raise InputError(
                path, f"is no checkpoint of a solve ({first_line(error)}); give another folder."
            ) from error
        for name, (text, mark) in _described(identity).items():
            before, other = known.get(name, (None, None))
            if other != mark:
                seen = "differs in its contents" if before == text else f"is {before}"
                raise InputError(
                    path,
                    f"is of another solve: its {name} {seen}, and this one's is {text}; give "
                    "another folder.",
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
        """Write a state; earlier ones go once all ranks have written it.

        Parameters
        ----------
        fields : mapping
            The ``state_dict`` of the state.
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
            name = f"rank-{ranks.rank}-of-{ranks.size}-iteration-{iteration}.pt"
            with atomic_path(self.folder / name) as temporary:
                content = {"state": dict(fields), "identity": _described(identity)}
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
