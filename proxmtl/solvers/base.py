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
"""Registry of the solvers by class name; subclasses register themselves."""

Callback = Callable[[Progress], object]
"""Called with the progress after an iteration; a true return value stops the run."""

P = TypeVar("P", bound="ProblemProtocol")
S = TypeVar("S", bound="State")
X = TypeVar("X")


class ProblemProtocol(Protocol):
    """What the loop needs of a problem, whatever the type of its parameter."""

    @property
    def counts(self) -> OracleCounts:
        """Counter to which products with the features are charged."""

    def check_point(self, point: Any, /) -> None:
        """Raise ``ValueError`` unless a point fits the problem."""

    def prepare(self) -> None:
        """Compute and cache per-problem constants, such as Lipschitz estimates."""

    def certificate(self, point: Any, /) -> Certificate:
        """Certificate of a point."""


class Solver(ABC, Generic[P, S, X]):
    """A frozen configuration with the methods ``init`` and ``step`` on an explicit state.

    ``step`` may return a new state or modify the given one, but never the caller's starting point.
    Certificates are measured at ``solution``, the point that the run would return.
    """

    state_type: ClassVar[type[State]]
    needs_curvature: ClassVar[bool] = True
    """Whether iterations use the problem's Lipschitz constant; a resumed run then recomputes it."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "state_type" in cls.__dict__:  # an abstract base of several solvers has none
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
        """Point that the run returns if it stops after this state."""

    def check_resume(self, problem: P, state: S) -> None:
        """Raise ``ValueError`` unless a state of this solver fits the problem's shapes."""
        problem.check_point(self.solution(problem, state))

    def resumed(self, problem: P, state: S) -> S:  # noqa: ARG002
        """State to go on from, given a checked one: without what another problem is known by."""
        return state

    def bound(self, problem: P, state: S) -> float:  # noqa: ARG002
        """Upper bound on the objective at :meth:`solution`; takes no product."""
        return state.objective

    def start_claim(self, problem: P, state: S) -> float:
        """Lower bound on the objective at the starting point, from the state of ``init``.

        At the end of the run, the starting point is measured (and possibly returned) if the
        solution has a larger objective than this bound.
        """
        return self.bound(problem, state)

    def certify(self, problem: P, state: S) -> Certificate:
        """Certificate of :meth:`solution`."""
        return problem.certificate(self.solution(problem, state))


def check_state(solver: Solver[Any, Any, Any], state: State) -> None:
    """Raise ``ValueError`` unless the state was made by a solver of this class."""
    if not isinstance(state, solver.state_type):
        raise ValueError(
            f"state: a {type(state).__name__} cannot be resumed by {type(solver).__name__}; "
            "use the solver that made it."
        )


def with_smoothing(
    certificate: Certificate, smoothed_objective: float, error: float
) -> Certificate:
    """Add the smoothed objective and a bound on its smoothing error to a certificate."""
    return replace(certificate, smoothed_objective=smoothed_objective, smoothing_error=error)
