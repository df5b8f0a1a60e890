"""States of solvers: what a run carries from one iteration to the next, and how it is saved."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor

__all__ = ["Saved", "State", "cloned"]


class Saved(Protocol):
    """What goes to a dictionary of tensors and numbers, and comes back."""

    def state_dict(self) -> dict[str, Any]:
        """Fields by name, tensors cloned."""

    @classmethod
    def from_state_dict(cls, fields: dict[str, Any], /) -> Self:
        """Rebuild it."""


@dataclass
class State:
    """Everything a solver carries from one iteration to the next.

    ``state_dict`` and ``from_state_dict`` round-trip bitwise: a run saved after k iterations and
    resumed takes the same path as one that never stopped (on the CPU).
    """

    iteration: int
    objective: float
    stalled: bool
    passes: float
    data: dict[str, float] = field(default_factory=dict, kw_only=True)
    """Figures of the features and labels of the run that returned it; empty before that."""
    nested: ClassVar[dict[str, type[Saved]]] = {}
    """Fields that save themselves, such as other states, and their types; a field may be None."""
    long = False
    """Whether the iteration was a long one, after which a certificate costs little beside it."""

    def state_dict(self) -> dict[str, Any]:
        """Fields by name; tensors are cloned, nested states become dictionaries."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            name: cloned(value) if value is None or name not in self.nested else value.state_dict()
            for name, value in fields.items()
        }

    @classmethod
    def from_state_dict(cls, fields: dict[str, Any]) -> Self:
        """Rebuild the state.

        Raises
        ------
        ValueError
            If a field is missing or unknown: the state belongs to another solver.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        if not cls._required() <= set(fields) <= known:
            raise ValueError(
                f"state: {cls.__name__} has fields {sorted(known)}, got {sorted(fields)}; load the "
                "state of the same solver."
            )
        values: dict[str, Any] = {
            name: cloned(value)
            if value is None or name not in cls.nested
            else cls.nested[name].from_state_dict(value)
            for name, value in fields.items()
        }
        return cls(**values)

    @classmethod
    def _required(cls) -> set[str]:
        """Names of the fields without a default."""
        missing = dataclasses.MISSING
        return {
            f.name
            for f in dataclasses.fields(cls)
            if f.default is missing and f.default_factory is missing
        }


def cloned(value: Any) -> Any:
    """Return a copy that shares no tensor, of tensors, tuples and lists of them; others as is."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, (tuple, list)):
        return tuple(map(cloned, value)) if isinstance(value, tuple) else [*map(cloned, value)]
    return value
