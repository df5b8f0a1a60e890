"""The contract of a solver, and the one loop that drives them all."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from torch import Tensor

from proxmtl.result import Certificate, Result, Status
from proxmtl.stopping import Decision, Progress, Stop

__all__ = ["SOLVERS", "Callback", "Oracle", "Solver", "State", "run"]

logger = logging.getLogger("proxmtl")

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
    def counts(self) -> Any:
        """Object with ``passes``."""

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
    nested: ClassVar[dict[str, type[Saved]]] = {}
    """Fields that save themselves, such as other states, and their types."""

    def state_dict(self) -> dict[str, Any]:
        """Fields by name; tensors are cloned, nested states become dictionaries."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            name: value.state_dict() if name in self.nested else _clone(value)
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
        if set(fields) != known:
            raise ValueError(
                f"state: {cls.__name__} has fields {sorted(known)}, got {sorted(fields)}; load the "
                "state of the same solver."
            )
        values: dict[str, Any] = {
            name: cls.nested[name].from_state_dict(value) if name in cls.nested else _clone(value)
            for name, value in fields.items()
        }
        return cls(**values)


def _clone(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, (tuple, list)):
        return type(value)(_clone(item) for item in value)
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

    def certify(self, problem: P, state: S) -> Certificate:
        """Certificate at :meth:`solution`."""
        return problem.certificate(self.solution(problem, state))


def run(
    problem: P,
    solver: Solver[P, S, X],
    x0: X,
    stop: Stop,
    *,
    state: S | None = None,
    callback: Callback | None = None,
    log_every: int = 1,
    spent: float = 0.0,
) -> Result[X]:
    """Drive a solver until its stopping rule decides; shared by every solver.

    Parameters
    ----------
    problem, solver, x0, stop
        Checked before the first iteration.
    state : State, optional
        Resume from here (``x0`` is then not used).
    callback : callable, optional
        Called each ``log_every`` iterations; a true return value stops the run.
    log_every : int
        Iterations between records of the history.
    spent : float
        Passes made on the starting point, counted in.
    """
    solver.check(problem)
    begin, start_passes = time.perf_counter(), problem.counts.passes - spent
    history: list[dict[str, float]] = []
    if state is None:
        state = solver.init(problem, x0)
    else:
        check_state(solver, state)
        solver.check_resume(problem, state)
        # counts belong to the run, not to the process: a resumed run goes on where it was, and
        # what the first part found once is not counted again
        if solver.needs_curvature:
            problem.prepare()
        start_passes = problem.counts.passes - state.passes

    def progress_now(current: S) -> Progress:
        return Progress(
            iteration=current.iteration,
            passes=problem.counts.passes - start_passes,
            seconds=time.perf_counter() - begin,
            objective=current.objective,
            measure=lambda: solver.certify(problem, current),
            history=history,
            stalled=current.stalled,
        )

    progress = progress_now(state)
    decision = stop(progress)
    while decision is None:
        state = solver.step(problem, state)
        state.passes = problem.counts.passes - start_passes
        progress = progress_now(state)
        if not math.isfinite(state.objective):
            decision = Decision(Status.DIVERGED, f"objective is {state.objective}")
            break
        logged = state.iteration % log_every == 0
        if logged:
            history.append(_record(progress))
        decision = stop(progress)
        if decision is None and state.stalled:
            decision = Decision(Status.STALLED, f"after {state.iteration} iterations")
        if decision is not None and not logged:  # the last iteration is recorded and reported too
            logged = True
            history.append(_record(progress))
        interrupt = logged and callback is not None and bool(callback(progress))
        if decision is None and interrupt:
            decision = Decision(Status.INTERRUPTED, "the callback returned a true value")
    certificate = progress.certificate
    logger.debug("%s: %s, %s", type(solver).__name__, decision.status.name, certificate)
    return Result(
        solution=_clone(solver.solution(problem, state)),  # the state stays as it is
        status=decision.status,
        certificate=certificate,
        history=history,
        iterations=state.iteration,
        passes=progress.passes,
        seconds=progress.seconds,
        reason=decision.reason,
        state=state,
    )


def check_state(solver: Solver[Any, Any, Any], state: State) -> None:
    """Raise ``ValueError`` unless the state was made by this kind of solver."""
    if not isinstance(state, solver.state_type):
        raise ValueError(
            f"state: a {type(state).__name__} cannot be resumed by {type(solver).__name__}; "
            "use the solver that made it."
        )


def _record(progress: Progress) -> dict[str, float]:
    return {
        "iteration": progress.iteration,
        "passes": progress.passes,
        "seconds": progress.seconds,
        "objective": progress.objective,
    }


def with_smoothing(
    certificate: Certificate, smoothed_objective: float, error: float
) -> Certificate:
    """Add to a certificate what a smoothed run descended and how far that is from the truth."""
    return replace(certificate, smoothed_objective=smoothed_objective, smoothing_error=error)
