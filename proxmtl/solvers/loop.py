"""The one loop that drives all solvers."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from proxmtl.counts import OutOfPassesError
from proxmtl.ranks import ALONE, Ranks
from proxmtl.result import Certificate, Result, Status
from proxmtl.solvers.base import Callback, ProblemProtocol, Solver, check_state
from proxmtl.solvers.checkpoints import Snapshot
from proxmtl.solvers.identity import check_data, data_figures
from proxmtl.solvers.lowest import Candidate, Point, lowest
from proxmtl.state import State, cloned
from proxmtl.stopping import Decision, Progress, Stop
from proxmtl.threads import in_few_threads

__all__ = ["Keeper", "has_own_step", "judged", "null_candidates", "run"]

logger = logging.getLogger(__name__)

P = TypeVar("P", bound=ProblemProtocol)
S = TypeVar("S", bound=State)
X = TypeVar("X")


@in_few_threads
def run(
    problem: P,
    solver: Solver[P, S, X],
    x0: X,
    stop: Stop,
    *,
    state: S | None = None,
    snapshot: Snapshot | None = None,
    callback: Callback | None = None,
    log_every: int = 1,
    spent: float = 0.0,
    null: bool = True,
    keeper: Keeper | None = None,
) -> Result[X]:
    """Run a solver until a stopping rule, the callback or the limit of passes ends the run.

    The solution is the last iterate, unless a candidate has a lower objective: the starting point,
    zero weights with the best intercepts (the null point), or, if the requested accuracy was not
    reached, another iterate. The state is always that of the last iterate.

    Parameters
    ----------
    problem, solver, x0, stop
        Checked before the first iteration.
    state : State, optional
        State of an earlier run from which to resume; ``x0`` is then not used.
    snapshot : Snapshot, optional
        A run that was interrupted, to go on with; it has its own start.
    callback : callable, optional
        Called every ``log_every`` iterations; a true return value stops the run.
    log_every : int
        Iterations between records of the history; iterations marked as long are all recorded.
    spent : float
        Passes that were made to find ``x0``; they count as passes of this run.
    null : bool
        Whether the null point is a candidate. False for a run inside an outer solver, which would
        otherwise continue from zero weights.
    keeper : Keeper, optional
        Saves snapshots of the run.
    """
    solver.check(problem)
    loop = _Loop(problem, solver, stop, callback, log_every, null, keeper)
    if snapshot is not None:
        state = loop.continued(snapshot)
        x0 = snapshot.start
    asked = [*map(_text, (solver, stop, getattr(problem, "loss", None)))]
    asked += [*map(_text, getattr(problem, "regularizers", ()))]
    loop.ranks.check_equal("solve", (asked, "anew" if state is None else "resumed"))
    start_passes = problem.counts.passes - spent
    if state is not None:
        check_state(solver, state)
        solver.check_resume(loop.view, state)
        with loop.ranks.together():
            check_data(state, problem, loop.view)
        state = solver.resumed(loop.view, state)
        # counts belong to the run, not to the process: a resumed run continues the earlier count,
        # and constants that the first part has computed are not counted again
        if solver.needs_curvature:
            loop.view.prepare()
        start_passes = problem.counts.passes - state.passes
    else:
        problem.check_point(x0)  # before the view of the problem, which may take a product
    loop.start_passes, loop.start = start_passes, x0
    resumed = state is not None
    with problem.counts.limited(stop.most_passes - loop.passes):
        if state is None:
            try:
                state = solver.init(loop.view, _inside(loop.view, x0))
            except OutOfPassesError:
                return loop.unstarted(x0)
        if snapshot is None:
            # only this number is kept of the first state, which then can be freed
            loop.claim = solver.start_claim(loop.view, state)
        lowest_state: Any = None if snapshot is None else snapshot.best
        last, best, progress, decision = loop.descend(state, lowest_state)
    if keeper is not None and keeper.due(progress.seconds, ended=True):
        loop.keep(last, best, progress)
    candidates: list[Candidate[X]] = []
    if snapshot is not None or not resumed:
        start = cloned(x0)
        measure = lambda: (start, problem.certificate(start))  # noqa: E731
        candidates.append(Candidate(loop.claim, measure, "the start"))
    if best is not last and not decision.status.ok:
        name = f"iterate {best.iteration}, the lowest seen"
        bound = solver.bound(loop.view, best)
        candidates.append(Candidate(bound, lambda: loop.measured(best), name))
    if loop.reached is not None:
        reached = _outside(loop.view, loop.reached)
        certificate = problem.certificate(reached)
        name = "that of an iteration that was broken off"
        candidates.append(Candidate(certificate.objective, lambda: (reached, certificate), name))
    return loop.result(last, progress, decision, candidates)


class Keeper(Protocol):
    """What saves snapshots of a run."""

    def due(self, seconds: float, *, ended: bool = False) -> bool:
        """Whether to save one now, ``seconds`` after the start, or at the end of the run."""

    def save(self, snapshot: Snapshot) -> None:
        """Save one."""


@dataclass
class _Loop(Generic[P, S, X]):
    """A run: problem, solver and rules, with its history so far."""

    problem: P
    solver: Solver[P, S, X]
    stop: Stop
    callback: Callback | None
    log_every: int
    null: bool
    keeper: Keeper | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    begin: float = field(default_factory=time.perf_counter)
    start_passes: float = 0.0
    start: X | None = None
    claim: float = math.inf
    reached: X | None = None

    @cached_property
    def view(self) -> P:
        """The problem that the solver sees: with its intercept rescaled (:meth:`Problem.in_units`).

        It is the original problem if the user has given a step length, which refers to that.
        """
        if not hasattr(self.problem, "in_units") or has_own_step(self.solver):
            return self.problem
        view: P = self.problem.in_units()
        return view

    @property
    def ranks(self) -> Ranks:
        """Processes that run this loop together."""
        ranks: Ranks = getattr(getattr(self.problem, "data", None), "ranks", ALONE)
        return ranks

    @cached_property
    def heard(self) -> bool:
        """Whether any rank has a callback, which may stop the run."""
        return bool(self.ranks.largest(self.callback is not None))

    @property
    def passes(self) -> float:
        return self.problem.counts.passes - self.start_passes

    def progress(self, state: S) -> Progress:
        return Progress(
            iteration=state.iteration,
            passes=self.passes,
            # rules read one clock, so that all ranks stop at the same iteration
            seconds=self.ranks.largest(time.perf_counter() - self.begin),
            objective=state.objective,
            measure=lambda: self.solver.certify(self.view, state),
            history=self.history,
            stalled=state.stalled,
            long=state.long,
            estimated=state.estimates,
        )

    def continued(self, snapshot: Snapshot) -> S:
        """Take over the history and the clock of an interrupted run; return its last state."""
        self.history += snapshot.history
        self.begin -= snapshot.seconds
        self.claim = snapshot.claim
        state: S = snapshot.state  # type: ignore[assignment]
        return state

    def descend(self, state: S, best: S | None = None) -> tuple[S, S, Progress, Decision]:
        """Iterate; return the last state, the state of lowest objective, progress and decision.

        ``best`` is the state of lowest objective of an interrupted run, which may have ended.
        """
        solver, view = self.solver, self.view
        progress = self.progress(state)
        if state.iteration == 0 and math.isfinite(progress.objective):  # a start may be infeasible
            self.history.append(_record(progress))
        decision = self.stop(progress) if best is None else self._decided(progress)
        if best is None or best.iteration == state.iteration:
            best = state
        lowest_seen = solver.bound(view, best)
        while decision is None:
            try:
                state = solver.step(view, state)
            except OutOfPassesError as error:
                decision, self.reached = self._out_of_passes, error.reached
                self._report(state, progress)
                break
            state.passes = self.passes
            progress = self.progress(state)
            if not math.isfinite(state.objective):
                decision = Decision(Status.DIVERGED, f"objective is {state.objective}")
                break
            bound = solver.bound(view, state)
            if not bound >= lowest_seen:
                best, lowest_seen = state, bound
            decision = self._checked(state, best, progress)
        return state, best, progress, decision

    def _decided(self, progress: Progress) -> Decision | None:
        decision = self.stop(progress)
        if decision is None and progress.at_rounding:
            return Decision(Status.STALLED, f"after {progress.iteration} iterations")
        return decision

    def _checked(self, state: S, best: S, progress: Progress) -> Decision | None:
        """Record the iteration, apply the stopping rule, and call the callback."""
        logged = state.long or state.iteration % self.log_every == 0
        if logged:
            self.history.append(_record(progress))
        decision = self._decided(progress)
        if decision is not None and not logged:  # the last iteration is recorded and reported too
            logged = True
            self.history.append(_record(progress))
        interrupt = logged and self.callback is not None and bool(self.callback(progress))
        if decision is None and interrupt:
            decision = Decision(Status.INTERRUPTED, "the callback returned a true value")
        if self.heard:
            decision = self.ranks.agreed(decision)
        if decision is None and self.keeper is not None and self.keeper.due(progress.seconds):
            self.keep(state, best, progress)
        return decision

    def keep(self, state: S, best: S, progress: Progress) -> None:
        """Save a snapshot."""
        assert self.keeper is not None
        marked = replace(state, data=self.figures)
        kept = marked, best, self.start, self.claim, self.history, progress.seconds
        self.keeper.save(Snapshot(*kept))

    @cached_property
    def figures(self) -> dict[str, float]:
        """Checksums of the data, by which a state recognises them."""
        return data_figures(self.problem, self.view)

    def _report(self, state: S, progress: Progress) -> None:
        """Record the last iteration and report it, if that has not been done."""
        known = self.history[-1]["iteration"] if self.history else 0
        if state.iteration % self.log_every and not state.long and state.iteration > known:
            self.history.append(_record(progress))
            if self.callback is not None:
                self.callback(progress)

    @property
    def _out_of_passes(self) -> Decision:
        # the limit of this run, or a tighter one of an outer run
        limit = min(self.stop.most_passes, self.problem.counts.limit - self.start_passes)
        return Decision(Status.BUDGET, f"{limit:g} passes")

    def measured(self, state: S) -> tuple[X, Certificate]:
        """Solution of a state, converted to the caller's problem, and its certificate."""
        solution = _outside(self.view, self.solver.solution(self.view, state))
        return cloned(solution), self.solver.certify(self.view, state)

    def result(
        self, state: S, progress: Progress, decision: Decision, candidates: list[Candidate[X]]
    ) -> Result[X]:
        """Choose the point to return."""
        passes = self.passes
        solution = cloned(_outside(self.view, self.solver.solution(self.view, state)))
        last = Point(solution, progress.certificate, Point.last)
        found = lowest(last, [*candidates, *self._null(solution)])
        decision = judged(decision, found, progress, self.stop)
        if self.null:  # not inside an outer run: the state may be saved by the user
            state = replace(state, data=self.figures)
        kind = type(self.solver).__name__
        logger.debug("%s: %s, %s", kind, decision.status.name, found.certificate)
        return self._package(found, decision, state, passes, progress.seconds)

    def _null(self, like: X) -> list[Candidate[X]]:
        return null_candidates(self.problem, like) if self.null else []

    def unstarted(self, x0: X) -> Result[X]:
        """Result of a run whose budget is used up before the first iteration."""
        passes, start = self.passes, cloned(x0)
        given = Point(start, self.problem.certificate(start), "the start")
        found = lowest(given, self._null(start))
        state = State(0, found.certificate.objective, stalled=False, passes=passes)
        seconds = time.perf_counter() - self.begin
        return self._package(found, self._out_of_passes, state, passes, seconds)

    def _package(
        self, found: Point[X], decision: Decision, state: State, passes: float, seconds: float
    ) -> Result[X]:
        return Result(
            solution=found.solution,
            status=decision.status,
            certificate=found.certificate,
            history=self.history,
            iterations=state.iteration,
            passes=passes,
            seconds=seconds,
            reason=decision.reason,
            state=state,
            returned=found.name,
            has_intercept=bool(getattr(getattr(self.problem, "design", None), "intercept", False)),
            solver=type(self.solver).__name__,
        )


def judged(decision: Decision, found: Point[Any], progress: Progress, stop: Stop) -> Decision:
    """Apply the rule to the returned point, if accuracy was reached at the last iterate instead."""
    if found.name == Point.last or not decision.status.ok:
        return decision
    there = replace(
        progress, objective=found.certificate.objective, measure=lambda: found.certificate
    )
    again = stop(there)
    if again is not None and again.status.ok:
        return again
    return Decision(
        Status.BUDGET,
        f"{decision.reason} at the last iterate, but {found.name} is lower: start from there",
    )


def null_candidates(problem: Any, like: X) -> list[Candidate[X]]:
    """Null point (zero weights, best intercepts) as a candidate, if the problem can compute it."""
    found = problem.null(like) if hasattr(problem, "null") else None
    if found is None:
        return []
    point, claim = found
    return [Candidate(claim, lambda: (point, problem.certificate(point)), Point.null)]


def has_own_step(part: Any) -> bool:
    """Whether the user gave a step length to a solver or to one of its parts."""
    if getattr(part, "first", None) is not None:
        return True
    fields = dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()
    return any(has_own_step(getattr(part, f.name)) for f in fields)


def _text(thing: object) -> str:
    """An object in words; its class alone where its repr is an address."""
    own = type(thing).__repr__ is not object.__repr__
    return repr(thing) if own else type(thing).__name__


def _inside(view: Any, point: X) -> X:
    moved: X = view.inside(point) if hasattr(view, "inside") else point
    return moved


def _outside(view: Any, point: X) -> X:
    moved: X = view.outside(point) if hasattr(view, "outside") else point
    return moved


def _record(progress: Progress) -> dict[str, float]:
    return {
        "iteration": progress.iteration,
        "passes": progress.passes,
        "seconds": progress.seconds,
        "objective": progress.objective,
    }
