"""The contract of a solver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from proxmtl.counts import OracleCounts
from proxmtl.result import Certificate
from proxmtl.state import State
from proxmtl.stopping import Progress

__all__ = [
    "SOLVERS",
    "Callback",
    "ProblemProtocol",
    "Solver",
    "check_state",
    "with_smoothing",
]

SOLVERS: dict[str, type[Solver[Any, Any, Any]]] = {}
"""Every solver by class name, filled as subclasses are defined."""

Callback = Callable[[Progress], object]
"""Called after each check with the progress; a true return value stops the run."""

P = TypeVar("P", bound="ProblemProtocol")
S = TypeVar("S", bound="State")
X = TypeVar("X")


class ProblemProtocol(Protocol):
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
        if "state_type" in cls.__dict__:  # not a base of several solvers
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

    def resumed(self, problem: P, state: S) -> S:  # noqa: ARG002
        """State to go on from, given a checked one: without what another problem is known by."""
        return state

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
