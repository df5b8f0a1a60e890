"""States of solvers: what a run carries from one iteration to the next, and how it is saved."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor

__all__ = ["Saved", "State", "cloned"]


class Saved(Protocol):
    """An object that converts to a dictionary of tensors and numbers, and back."""

    def state_dict(self) -> dict[str, Any]:
        """Return the fields by name, tensors cloned."""

    @classmethod
    def from_state_dict(cls, fields: dict[str, Any], /) -> Self:
        """Rebuild the object from its :meth:`state_dict`."""


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
    """Checksums of the run's features and labels, to detect other data at a resume; empty until
    the run ends."""
    nested: ClassVar[dict[str, type[Saved]]] = {}
    """Types of the fields that are :class:`Saved` themselves, by name; such a field may be None."""
    long = False
    """Whether the iteration cost far more than a certificate, which is then measured after it."""
    estimates: ClassVar[bool] = False
    """Whether the solver estimates the gap, and is ``long`` where a certificate is worth while."""

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
    """Clone a tensor, or all tensors in tuples and lists; return any other value as it is."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, (tuple, list)):
        return tuple(map(cloned, value)) if isinstance(value, tuple) else [*map(cloned, value)]
    return value
