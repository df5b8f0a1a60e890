"""Many convex problems on the same features, solved in one tensor program."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.counts import ROUNDING
from proxmtl.designs import SharedDesign
from proxmtl.minimization import minimize
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.result import Certificate, Result, Status
from proxmtl.selection.batch_fista import BatchData, BatchState, Seen, advance, start
from proxmtl.solvers.fista import FISTA, FISTAState
from proxmtl.solvers.identity import data_figures
from proxmtl.solvers.loop import has_own_step, judged, null_candidates
from proxmtl.solvers.lowest import Candidate, Point, lowest
from proxmtl.stopping import Decision, MaxIterations, Progress, RelativeGap, RelativeKKT, Stop

__all__ = ["BATCH_SCORES", "certificates", "solve_batch"]

BATCH_SCORES = 1 << 24
"""Scores of one batch at most: 64 MiB in float32, of which about eight arrays are alive."""


STARTING = 2.0
"""Passes before the first iteration: scores, gradient and a probe."""


def solve_batch(
    problems: Sequence[Problem],
    solver: FISTA | None = None,
    x0: Sequence[Tensor] | None = None,
    stop: Stop | None = None,
) -> list[Result[Tensor]]:
    """Minimise many problems on one set of features, as :func:`minimize` would one by one.

    Strengths, folds and tasks are columns of one parameter: ``W`` (D, B M) and scores (N, B M), so
    that every iteration makes two large products in place of ``2 B`` small ones. Folds are sample
    weights, 0 for what is held out. Every problem has its own step, momentum, restart, stop and
    certificate; a finished one is dropped from the products.

    Parameters
    ----------
    problems : sequence of Problem
        With the same :class:`SharedDesign` object, an equal loss and targets of one shape. Labels,
        weights and penalties may differ: see :func:`with_strengths` and :func:`restrict_samples`.
    solver : FISTA, optional
    x0 : sequence of Tensor, optional
        A start for each problem; default zero. Not modified.
    stop : Stop, optional
        Applied to each problem by itself. Default ``RelativeGap(1e-6) | MaxIterations(2000)``,
        with ``RelativeKKT`` where a problem has no gap.

    Returns
    -------
    list of Result
        In the order of the problems; ``passes`` are those of the problem itself, ``seconds`` run
        from the start of the batch, and ``state`` can be resumed by :func:`minimize`.

    Raises
    ------
    ValueError
        If the problems do not share design, loss and shape, or a start does not fit.
    UnsupportedError
        For designs other than :class:`SharedDesign`, for smoothed problems, and for penalties that
        are not convex.
    """
    given = list(problems)
    solver = FISTA() if solver is None else solver
    for problem in given:
        solver.check(problem)
    _check(given)
    rules = [stop or _default_stop(problem) for problem in given]
    starts = [p.zeros() for p in given] if x0 is None else [x.to(given[0].zeros()) for x in x0]
    if len(starts) != len(given):
        raise ValueError(f"x0: got {len(starts)} starts for {len(given)} problems.")
    for problem, x in zip(given, starts, strict=True):
        problem.check_point(x)
    found: list[Result[Tensor] | None] = [None] * len(given)
    for b, rule in enumerate(rules):
        if rule.most_passes < STARTING:  # what is to be said of the start is said one by one
            found[b] = minimize(given[b], solver, starts[b], rule)
    rest = [b for b, result in enumerate(found) if result is None]
    if rest:
        batch = _Batch([given[b] for b in rest], solver, [rules[b] for b in rest])
        solved = batch.run(torch.stack([starts[b] for b in rest], dim=1))
        found = [result or solved.pop(0) for result in found]
    return [result for result in found if result is not None]


def certificates(problems: Sequence[Problem], points: Tensor) -> list[Certificate]:
    """Certificate of each problem at its own point ``points[:, b]``, measured in float64.

    The products with the features are made for all problems together.
    """
    given = list(problems)
    _check(given)
    return _certify(given, BatchData.of(given), points)


@dataclass
class _Batch:
    """The loop: problems, and the places of those that are still running."""

    problems: list[Problem]
    solver: FISTA
    rules: list[Stop]
    views: list[Problem] = field(default_factory=list)
    starts: list[tuple[Tensor, float]] = field(default_factory=list)
    live: list[int] = field(default_factory=list)
    histories: list[list[dict[str, float]]] = field(default_factory=list)

    def run(self, x0: Tensor) -> list[Result[Tensor]]:
        begin = time.perf_counter()
        count = len(self.problems)
        self.live, self.histories = list(range(count)), [[] for _ in range(count)]
        found: dict[int, Result[Tensor]] = {}
        # solved in units in which features of any scale are alike, as one by one
        own = has_own_step(self.solver)
        self.views = self.problems if own else [p.in_units() for p in self.problems]
        inside = [view.inside(x) for view, x in zip(self.views, x0.unbind(1), strict=True)]
        data = BatchData.of(self.views)
        state = start(data, self.views, self.solver.step_rule, torch.stack(inside, dim=1))
        seen = Seen(state.x, state.objective)
        self.starts = list(zip(x0.unbind(1), state.objective.tolist(), strict=True))
        iteration = 0
        while True:
            measured = _Measured(self, data, state)
            ended = self._ended(state, iteration, time.perf_counter() - begin, measured)
            for b, decision in ended.items():
                single = state.single(b, iteration)
                progress = measured.progress[b]
                lower = self._candidates(b, seen, decision)
                found[self.live[b]] = self._package(b, single, decision, progress, lower)
            if ended:
                keep = [b for b in range(len(self.live)) if b not in ended]
                self.live = [self.live[b] for b in keep]
                if not keep:
                    return [found[b] for b in range(count)]
                places = torch.tensor(keep)
                data, state, seen = data.select(places), state.select(places), seen.select(places)
            state = advance(data, self.solver, state, self._limits())
            seen = seen.with_state(state)
            iteration += 1

    def _limits(self) -> Tensor:
        """Passes that each live problem may make."""
        return torch.tensor([self.rules[i].most_passes for i in self.live], dtype=torch.float64)

    def _candidates(self, b: int, seen: Seen, decision: Decision) -> list[Candidate[Tensor]]:
        """Points that may be lower than the last one, as :func:`run` looks at them."""
        problem, view = self.problems[self.live[b]], self.views[self.live[b]]

        def of(point: Tensor, claim: float, name: str) -> Candidate[Tensor]:
            return Candidate(claim, lambda: (point, problem.certificate(point)), name)

        start, claim = self.starts[self.live[b]]
        candidates = [of(start.clone(), claim, "the start")]
        if not decision.status.ok:
            best = view.outside(seen.x[:, b].clone())
            candidates.append(of(best, float(seen.objective[b]), "an iterate, the lowest seen"))
        return candidates

    def _ended(
        self, state: BatchState, iteration: int, seconds: float, measured: _Measured
    ) -> dict[int, Decision]:
        """Positions among the live problems that stop now, and why."""
        ended: dict[int, Decision] = {}
        figures = zip(
            state.objective.tolist(), state.passes.tolist(), state.stalled.tolist(), strict=True
        )
        for b, (objective, passes, stalled) in enumerate(figures):
            history = self.histories[self.live[b]]
            limit = self.rules[self.live[b]].most_passes
            progress = measured.progress[b] = Progress(
                iteration=iteration,
                passes=passes,
                seconds=seconds,
                objective=objective,
                measure=measured.of(b),
                history=history,
                stalled=stalled,
            )
            if not math.isfinite(objective):
                ended[b] = Decision(Status.DIVERGED, f"objective is {objective}")
                continue
            history.append(
                {
                    "iteration": iteration,
                    "passes": passes,
                    "seconds": seconds,
                    "objective": objective,
                }
            )
            decision = self.rules[self.live[b]](progress)
            if decision is None and passes + 1 > limit + ROUNDING:  # no iteration fits in
                decision = Decision(Status.BUDGET, f"{limit:g} passes")
            if decision is None and progress.at_rounding:
                decision = Decision(Status.STALLED, f"after {iteration} iterations")
            if decision is not None:
                ended[b] = decision
        return ended

    def _package(
        self,
        b: int,
        state: FISTAState,
        decision: Decision,
        progress: Progress,
        lower: list[Candidate[Tensor]],
    ) -> Result[Tensor]:
        problem, view = self.problems[self.live[b]], self.views[self.live[b]]
        solution = view.outside(state.x.clone())
        last = Point(solution, progress.certificate, Point.last)
        found = lowest(last, [*lower, *null_candidates(problem, solution)])
        decision = judged(decision, found, progress, self.rules[self.live[b]])
        counts = problem.counts
        counts.forward += state.passes
        counts.adjoint += state.passes
        return Result(
            solution=found.solution,
            status=decision.status,
            certificate=found.certificate,
            history=self.histories[self.live[b]],
            iterations=state.iteration,
            passes=state.passes,
            seconds=progress.seconds,
            reason=decision.reason,
            state=replace(state, data=data_figures(problem)),
            returned=found.name,
            has_intercept=problem.design.intercept,
            solver=type(self.solver).__name__,
        )


@dataclass
class _Measured:
    """Certificates of the live problems at one iteration, computed together when one is read."""

    batch: _Batch
    data: BatchData
    state: BatchState
    progress: dict[int, Progress] = field(default_factory=dict)

    @cached_property
    def all(self) -> list[Certificate]:
        live = self.batch.live
        problems = [self.batch.problems[b] for b in live]
        points = [
            self.batch.views[b].outside(x)
            for b, x in zip(live, self.state.x.unbind(1), strict=True)
        ]
        design = problems[0].design
        assert isinstance(design, SharedDesign)
        plain = replace(self.data, design=design)
        return _certify(problems, plain, torch.stack(points, dim=1))

    def of(self, b: int) -> Callable[[], Certificate]:
        return lambda: self.all[b]


def _certify(problems: list[Problem], data: BatchData, points: Tensor) -> list[Certificate]:
    settled = [p.settled(w) for p, w in zip(problems, points.unbind(1), strict=True)]
    wide = torch.stack(settled, dim=1)
    balance = data.design.intercept and any(p.has_gap for p in problems)
    out = []
    for point, problem, at in zip(
        wide.unbind(1), problems, data.measured(wide, problems, balance=balance), strict=True
    ):
        problem.counts.certificates += 1 / len(problems)
        certificate = problem.certificate_from(
            point.contiguous(), at, problem.gradient_scale, loss_at_zero=problem.loss_at_zero
        )
        out.append(replace(certificate, solved_in=str(points.dtype).removeprefix("torch.")))
    return out


def _default_stop(problem: Problem) -> Stop:
    accuracy = RelativeGap(1e-6) if problem.has_gap else RelativeKKT(1e-6)
    return accuracy | MaxIterations(2000)


def _check(problems: list[Problem]) -> None:
    if not problems:
        raise ValueError("problems: empty; give at least one.")
    first = problems[0]
    if not isinstance(first.design, SharedDesign):
        raise UnsupportedError(
            f"solve_batch takes problems on a SharedDesign, not a {type(first.design).__name__}; "
            "use minimize on each."
        )
    for b, problem in enumerate(problems):
        if problem.smooth_terms:
            raise UnsupportedError(
                f"problems: number {b} has smoothed terms; give it unsmoothed, or use minimize."
            )
        if problem.design is not first.design:
            raise ValueError(f"problems: number {b} has another design object than the first.")
        if problem.loss != first.loss:
            raise ValueError(
                f"problems: number {b} has the loss {problem.loss!r}, not the first's."
            )
        if problem.targets.shape != first.targets.shape:
            raise ValueError(f"problems: number {b} has labels of another shape than the first.")
