"""LBFGS: limited-memory quasi-Newton method for a smooth problem, all tasks in one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.data_term import SummedLoss
from proxmtl.designs import ShardedDesign, SharedDesign, ShiftedDesign, StreamedDesign
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.newton_steps import no_worse_than_zero
from proxmtl.solvers.points import PointSolver, PointState
from proxmtl.solvers.requirements import check_problem
from proxmtl.solvers.sized import in_size, size_of
from proxmtl.solvers.sketched import Sketched

__all__ = ["LBFGS", "LBFGSState"]

STEEP, PAST = 0.9, 0.8
"""Approximate Wolfe conditions (Hager and Zhang 2005): relative to the initial slope, the final
slope may be at most 0.9 times as steep, and may rise at most 0.8 times as steeply."""
LONGER = 10.0
"""Maximum factor by which a step is lengthened if the slope at its end is still steep."""
TRIALS = 30
"""Maximum number of trial lengths of a step."""
ROUNDING = 8.0
"""Units in the last place by which a step may raise an objective, as rounding errors."""
FINER = 0.1
"""Factor of the aim when all tasks have reached it and the run continues."""
LEAST_CURVATURE = 1e-6
"""Relative to the largest, mean curvature of a task below which the metric does not use it:
saturated scores have none, and a task leaves them by gradient steps."""


@dataclass
class LBFGSState(PointState):
    """Point, scores, gradient, and the last pairs of the active tasks.

    The point is that of the problem rescaled to features of order 1 (:mod:`proxmtl.solvers.sized`).
    A task is inactive once its duality gap has reached the aim.
    """

    grad: Tensor
    """Gradient of loss and ridge, in the shape of the parameter."""
    values: Tensor
    """Objective of each task, (M,)."""
    tasks: Tensor
    """Indices of the m active tasks, ascending."""
    s: tuple[Tensor, ...]
    """Moves of the active tasks, oldest first, (D, m) each."""
    y: tuple[Tensor, ...]
    """Changes of the gradient along these moves."""
    held: tuple[Tensor, ...]
    """``1 / s'y`` of each pair, (m,) each; 0 disables a pair."""
    units: Tensor
    """Twice the loss of each task at zero, (M,), by which its relative gap divides."""
    metric: tuple[Tensor, ...]
    """Fields of :class:`Sketched`."""
    aim: float
    """Relative duality gap at which a task becomes inactive."""

    @property
    def long(self) -> bool:  # type: ignore[override]
        """Whether all tasks are inactive, so that a certificate is due."""
        return not len(self.tasks)


@dataclass(frozen=True)
class LBFGS(PointSolver[LBFGSState]):
    """Limited-memory BFGS for a smooth loss plus a ridge, for all tasks in one batch.

    Without another penalty the tasks are independent problems on the same features, whose products
    are batched. Each task has its own pairs, its own step length (Wolfe conditions; scores are
    linear along the step, so trials take no product) and its own end. The initial inverse Hessian
    is ``(k_m G + 2 ridge)^-1``, with the leading spectrum of the Gram matrix G from a sketch made
    once, and the mean curvature k_m of the task's loss at the current scores (:class:`Sketched`).

    Parameters
    ----------
    tolerance : float
        Relative duality gap at which a task becomes inactive, so that no product is spent on it
        while others continue. When all tasks are inactive, a certificate is due; if the run
        continues, it aims at a tenth of the gap. With the default 0 all tasks stay active.
    memory : int
        Number of pairs.

    References
    ----------
    Liu, Nocedal, "On the limited memory BFGS method for large scale optimization", 1989; Frangella,
    Tropp, Udell, "Randomized Nyström preconditioning", 2023.
    """

    tolerance: float = 0.0
    memory: int = 10

    state_type = LBFGSState
    needs_curvature = False

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance: got {self.tolerance}; it must be >= 0.")
        if self.memory < 1:
            raise ValueError(f"memory: got {self.memory}; it must be >= 1.")

    def check(self, problem: Problem) -> None:
        check_problem("LBFGS", problem)
        reason = _lacking(problem)
        if reason:
            raise UnsupportedError(f"LBFGS: {reason}; use FISTA.")

    @staticmethod
    def serves(problem: object) -> bool:
        """Whether this solver can take the problem."""
        return isinstance(problem, Problem) and not _lacking(problem)

    def init(self, problem: Problem, x0: Tensor) -> LBFGSState:
        problem.check_point(x0)
        size = size_of(problem)
        problem, x0 = in_size(problem, size), size * x0
        none = x0.new_zeros(0)
        x, scores = no_worse_than_zero(problem, x0, problem.scores(x0))
        state = LBFGSState(
            iteration=0,
            objective=0.0,
            stalled=False,
            passes=0.0,
            x=x,
            scores=scores,
            grad=none,
            values=none,
            tasks=none,
            s=(),
            y=(),
            held=(),
            units=2 * problem.data.over_samples(problem.data.terms(problem.data.zero_scores()))[0],
            metric=(),
            aim=self.tolerance,
        )
        state = self._begun(problem, state)
        return replace(state, metric=tuple(Sketched.of(problem)))

    def _begun(self, problem: Problem, state: LBFGSState) -> LBFGSState:
        """Activate all tasks, without pairs; recompute gradient, objectives and metric."""
        x, z = state.x, state.scores
        W, _ = problem.design.split(x)
        r = problem.data.gradient(z)
        (loss,) = problem.data.over_samples(problem.data.terms(z))
        values = loss + problem.ridge * W.square().sum(0)
        return replace(
            state,
            objective=float(values.sum(dtype=torch.float64)),
            grad=_ridged(problem, problem.adjoint(r), x),
            values=values,
            tasks=torch.arange(problem.data.n_tasks, device=x.device),
            s=(),
            y=(),
            held=(),
        )

    def step(self, problem: Problem, state: LBFGSState) -> LBFGSState:
        problem = in_size(problem, size_of(problem))
        if not len(state.tasks):
            scores = problem.scores(state.x)
            state = self._begun(problem, replace(state, scores=scores, aim=FINER * state.aim))
        design, M = problem.design, problem.data.n_tasks
        tasks = state.tasks if len(state.tasks) < M else None
        data = problem.data.rearranged(lambda each: _columns(each, tasks))
        share = design.share * len(state.tasks) / M
        x, z, g = (_columns(each, tasks) for each in (state.x, state.scores, state.grad))
        sweeps = design.sweeps(z.dtype)
        problem.counts.charge(forward=share, adjoint=share if sweeps else 0.0)
        d = _direction(problem, data, state, z, g)
        point = x, z, g, _columns(state.values, tasks)
        line, grad = _Line.along(problem, d, point, data if sweeps else None)
        tau, z, r, values = line.searched(data)
        moved = torch.where(tau > 0, x + tau * d, x)
        others = torch.nonzero(tau != 1).flatten() if sweeps else torch.arange(len(tau))
        if len(others):
            problem.counts.charge(adjoint=share * len(others) / len(tau))
            found = design.adjoint(r if len(others) == len(tau) else r[:, others])
            grad = found if grad is None else grad.index_copy(1, others, found)
        assert grad is not None
        grad = _ridged(problem, grad, moved)
        s, y = moved - x, grad - g
        product = (s * y).sum(0)
        # one over a subnormal number overflows
        held = torch.where(product >= torch.finfo(product.dtype).tiny, 1 / product, 0.0)
        pairs = [
            (*before, new)[-self.memory :]
            for before, new in zip((state.s, state.y, state.held), (s, y, held), strict=True)
        ]
        stuck, rests = (
            tau == 0,
            _gaps(problem, grad, z, r) <= state.aim * _columns(state.units, tasks),
        )
        if bool(stuck.any()):
            # drop the pairs of tasks whose search failed; without pairs, the task becomes inactive
            alone = stuck & (sum(pairs[2]) == 0)
            pairs[2] = tuple(torch.where(stuck, 0.0, each) for each in pairs[2])
            rests |= alone
        new = moved, z, grad, values
        if tasks is not None:
            full = state.x, state.scores, state.grad, state.values
            new = tuple(_placed(a, tasks, b) for a, b in zip(full, new, strict=True))  # type: ignore[assignment]
        left = torch.nonzero(~rests).flatten()
        if len(left) < len(rests):
            pairs = [tuple(each[..., left] for each in of) for of in pairs]
        return replace(
            state,
            iteration=state.iteration + 1,
            objective=float(new[3].sum(dtype=torch.float64)),
            stalled=tasks is None and torch.equal(moved, x) and not len(left),
            x=new[0],
            scores=new[1],
            grad=new[2],
            values=new[3],
            tasks=state.tasks[left],
            s=pairs[0],
            y=pairs[1],
            held=pairs[2],
        )

    def solution(self, problem: Problem, state: LBFGSState) -> Tensor:
        return state.x / size_of(problem)


class _Line(NamedTuple):
    """Objectives of the active tasks as functions of the step length: loss plus quadratic ridge."""

    scores: Tensor
    move: Tensor
    """Change of the scores over a full step."""
    slope: Tensor
    """Derivative of the objective at the start, (m,)."""
    value: Tensor
    """Objective at the start, (m,)."""
    penalty: tuple[Tensor, Tensor, Tensor]
    """Value, derivative and half the second derivative of the ridge along the step, (m,) each."""

    @classmethod
    def along(
        cls, problem: Problem, d: Tensor, point: tuple[Tensor, ...], data: SummedLoss | None
    ) -> tuple[_Line, Tensor | None]:
        """Line along ``d`` from a point with its scores, gradient and objectives: one product.

        A step that overflows is set to zero. Given the tasks' data term, the same read of the
        features also gives the loss gradient at the end of a full step, the most frequent outcome.
        """
        x, z, g, value = point
        (W, _), (V, _) = problem.design.split(x), problem.design.split(d)
        penalty = tuple(problem.ridge * (a * b).sum(0) for a, b in ((W, W), (2 * W, V), (V, V)))
        ahead, slope = None, (g * d).sum(0)
        if data is None:
            move = problem.design.linear(d)
        else:
            ends = data

            def whole(rows: slice, move: Tensor) -> tuple[Tensor]:
                part = ends.rearranged(lambda each: each[rows])
                return (part.gradient(z[rows] + move),)

            move, (ahead,) = problem.design.sweep(d, whole)
        (lost,) = problem.data.over_samples((~move.isfinite()).to(move))
        known = (lost == 0) & torch.stack([slope, *penalty]).isfinite().all(0)
        move, slope, linear, square = (
            torch.where(known, each, 0.0) for each in (move, slope, *penalty[1:])
        )
        return cls(z, move, slope, value, (penalty[0], linear, square)), ahead

    def searched(self, data: SummedLoss) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Search along the line; returns lengths, scores, score gradients and objectives.

        The first trial length is 1, others interpolate the derivatives seen. A derivative that is
        not positive implies a decrease, since the objective is convex; with a positive one the
        objective itself must not rise. The length is 0 if no trial succeeds.
        """
        tau = torch.where(self.slope < 0, 1.0, 0.0).to(self.slope)
        low, high = torch.zeros_like(tau), torch.full_like(tau, torch.inf)
        rounding = ROUNDING * torch.finfo(tau.dtype).eps * self.value.abs()
        for _ in range(TRIALS):
            z, r, slope, value = self._at(data, tau)
            past = ~(slope <= 0)
            fits = torch.where(
                past,
                (slope <= PAST * -self.slope) & (value <= self.value + rounding),
                slope >= STEEP * self.slope,
            )
            if bool((fits | (tau == 0)).all()):
                return tau, z, r, value
            low, high = torch.where(past, low, tau), torch.where(past, tau, high)
            towards = tau * self.slope / (self.slope - slope)
            room = torch.where(high < torch.inf, high, LONGER * low) - low
            towards = towards.nan_to_num(0.0).clamp(low + 0.1 * room, low + 0.9 * room)
            tau = torch.where(fits | (tau == 0), tau, towards)
        tau = torch.where(fits, tau, low)
        z, r, _, value = self._at(data, tau)
        return tau, z, r, value

    def _at(self, data: SummedLoss, tau: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores, score gradients, derivatives and objectives at step lengths ``tau``, (m,)."""
        z = torch.addcmul(self.scores, self.move, tau)
        r = data.gradient(z)
        constant, linear, square = self.penalty
        slope, value = data.over_samples(r * self.move, data.terms(z))
        slope = slope + linear + 2 * tau * square
        return z, r, slope, value + constant + tau * (linear + tau * square)


def _lacking(problem: Problem) -> str:
    """Requirement of this solver that the problem lacks, as text; empty if none."""
    if problem.terms or problem.smooth_terms or not problem.ridge > 0:
        return "takes squared Frobenius norms as the only penalty, and needs one"
    design = problem.design
    own = design.own if isinstance(design, ShardedDesign) else design
    if design.affine or not isinstance(own, SharedDesign | ShiftedDesign | StreamedDesign):
        return "needs features that all tasks share"
    if design.tasks is not None:
        return "needs all tasks, and they are divided among ranks"
    if problem.loss.coupled:
        return f"needs tasks of their own, and {type(problem.loss).__name__} couples them"
    return ""


def _direction(
    problem: Problem, data: SummedLoss, state: LBFGSState, scores: Tensor, grad: Tensor
) -> Tensor:
    """Quasi-Newton step of the active tasks: Nocedal's two-loop recursion, batched over tasks."""
    bend, weights = data.over_samples(data.curvature(scores), data.weights)
    least = LEAST_CURVATURE * data.loss.curvature_bound * weights
    bend, metric = torch.maximum(bend, least), Sketched(*state.metric)
    q, factors = grad.clone(), []
    for s, y, held in zip(reversed(state.s), reversed(state.y), reversed(state.held), strict=True):
        factors.append(held * (s * q).sum(0))
        q.addcmul_(y, factors[-1], value=-1)
    q = metric.solve(problem, bend, q)
    if state.s:
        s, y, held = state.s[-1], state.y[-1], state.held[-1]
        inner = held * (y * metric.solve(problem, bend, y)).sum(0)
        q *= torch.where(inner > 0, 1 / inner, 1.0)
    for s, y, held, factor in zip(state.s, state.y, state.held, reversed(factors), strict=True):
        q.addcmul_(s, factor - held * (y * q).sum(0))
    return q.neg_()


def _ridged(problem: Problem, grad: Tensor, x: Tensor) -> Tensor:
    """Add the gradient of the ridge to the gradient of the loss, in place."""
    problem.design.split(grad)[0].add_(problem.design.split(x)[0], alpha=2 * problem.ridge)
    return grad


def _gaps(problem: Problem, grad: Tensor, scores: Tensor, residuals: Tensor) -> Tensor:
    """Approximate duality gaps of the tasks, (M,); takes no product.

    With the residuals as dual point the gap is ``|g|^2 / (4 ridge)``. An intercept requires
    balanced residuals, which changes the gap by at most the range of the scores times the
    imbalance.
    """
    weights, bias = problem.design.split(grad)
    gaps = weights.square().sum(0) / (4 * problem.ridge)
    if bias is not None:
        data = problem.data
        reach = data.ranks.maximum(scores.abs().amax(0))
        gaps += data.over_samples(residuals)[0].abs() * reach
    return gaps


def _columns(values: Tensor, tasks: Tensor | None) -> Tensor:
    return values if tasks is None else values.index_select(-1, tasks)


def _placed(values: Tensor, tasks: Tensor, new: Tensor) -> Tensor:
    return values.index_copy(-1, tasks, new)
