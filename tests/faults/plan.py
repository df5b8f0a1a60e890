"""Which fault a seed stands for."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tests.faults.commands import COMMANDS
from tests.faults.faults import KINDS, Fault

if TYPE_CHECKING:
    from tests.faults.ground import Ground

__all__ = ["Outcome", "Plan"]

CYCLE = (
    "kill", "damage", "interrupt", "full", "damage", "gone", "twice", "damage", "memory",
)  # fmt: skip
"""Kinds of faults, seed by seed: there are many files to damage."""


@dataclass(frozen=True)
class Outcome:
    """How a fault ended.

    Attributes
    ----------
    seed, command, kind
        Which fault.
    detail
        What was done.
    outcome
        One of those of `tests.faults.verdict`.
    why
        Of a failure.
    seconds
        Of all runs.
    """

    seed: int
    command: str
    kind: str
    detail: str
    outcome: str
    why: str
    seconds: float

    def as_dict(self) -> dict[str, object]:
        """Return plain types."""
        return {**asdict(self), "seconds": round(self.seconds, 2)}


class Plan:
    """Commands and kinds of faults by seed: few seeds are of all sorts already.

    Parameters
    ----------
    only
        Those of which "command/kind" contains this, or one of several with commas between them.
    slow
        Whether slow commands are among them.
    """

    def __init__(self, only: str = "", *, slow: bool = True) -> None:
        self._commands: dict[str, list[str]] = {}
        for kind in KINDS:
            names = [
                name
                for name, case in COMMANDS.items()
                if (case.reads or case.own or kind != "damage")
                and ("out/" in case.line or kind not in {"gone", "full"})
                and (slow or not case.slow)
                and any(part in f"{name}/{kind}" for part in only.split(","))
            ]
            random.Random(kind).shuffle(names)
            self._commands[kind] = names
        self._cycle = [kind for kind in CYCLE if self._commands[kind]]
        if not self._cycle:
            raise ValueError(f"--only {only}: no command and kind of fault has such a name.")

    def __getitem__(self, seed: int) -> tuple[str, str]:
        """Command and kind of a seed."""
        turn, place = divmod(seed, len(self._cycle))
        kind = self._cycle[place]
        # how many of this kind came before
        number = turn * self._cycle.count(kind) + self._cycle[:place].count(kind)
        names = self._commands[kind]
        return names[number % len(names)], kind

    def disturb(self, ground: Ground, seed: int) -> Outcome:
        """Do the fault of a seed."""
        name, kind = self[seed]
        reference = ground.reference(name)
        ground.restore(name)
        fault = Fault(ground, name, reference, random.Random(seed))
        begin = time.monotonic()
        outcome, why = KINDS[kind](fault)
        return Outcome(seed, name, kind, fault.detail, outcome, why, time.monotonic() - begin)
