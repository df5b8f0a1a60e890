"""Tuning of all strengths at once by hypergradients, from warm and inexact solves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proxmtl.counts import OutOfPassesError
from proxmtl.minimization import minimize
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.result import Result
from proxmtl.selection.edges import Edge, EdgeWarning, edges_of
from proxmtl.selection.hypergradient import Criterion, hypergradient, judged
from proxmtl.selection.strengths import check_strengths, with_strengths
from proxmtl.selection.trust_region import TrustRegion
from proxmtl.stopping import MaxIterations, MaxPasses, RelativeGap, RelativeKKT, Stop
from proxmtl.wording import warn

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tuning", "TuningTrial", "tune"]

ROUGHEST = 1e-3
"""Accuracy of the first solves; later ones are more accurate as the strengths settle."""
LEAST = 5.0
"""Passes below which a trial is not worth its while: a start, an iteration, a hypergradient."""
LINEAR_SYSTEM = 1e-3
"""Relative accuracy of the linear system of a hypergradient; the direction is all that is used."""


@dataclass(frozen=True)
class TuningTrial:
    """One evaluation of the criterion.

    Attributes
    ----------
    strengths : tuple of float
    value : float
        Of the criterion.
    gradient : tuple of float
        With respect to the log-strengths.
    passes : float
        Over the training data, from the start of the tuning to the end of this trial.
    accuracy : float
        To which the problem was solved.
    status : str
        Name of the solve's :class:`Status`.
    """

    strengths: tuple[float, ...]
    value: float
    gradient: tuple[float, ...]
    passes: float
    accuracy: float
    status: str


@dataclass(frozen=True)
class Tuning:
    """Result of :func:`tune`.

    Attributes
    ----------
    strengths : tuple of float
        Those of the trial with the lowest criterion.
    value : float
        The criterion there.
    result : Result
        The solution there, as accurate as that trial was.
    trials : list of TuningTrial
    passes : float
        Over the training data, all trials together.
    reason : str
        Why it ended.
    edges : list of Edge
        Strengths that were the only ones tried; or, where the budget ended the search, the lowest
        or the highest tried: it was still on its way.
    """

    strengths: tuple[float, ...]
    value: float
    result: Result[Tensor] = field(repr=False)
    trials: list[TuningTrial] = field(repr=False)
    passes: float
    reason: str
    edges: list[Edge] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """One line per trial: ``strength_0``, ..., ``value``, ``passes``, ``tol``, ``status``.

        ``tol`` is the accuracy to which the problem was solved, and no score.
        """
        import pandas as pd  # noqa: PLC0415 - heavy

        return pd.DataFrame(
            [
                {
                    **dict(_named(trial.strengths)),
                    "value": trial.value,
                    "passes": trial.passes,
                    "tol": trial.accuracy,
                    "status": trial.status,
                }
                for trial in self.trials
            ]
        )


def tune(
    problem: Problem,
    criterion: Criterion,
    strengths: Sequence[float] | None = None,
    *,
    max_passes: float = 2000,
    max_trials: int = 100,
    accuracy: float = 1e-6,
    first_step: float = math.log(10),
    restarts: int | None = None,
    callback: Callable[[TuningTrial], object] | None = None,
) -> Tuning:
    """Minimise a criterion of the solution over the logarithms of all strengths.

    Every trial solves the problem from the best solution so far and takes its
    :func:`hypergradient`; a quasi-Newton trust region in the log-strengths proposes the next. A
    grid needs a number of solves that is exponential in the number of strengths, this does not. The
    criterion is not convex in the strengths: a descent ends in a local minimum near its start,
    which is why there are restarts.

    Parameters
    ----------
    problem : Problem
        The training problem, with penalties that :func:`hypergradient` takes.
    criterion : callable
        ``W -> (value, gradient)``, lower is better: ``validation.smooth_value_and_grad`` of a
        problem without penalties on held-out samples.
    strengths : sequence of float, optional
        Where to start, one for each penalty, ``> 0``; default: the problem's own. Where the
        solution is zero there is no slope, so such a start is divided by 3 until it is not.
    max_passes : float
        Budget of passes over the training data, those of the hypergradients included; none is made
        beyond it.
    max_trials : int
        Budget of trials.
    accuracy : float
        Relative gap (or residual, where there is no gap) of the last solves; the first ones are
        rough.
    first_step : float
        Length of the first step in the log-strengths; default a factor of 10.
    restarts : int, optional
        When a descent has ended and budget is left, start again with one strength (the first, then
        the second, ...) divided by 30. Default: once for each strength.
    callback : callable, optional
        Called with each trial; a true return value ends the tuning.

    Returns
    -------
    Tuning
        The best trial, by the criterion's own value.

    Raises
    ------
    ValueError
        If there are no penalties, or a strength is not positive.
    UnsupportedError
        As :func:`hypergradient`, and if every start tried has a zero solution.

    Warns
    -----
    EdgeWarning
        If the budget ended the search where it had tried one value, or at an edge of those tried.

    References
    ----------
    Bertrand et al., "Implicit differentiation for fast hyperparameter selection in non-smooth
    convex learning", 2022; Pedregosa, "Hyperparameter optimization with approximate gradient",
    2016.
    """
    given = [r.strength for r in problem.regularizers] if strengths is None else strengths
    start = check_strengths(given)
    if len(start) != len(problem.regularizers) or min(start) <= 0:
        raise ValueError(
            f"strengths: got {start} for {len(problem.regularizers)} penalties; give one each, "
            "positive, since it is their logarithms that are tuned."
        )
    if not (max_passes > 0 and max_trials >= 1 and accuracy > 0 and first_step > 0):
        raise ValueError(
            f"max_passes, max_trials, accuracy, first_step: got {max_passes}, {max_trials}, "
            f"{accuracy}, {first_step}; all must be positive."
        )
    run = _Run(
        problem,
        criterion,
        max_passes=max_passes,
        max_trials=max_trials,
        accuracy=accuracy,
        callback=callback,
    )
    point = torch.tensor([math.log(s) for s in start], dtype=torch.float64)
    point = _with_slope(run, point)
    reason = run.descend(TrustRegion(first_step), point, run.trials[-1])
    count = len(start) if restarts is None else restarts
    for number in range(count):
        if run.over is not None:
            break
        elsewhere = point.clone()
        elsewhere[number % len(start)] -= math.log(30) * (1 + number // len(start))
        run.current = ROUGHEST
        reason = run.descend(TrustRegion(first_step), elsewhere, run.evaluate(elsewhere))
    best = run.trials[run.best]
    edges: list[Edge] = []
    if run.exhausted:  # a descent that ended by itself has looked around
        edges = edges_of([dict(_named(trial.strengths)) for trial in run.trials], run.best)
    for edge in edges:
        warn(f"tune: {edge} The budget ended it: {run.over}.", EdgeWarning)
    return Tuning(
        strengths=best.strengths,
        value=best.value,
        result=run.kept,
        trials=run.trials,
        passes=run.passes,
        reason=run.over or reason,
        edges=edges,
    )


def _named(strengths: Sequence[float]) -> list[tuple[str, float]]:
    return [(f"strength_{j}", strength) for j, strength in enumerate(strengths)]


def _with_slope(run: _Run, point: Tensor) -> Tensor:
    """The start, or one below it at which the solution is not zero; its trial is the last."""
    while True:
        trial = run.evaluate(point)
        if any(trial.gradient) or run.exhausted:
            return point
        if run.over is not None or len(run.trials) > 12:
            raise UnsupportedError(
                f"tune: the criterion has no slope at any of the {len(run.trials)} starts tried, "
                f"down to {trial.strengths}; start from smaller strengths."
            )
        point = point - math.log(3)


class _Run:
    """Trials made so far, and the warm start for the next."""

    def __init__(
        self,
        problem: Problem,
        criterion: Criterion,
        *,
        max_passes: float,
        max_trials: int,
        accuracy: float,
        callback: Callable[[TuningTrial], object] | None,
    ) -> None:
        self.problem, self.criterion, self.callback = problem, criterion, callback
        self.max_passes, self.max_trials, self.accuracy = max_passes, max_trials, accuracy
        self.spent = problem.counts.passes
        self.current = ROUGHEST
        self.trials: list[TuningTrial] = []
        self.best = 0
        self.over: str | None = None
        self.exhausted = False
        self.warm: tuple[Tensor, Tensor | None] | None = None
        self.kept: Result[Tensor]
        self.last: tuple[Result[Tensor], Tensor | None]

    @property
    def passes(self) -> float:
        return self.problem.counts.passes - self.spent

    def descend(self, region: TrustRegion, point: Tensor, trial: TuningTrial) -> str:
        """Follow the region from a point with its trial; say why it ended."""
        while True:
            gradient = torch.tensor(trial.gradient, dtype=torch.float64)
            if region.tell(point, trial.value, gradient):
                self._warm_start()
            proposed = region.propose()
            if self.over is not None:
                return self.over
            if proposed is None:
                return "no step promises a gain"
            point, trial = proposed, self.evaluate(proposed)

    def evaluate(self, point: Tensor) -> TuningTrial:
        strengths = tuple(math.exp(p) for p in point.tolist())
        at = with_strengths(self.problem, strengths)
        start, guess = self.warm if self.warm is not None else (None, None)
        rule = RelativeGap if at.has_gap else RelativeKKT
        left = self.max_passes - self.passes
        stop: Stop = rule(self.current, every=5) | MaxIterations(5000) | MaxPasses(left)
        result: Result[Tensor] = minimize(at, x0=start, stop=stop)
        multiplier: Tensor | None = None
        with self.problem.counts.limited(self.max_passes - self.passes):
            try:
                slope = hypergradient(
                    at,
                    result.solution,
                    self.criterion,
                    tolerance=LINEAR_SYSTEM,
                    max_products=max(1, int(min(200.0, self.max_passes - self.passes - 2))),
                    guess=guess,
                )
            except OutOfPassesError:  # the value alone, and no way to go on
                value, _ = judged(self.criterion, result.solution.to(torch.float64))
                gradient = (0.0,) * len(strengths)
                self.exhausted = True
            else:
                value, multiplier = slope.value, slope.multiplier
                gradient = tuple(slope.gradient.tolist())
        self.last = result, multiplier
        trial = TuningTrial(
            strengths=strengths,
            value=value,
            gradient=gradient,
            passes=self.passes,
            accuracy=self.current,
            status=result.status.name,
        )
        self.trials.append(trial)
        if trial.value <= self.trials[self.best].value:
            self.best, self.kept = len(self.trials) - 1, result
        if self.callback is not None and self.callback(trial):
            self.over = "the callback returned a true value"
        elif self.exhausted or self._spent or len(self.trials) >= self.max_trials:
            self.over = f"{self.passes:g} passes and {len(self.trials)} trials"
            self.exhausted = True
        return trial

    @property
    def _spent(self) -> bool:
        """Whether the passes that are left are not enough for another trial."""
        return self.passes + LEAST > self.max_passes

    def _warm_start(self) -> None:
        """From the last trial from now on, and more accurately."""
        result, multiplier = self.last
        self.warm = (result.solution, multiplier)
        self.current = max(self.accuracy, 0.3 * self.current)
