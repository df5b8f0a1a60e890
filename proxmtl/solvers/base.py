"""The contract of a solver."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from torch import Tensor

from proxmtl.counts import OracleCounts
from proxmtl.result import Certificate
from proxmtl.stopping import Progress

__all__ = [
    "SOLVERS",
    "Callback",
    "Oracle",
    "Saved",
    "Solver",
    "State",
    "check_state",
    "cloned",
    "with_smoothing",
]

SOLVERS: dict[str, type[Solver[Any, Any, Any]]] = {}
"""Every solver by class name, filled as subclasses are defined."""

Callback = Callable[[Progress], object]
"""Called after each check with the progress; a true return value stops the run."""

P = TypeVar("P", bound="Oracle")
S = TypeVar("S", bound="State")
X = TypeVar("X")


class Oracle(Protocol):
    """What the loop itself needs of a problem, whatever its parameter is."""

    @property
    def counts(self) -> OracleCounts:
        """What its products are charged to."""

    def check_point(self, point: Any, /) -> None:
        """Raise ``ValueError`` unless a point fits the problem."""

    def prepare(self) -> None:
        """Find what is found once, such as curvatures."""

    def certificate(self, point: Any, /) -> Certificate:
        """Measure a point."""


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
        fields = {"data": {}, **fields}
        if set(fields) != known:
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


def cloned(value: Any) -> Any:
    """Return a copy that shares no tensor, of tensors, tuples and lists of them; others as is."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, (tuple, list)):
        return type(value)(cloned(item) for item in value)
    return value


class Solver(ABC, Generic[P, S, X]):
    """A frozen configuration with ``init`` and ``step`` over an explicit state.

    ``step`` returns a new state, or the same one changed: the caller's start point is never
    modified. ``solution`` is the point that would be returned, at which certificates are measured.
    """

    state_type: ClassVar[type[State]]
    needs_curvature: ClassVar[bool] = True
    """Whether iterations ask for the problem's curvature, so that a resumed run finds it anew."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        SOLVERS[cls.__name__] = cls

    @abstractmethod
    def check(self, problem: P) -> None:
        """Raise ``UnsupportedError`` if the problem lacks what this solver needs."""

    @abstractmethod
    def init(self, problem: P, x0: X) -> S:
        """State before the first iteration."""

    @abstractmethod
    def step(self, problem: P, state: S) -> S:
        """One iteration."""

    @abstractmethod
    def solution(self, problem: P, state: S) -> X:
        """The point that the run returns if it stops now."""

    def check_resume(self, problem: P, state: S) -> None:
        """Raise ``ValueError`` unless a state of this solver fits the problem's shapes."""
        problem.check_point(self.solution(problem, state))

    def bound(self, problem: P, state: S) -> float:  # noqa: ARG002
        """Upper bound of the objective at :meth:`solution`, without a product."""
        return state.objective

    def start_claim(self, problem: P, state: S) -> float:
        """Objective at the start of the run, or less, from the state that ``init`` returned.

        The start is measured at the end of a run if the solution is above that.
        """
        return self.bound(problem, state)

    def certify(self, problem: P, state: S) -> Certificate:
        """Certificate at :meth:`solution`."""
        return problem.certificate(self.solution(problem, state))


def check_state(solver: Solver[Any, Any, Any], state: State) -> None:
    """Raise ``ValueError`` unless the state was made by this kind of solver."""
    if not isinstance(state, solver.state_type):
        raise ValueError(
            f"state: a {type(state).__name__} cannot be resumed by {type(solver).__name__}; "
            "use the solver that made it."
        )


def with_smoothing(
    certificate: Certificate, smoothed_objective: float, error: float
) -> Certificate:
    """Add to a certificate what a smoothed run descended and how far that is from the truth."""
    return replace(certificate, smoothed_objective=smoothed_objective, smoothing_error=error)
