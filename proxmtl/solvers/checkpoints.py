"""Saving a run, and resuming it where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proxmtl.data_term import DataTerm
from proxmtl.ranks import Ranks
from proxmtl.solvers.base import Solver
from proxmtl.state import State, cloned

__all__ = ["Kept", "Snapshot", "Store", "begun_by", "resumed"]

SOLVER = "solver"
"""Name of the solver in what describes a run."""


@dataclass
class Snapshot:
    """A run after an iteration: what it takes to go on as if it had not been interrupted.

    Attributes
    ----------
    state, best : State
        Of the last iteration, and of the one with the lowest objective so far.
    start : Tensor or tuple of Tensor
        Starting point.
    claim : float
        Lower bound on the objective there.
    history : list of dict
        Records so far.
    seconds : float
        Time of the run so far, in all its processes.
    """

    state: State
    best: State
    start: Any
    claim: float
    history: list[dict[str, float]]
    seconds: float


class Store(Protocol):
    """Where runs are kept: :class:`proxmtl.io.Checkpoint`."""

    seconds: float
    of: Mapping[str, object] | None
    """What the run is part of; None: it stands alone."""

    def due(self, seconds: float, *, ended: bool) -> bool:
        """Whether it is time to save, ``seconds`` after the start of the run."""

    def told(self, name: str, ranks: Ranks) -> str | None:
        """Text of an object of the computation that is kept; None if there is none."""

    def load(self, identity: Mapping[str, object], ranks: Ranks) -> dict[str, Any] | None:
        """Fields that were saved last of what ``identity`` describes; None if there are none."""

    def save(
        self,
        fields: Mapping[str, Any],
        identity: Mapping[str, object],
        iteration: int,
        seconds: float,
        ranks: Ranks,
    ) -> None:
        """Save fields."""


@dataclass(frozen=True)
class Kept:
    """The snapshots of one solve, in a store."""

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
        """Snapshots of a solver of a loss plus penalties; None without a store."""
        seconds = None if store is None else store.seconds
        data.ranks.check_equal("checkpoint, with seconds between writes", seconds)
        if store is None:
            return None
        # numbers computed from data may differ in their last digits from one machine to another
        own = {"loss": data.loss, "penalties": [*penalties]} if store.of is None else store.of
        return cls(store, {SOLVER: type(solver).__name__, **own}, data.ranks)

    def last(self, solver: Solver[Any, Any, Any]) -> Snapshot | None:
        """Return the last snapshot; None if there is none."""
        fields = self.store.load(self.identity, self.ranks)
        if fields is None:
            return None
        with self.ranks.together():
            state = solver.state_type.from_state_dict(fields["state"])
            best = fields["best"]
            return Snapshot(
                **{
                    **fields,
                    "state": state,
                    "best": state if best is None else solver.state_type.from_state_dict(best),
                }
            )

    def due(self, seconds: float, *, ended: bool = False) -> bool:
        """Whether it is time to save."""
        return self.store.due(seconds, ended=ended)

    def save(self, snapshot: Snapshot) -> None:
        """Save a snapshot."""
        state, best = snapshot.state, snapshot.best
        fields = {
            "state": state.state_dict(),
            "best": None if best.iteration == state.iteration else best.state_dict(),
            "start": cloned(snapshot.start),
            "claim": snapshot.claim,
            "history": snapshot.history,
            "seconds": snapshot.seconds,
        }
        self.store.save(fields, self.identity, state.iteration, snapshot.seconds, self.ranks)


def begun_by(store: Store | None, ranks: Ranks) -> str | None:
    """Class of the solver whose run a store holds; None if it holds none."""
    return None if store is None else store.told(SOLVER, ranks)


def resumed(
    kept: Kept | None, solver: Solver[Any, Any, Any], state: State | None
) -> Snapshot | None:
    """Snapshot from which a solve goes on; None to start anew, or from the state given.

    Raises ``ValueError`` if there is a state beside a store.
    """
    if kept is None:
        return None
    if state is not None:
        raise ValueError("state, checkpoint: give one of them; a checkpoint holds a state.")
    return kept.last(solver)
