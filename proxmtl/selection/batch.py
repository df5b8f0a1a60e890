"""Many convex problems on the same features, solved in one tensor program."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.designs import SharedDesign
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.result import Certificate, Result, Status
from proxmtl.selection.batch_fista import BatchData, BatchState, advance, start
from proxmtl.solvers.fista import FISTA, FISTAState
from proxmtl.stopping import Decision, MaxIterations, Progress, RelativeGap, RelativeKKT, Stop

__all__ = ["BATCH_SCORES", "certificates", "solve_batch"]

BATCH_SCORES = 1 << 24
"""Scores of one batch at most: 64 MiB in float32, of which about eight arrays are alive."""


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
        weights and penalties may differ: see :func:`with_strengths` and :func:`restricted`.
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
    return _Batch(given, solver, rules).run(torch.stack(starts, dim=1))


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
    live: list[int] = field(default_factory=list)
    histories: list[list[dict[str, float]]] = field(default_factory=list)

    def run(self, x0: Tensor) -> list[Result[Tensor]]:
        begin = time.perf_counter()
        count = len(self.problems)
        self.live, self.histories = list(range(count)), [[] for _ in range(count)]
        found: dict[int, Result[Tensor]] = {}
        data = BatchData.of(self.problems)
        state = start(data, self.problems, self.solver.step_rule, x0)
        iteration = 0
        while True:
            measured = _Measured(self, data, state)
            ended = self._ended(state, iteration, time.perf_counter() - begin, measured)
            for b, decision in ended.items():
                single = state.single(b, iteration)
                seconds = time.perf_counter() - begin
                found[self.live[b]] = self._package(b, single, decision, measured.all[b], seconds)
            if ended:
                keep = [b for b in range(len(self.live)) if b not in ended]
                self.live = [self.live[b] for b in keep]
                if not keep:
                    return [found[b] for b in range(count)]
                places = torch.tensor(keep)
                data, state = data.select(places), state.select(places)
            state = advance(data, self.solver, state)
            iteration += 1

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
            progress = Progress(
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
            if iteration:
                history.append(
                    {
                        "iteration": iteration,
                        "passes": passes,
                        "seconds": seconds,
                        "objective": objective,
                    }
                )
            decision = self.rules[self.live[b]](progress)
            if decision is None and stalled:
                decision = Decision(Status.STALLED, f"after {iteration} iterations")
            if decision is not None:
                ended[b] = decision
        return ended

    def _package(
        self,
        b: int,
        state: FISTAState,
        decision: Decision,
        certificate: Certificate,
        seconds: float,
    ) -> Result[Tensor]:
        counts = self.problems[self.live[b]].counts
        counts.forward += state.passes
        counts.adjoint += state.passes
        return Result(
            solution=state.x,
            status=decision.status,
            certificate=certificate,
            history=self.histories[self.live[b]],
            iterations=state.iteration,
            passes=state.passes,
            seconds=seconds,
            reason=decision.reason,
            state=state,
        )


@dataclass
class _Measured:
    """Certificates of the live problems at one iteration, computed together when one is read."""

    batch: _Batch
    data: BatchData
    state: BatchState

    @cached_property
    def all(self) -> list[Certificate]:
        problems = [self.batch.problems[b] for b in self.batch.live]
        return _certify(problems, self.data, self.state.x)

    def of(self, b: int) -> Callable[[], Certificate]:
        return lambda: self.all[b]


def _certify(problems: list[Problem], data: BatchData, points: Tensor) -> list[Certificate]:
    settled = [p.settled(w) for p, w in zip(problems, points.unbind(1), strict=True)]
    wide = torch.stack(settled, dim=1)
    scores = data.scores(wide)
    residuals = data.residuals(scores)
    grad = data.adjoint(residuals)
    dual, dual_grad = residuals, grad
    if data.design.intercept and any(p.has_gap for p in problems):
        pairs = zip(problems, residuals.unbind(1), strict=True)
        balanced = [p.balanced(r.contiguous()) if p.has_gap else r for p, r in pairs]
        dual = torch.stack(balanced, dim=1)
        dual_grad = data.adjoint(dual)
    out = []
    for b, problem in enumerate(problems):
        certificate = problem.certificate_from(
            wide[:, b].contiguous(),
            scores[:, b].contiguous(),
            residuals[:, b].contiguous(),
            grad[:, b].contiguous(),
            problem.gradient_scale,
            loss_at_zero=problem.loss_at_zero,
            dual=(dual[:, b].contiguous(), dual_grad[:, b].contiguous()),
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
        if problem.targets.labels.shape != first.targets.labels.shape:
            raise ValueError(f"problems: number {b} has labels of another shape than the first.")
