"""Saving the states of a run, and resuming it from the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proxmtl.data_term import DataTerm
from proxmtl.ranks import Ranks
from proxmtl.solvers.base import Solver
from proxmtl.state import State

__all__ = ["Kept", "Store", "resumed"]


class Store(Protocol):
    """Where states are kept: :class:`proxmtl.io.Checkpoint`."""

    seconds: float

    def due(self, seconds: float) -> bool:
        """Whether it is time to save, ``seconds`` after the start of the run."""

    def load(self, identity: Mapping[str, object], ranks: Ranks) -> dict[str, Any] | None:
        """Fields of the last state of the solve that ``identity`` describes, if there is one."""

    def save(
        self,
        fields: Mapping[str, Any],
        identity: Mapping[str, object],
        iteration: int,
        seconds: float,
        ranks: Ranks,
    ) -> None:
        """Save the fields of a state."""


@dataclass(frozen=True)
class Kept:
    """The states of one solve, in a store."""

    store: Store
    identity: Mapping[str, object]
    ranks: Ranks

    @classmethod
    def of(
        cls,
        store: Store | None,
        solver: Solver[Any, Any, Any],
        data: DataTerm,
        penalties: Sequence[object],
    ) -> Kept | None:
        """States of a solver of a loss plus penalties; None without a store."""
        seconds = None if store is None else store.seconds
        data.ranks.check_equal("checkpoint, with seconds between writes", seconds)
        if store is None:
            return None
        identity = {
            "solver": type(solver).__name__,
            "loss": data.loss,
            "penalties": [*penalties],
        }
        return cls(store, identity, data.ranks)

    def last(self, solver: Solver[Any, Any, Any]) -> State | None:
        """Return the last state; None if there is none."""
        fields = self.store.load(self.identity, self.ranks)
        with self.ranks.together():
            return None if fields is None else solver.state_type.from_state_dict(fields)

    def due(self, seconds: float) -> bool:
        """Whether it is time to save."""
        return self.store.due(seconds)

    def save(self, state: State, seconds: float) -> None:
        """Save a state."""
        self.store.save(state.state_dict(), self.identity, state.iteration, seconds, self.ranks)


def resumed(kept: Kept | None, solver: Solver[Any, Any, Any], state: State | None) -> State | None:
    """State from which a solve goes on: the one given, or the last one kept; None to start anew.

    Raises ``ValueError`` if there is a state beside a store.
    """
    if kept is None:
        return state
    if state is not None:
        raise ValueError("state, checkpoint: give one of them; a checkpoint holds a state.")
    return kept.last(solver)
