"""LBFGS: limited-memory quasi-Newton steps for every task of a smooth problem at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.data_term import SummedLoss
from proxmtl.designs import SharedDesign, ShiftedDesign
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.newton_steps import no_worse_than_zero
from proxmtl.solvers.points import PointSolver, PointState
from proxmtl.solvers.requirements import check_problem
from proxmtl.solvers.sized import in_size, size_of
from proxmtl.solvers.sketched import Sketched

__all__ = ["LBFGS", "LBFGSState"]

STEEP, PAST = 0.9, 0.8
"""Shares of the first derivative that may be left at the end of a step, and that it may have turned
into a rise: the approximate conditions of Wolfe, Hager and Zhang 2005."""
LONGER = 10.0
"""Factor by which a step that ends on a slope as steep is lengthened, at most."""
TRIALS = 30
"""Lengths of a step that are tried, at most."""
ROUNDING = 8.0
"""Units in the last place by which a step may seem to raise an objective."""
FINER = 0.1
"""Aim of the next round, as a share of the last, where all tasks rest and the run goes on."""
LEAST_CURVATURE = 1e-6
"""Mean curvature of a task, as a share of the largest, below which the metric does not believe it:
saturated scores have none, and are left in steps of the gradient."""


@dataclass
class LBFGSState(PointState):
    """Point, scores, gradient, and for the tasks that are not at rest the last pairs.

    In units in which features are of the size of 1 or below (:mod:`proxmtl.solvers.sized`).
    """

    grad: Tensor
    """Of loss and ridge, the parameter's shape."""
    values: Tensor
    """Objective of each task, (M,)."""
    tasks: Tensor
    """Numbers of the tasks that still move, ascending."""
    s: tuple[Tensor, ...]
    """Moves of these tasks, oldest first, (D, m) each."""
    y: tuple[Tensor, ...]
    """Changes of the gradient along them."""
    held: tuple[Tensor, ...]
    """One over the inner products of the two, (m,); 0: without effect."""
    units: Tensor
    """What gaps of the tasks are relative to, (M,): twice their loss at zero."""
    metric: tuple[Tensor, ...]
    """Fields of :class:`Sketched`."""
    aim: float
    """Relative gap at which a task rests in this round."""

    @property
    def long(self) -> bool:  # type: ignore[override]
        """Whether all tasks rest: now a certificate is worth its cost."""
        return not len(self.tasks)


@dataclass(frozen=True)
class LBFGS(PointSolver[LBFGSState]):
    """Limited-memory BFGS for a smooth loss plus a ridge, of all tasks in one batch.

    Without another penalty the tasks are problems of their own, on the same features: their
    products are one. Each task has pairs, a step length (Wolfe's conditions on scores that are
    known along the step: no product a trial) and an end of its own. The first metric is
    ``(k_m G + 2 ridge)^-1`` with the leading spectrum of the Gram matrix G, found once in a sketch,
    and the mean curvature k_m of the task's loss at the present scores (:class:`Sketched`).

    Parameters
    ----------
    tolerance : float
        Relative duality gap at which a task rests, so that no product is spent on it while others
        go on; when all rest the certificate is due. Goes on to a tenth of that if the run does. The
        default 0: no task rests.
    memory : int
        Pairs.

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
        """Whether the problem is one for this solver."""
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
            units=2 * problem.data.terms(problem.data.zero_scores()).sum(0),
            metric=(),
            aim=self.tolerance,
        )
        state = self._begun(problem, state)
        return replace(state, metric=tuple(Sketched.of(problem)))

    def _begun(self, problem: Problem, state: LBFGSState) -> LBFGSState:
        """Begin with all tasks, no pairs, and what is known of the point and scores found anew."""
        x, z = state.x, state.scores
        W, _ = problem.design.split(x)
        r = problem.data.gradient(z)
        values = problem.data.terms(z).sum(0) + problem.ridge * W.square().sum(0)
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
            # again without the pairs that led nowhere; where there are none, a task rests
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
    """Objectives of some tasks along their steps: losses of scores, and quadratic penalties."""

    scores: Tensor
    move: Tensor
    """Of the scores, in a whole step."""
    slope: Tensor
    """Derivative of the objective at the start, (m,), as are the others."""
    value: Tensor
    penalty: tuple[Tensor, Tensor, Tensor]
    """Its value, derivative and half of its second derivative."""

    @classmethod
    def along(
        cls, problem: Problem, d: Tensor, point: tuple[Tensor, ...], data: SummedLoss | None
    ) -> tuple[_Line, Tensor | None]:
        """Line along ``d`` from a point with its scores, gradient and objectives: a product.

        A step that overflows is none. With the tasks' data term, the same read of the features
        gives the gradient of the loss at the end of a whole step, which is taken most often.
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
        known = move.isfinite().all(0) & torch.stack([slope, *penalty]).isfinite().all(0)
        move, slope, linear, square = (
            torch.where(known, each, 0.0) for each in (move, slope, *penalty[1:])
        )
        return cls(z, move, slope, value, (penalty[0], linear, square)), ahead

    def searched(self, data: SummedLoss) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Lengths of the steps, and scores, score gradients and objectives there.

        The length is 1, or nearest to where the derivatives that were seen point to. A derivative
        that is not positive yet tells a decrease by itself, since the objective is convex; past
        that the objective must not rise. Length 0 where nothing lowers it.
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
        """Scores, score gradients, derivatives and objectives at these lengths."""
        z = torch.addcmul(self.scores, self.move, tau)
        r = data.gradient(z)
        constant, linear, square = self.penalty
        slope = (r * self.move).sum(0) + linear + 2 * tau * square
        value = data.terms(z).sum(0) + constant + tau * (linear + tau * square)
        return z, r, slope, value


def _lacking(problem: Problem) -> str:
    """What a problem lacks for this solver, in words; empty if nothing."""
    if problem.terms or problem.smooth_terms or not problem.ridge > 0:
        return "takes squared Frobenius norms as the only penalty, and needs one"
    if problem.design.affine or not isinstance(problem.design, SharedDesign | ShiftedDesign):
        return "needs features that all tasks share"
    if problem.loss.coupled:
        return f"needs tasks of their own, and {type(problem.loss).__name__} couples them"
    return ""


def _direction(
    problem: Problem, data: SummedLoss, state: LBFGSState, scores: Tensor, grad: Tensor
) -> Tensor:
    """The quasi-Newton step of the tasks that move: Nocedal's two loops, each with its numbers."""
    bend, weights = data.curvature(scores).sum(0), data.weights.sum(0)
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
    """Gradient of loss and ridge, of that of the loss, which is changed."""
    problem.design.split(grad)[0].add_(problem.design.split(x)[0], alpha=2 * problem.ridge)
    return grad


def _gaps(problem: Problem, grad: Tensor, scores: Tensor, residuals: Tensor) -> Tensor:
    """Duality gaps of the tasks, nearly: without a product.

    That of the residuals as a dual point is ``|g|^2 / 4 ridge``. To balance them, as an intercept
    demands, moves its value by no more than the scores' range times what is missing.
    """
    weights, bias = problem.design.split(grad)
    gaps = weights.square().sum(0) / (4 * problem.ridge)
    if bias is not None:
        gaps += residuals.sum(0).abs() * scores.abs().amax(0)
    return gaps


def _columns(values: Tensor, tasks: Tensor | None) -> Tensor:
    return values if tasks is None else values.index_select(-1, tasks)


def _placed(values: Tensor, tasks: Tensor, new: Tensor) -> Tensor:
    return values.index_copy(-1, tasks, new)
