"""Gram-Newton: minimises the factored problem by quadratic models made of Gram matrices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.counts import OutOfPassesError
from proxmtl.latent.grams import full_grams, moved_grams, reduced, sides
from proxmtl.latent.inner import Memory, Model, largest_relative, minimise
from proxmtl.latent.parts import Parts
from proxmtl.latent.problem import LatentProblem
from proxmtl.latent.reactivation import reactivate_latents
from proxmtl.latent.refactor import MOST, cheapest, refactor, refactor_passes
from proxmtl.machine import check_memory
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.base import Solver
from proxmtl.solvers.blocks import Blocks
from proxmtl.state import State

__all__ = ["GramNewton", "GramNewtonState"]

WHOLE = 6
"""Number of first iterations whose model is the majoriser itself."""

LEAST = 1e-9
"""Minimum share theta of the majoriser in a model; it makes the model positive definite."""

SMALL = 3e-8
"""A share below this is set to the minimum."""

DECREASE = 0.05
"""Fraction of the predicted decrease that a trial must achieve."""

TIGHTEST = 1e-9
"""Smallest relative residual that is requested of an inner solve."""

COPIES = 5
"""Memory in units of the Hessians of all tasks: Gram matrices, a model, and temporary arrays."""


@dataclass
class GramNewtonState(State):
    """Factors, loss and scores there, Gram matrices, and the share theta of the majoriser.

    ``slope`` is the gradient in the design's parameter; ``held`` are the weights with which the
    samples enter ``grams``; ``scales[m] * full`` is the majoriser of task m.
    """

    blocks: Blocks
    loss: float
    scores: Tensor
    slope: Tensor
    full: Tensor
    scales: Tensor
    grams: Tensor | None
    held: Tensor | None
    theta: float
    memory: tuple[float, ...]
    interval: int
    due: int  # iteration at which the factors are next replaced by cheaper ones
    long = True


class _Trial(NamedTuple):
    """A trial point with its loss and objective, and the decrease that the model predicted."""

    blocks: Blocks
    loss: float
    scores: Tensor
    objective: float
    predicted: float
    memory: Memory


@dataclass(frozen=True)
class GramNewton(Solver[LatentProblem, GramNewtonState, Blocks]):
    """Proximal Newton method: minimise a quadratic model of the loss plus all penalties, repeat.

    The Hessian of a task in the model is the Gram matrix of its samples, weighted by the curvature
    of the loss at their scores (for the squared hinge: of the samples within the margin), blended
    with a share theta of the Gram matrix at the largest curvature, a majoriser. Intercepts and own
    parts are eliminated by Schur complements; PALM and Newton steps, which take no product with the
    features, minimise the model over the factors (:mod:`proxmtl.latent.inner`). A trial is accepted
    if the objective falls by a sufficient fraction of the predicted decrease, and theta is then
    lowered; otherwise theta is raised. At theta = 1 the model is an upper bound on the objective,
    which then cannot rise. For piecewise quadratic losses such as the squared hinge, the last
    iterations converge in very few steps.

    The Gram matrices are updated for the samples whose curvature has changed. They count as passes
    by their number of operations, ``D / 2`` for all samples of all tasks. At iterations 1, 2, 4,
    ..., and for as long as it lowers the objective, the factors are replaced by cheaper ones of the
    same product (:func:`~proxmtl.latent.refactor.refactor`).

    Parameters
    ----------
    rounds : int
        Maximum number of rounds (two PALM steps and a Newton step) to minimise a model.
    tightness : float
        Relative residual to which a model is minimised, as a fraction of the problem's residual.
    worthwhile : float
        If replacing the factors lowers the objective by at least this fraction, it is repeated in
        the next iteration.
    most : float
        As for :class:`~proxmtl.latent.refactor.Refactored`.
    revive : bool
        As for :class:`~proxmtl.latent.refactor.Refactored`.
    whole : int
        Number of first iterations whose model is the majoriser, in which the supports settle.

    References
    ----------
    Mangasarian, "A finite Newton method for classification", 2002; Lee, Sun and Saunders, "Proximal
    Newton-type methods for minimizing composite functions", 2014.
    """

    rounds: int = 10
    tightness: float = 0.1
    worthwhile: float = 1e-4
    most: float = MOST
    revive: bool = False
    whole: int = WHOLE
    state_type = GramNewtonState
    needs_curvature = False

    def __post_init__(self) -> None:
        if self.rounds < 1 or not 0 < self.tightness < 1 or not self.worthwhile > 0:
            raise ValueError(
                f"rounds, tightness, worthwhile: got {self.rounds}, {self.tightness}, "
                f"{self.worthwhile}; use at least 1, a fraction in (0, 1) and > 0."
            )

    def check(self, problem: LatentProblem) -> None:
        if not isinstance(problem, LatentProblem):
            raise UnsupportedError(
                f"GramNewton takes a LatentProblem, not a {type(problem).__name__}; use FISTA, "
                "ProxNewton or NewtonCholesky."
            )
        reason = self.lacking(problem)
        if reason is not None:
            raise UnsupportedError(f"GramNewton needs {reason}; use PANOC.")
        tasks, _, side = sides(problem)
        check_memory(
            COPIES * 8 * tasks * side**2,
            f"GramNewton: {tasks} Hessians of {side} unknowns",
            "PANOC needs none",
        )

    def lacking(self, problem: LatentProblem) -> str | None:
        """Requirement of this solver that the problem lacks, as text; None if none.

        Does not depend on the free memory.
        """
        if not problem.design.has_samples:
            return "dense features, a SharedDesign or a TaskDesign"
        if problem.loss.coupled:
            return f"a loss of each score, and {type(problem.loss).__name__} couples them"
        return None

    def init(self, problem: LatentProblem, x0: Blocks) -> GramNewtonState:
        problem.check_point(x0)
        x0 = reactivate_latents(problem, x0) if self.revive else x0
        return self.begin(problem, (*cheapest(problem, x0[:2], self.most), *x0[2:]))

    def begin(self, problem: LatentProblem, x0: Blocks) -> GramNewtonState:
        """State before the first iteration, from the given factors without replacing them."""
        blocks = tuple(block.clone() for block in x0)
        loss, scores = _measured(problem, blocks)
        slope = _slope(problem, scores)
        full, scales = full_grams(problem)
        return GramNewtonState(
            iteration=0,
            objective=loss + problem.penalty(_wide(blocks)),
            stalled=False,
            passes=0.0,
            blocks=blocks,
            loss=loss,
            scores=scores,
            slope=slope,
            full=full,
            scales=scales,
            grams=None,
            held=None,
            theta=1.0,
            memory=tuple(Memory()),
            interval=1,
            due=1,
        )

    def step(self, problem: LatentProblem, state: GramNewtonState) -> GramNewtonState:
        state = self._refactored(problem, state)
        theta = state.theta
        if theta == 1 and state.iteration >= self.whole:
            theta = 0.1
        if theta < 1:
            state = _with_grams(problem, state)
        residual = _residual(problem, state)
        found = self._trial(problem, state, theta, residual)
        while not self._falls(state, found) and theta < 1:
            theta = 1.0 if theta >= 0.4 else max(8 * theta, 1e-6)
            found = self._trial(problem, state, theta, residual)
        slack = _rounding(state)
        if not found.objective <= state.objective + slack:
            return replace(state, iteration=state.iteration + 1, stalled=True)
        try:
            slope = _slope(problem, found.scores)
        except OutOfPassesError as error:
            raise OutOfPassesError(str(error), found.blocks) from None
        new = replace(
            state,
            iteration=state.iteration + 1,
            objective=found.objective,
            blocks=found.blocks,
            loss=found.loss,
            scores=found.scores,
            slope=slope,
            theta=_next(theta, state, found),
            memory=tuple(found.memory),
        )
        # near convergence, the residual may still fall although the objective is at rounding
        if not found.objective < state.objective and not _residual(problem, new) < residual:
            return replace(state, iteration=state.iteration + 1, stalled=True)
        return new

    def _falls(self, state: GramNewtonState, found: _Trial) -> bool:
        needed = DECREASE * found.predicted
        return found.objective <= state.objective - needed + _rounding(state)

    def _refactored(self, problem: LatentProblem, state: GramNewtonState) -> GramNewtonState:
        """Replace the factors by cheaper ones of the same product, if that is due."""
        if state.iteration < state.due:
            return state
        given = state.blocks
        if self.revive:
            blocks = reactivate_latents(problem, given)
            if blocks is not given:
                loss, scores = _measured(problem, blocks)
                state = replace(
                    state,
                    blocks=blocks,
                    loss=loss,
                    scores=scores,
                    slope=_slope(problem, scores),
                    objective=loss + problem.penalty(_wide(blocks)),
                )
        interval = 2 * state.interval
        if refactor_passes(problem, *state.blocks[:2]) <= self.most:
            L, S = refactor(problem, *state.blocks[:2])
            blocks = (L, S, *state.blocks[2:])
            objective = state.loss + problem.penalty(_wide(blocks))
            if state.objective - objective > self.worthwhile * abs(state.objective):
                state, interval = replace(state, blocks=blocks, objective=objective), 1
        return replace(state, interval=interval, due=state.iteration + interval)

    def _trial(
        self, problem: LatentProblem, state: GramNewtonState, theta: float, residual: float
    ) -> _Trial:
        """Minimise the model with the share ``theta`` of the majoriser; measure its minimiser."""
        hessians = state.full * state.scales[:, None, None]
        if theta < 1 and state.grams is not None:
            hessians = torch.lerp(state.grams, hessians, max(theta, LEAST))
        L, S, bias, own = problem.parts(_wide(state.blocks))
        quadratic = reduced(problem, hessians, state.slope, own)
        model = Model(problem, quadratic, L @ S)
        before = model.penalty(L, S)
        tolerance = max(TIGHTEST, min(0.3, self.tightness * residual))
        memory = Memory(*state.memory)
        point, memory = minimise(model, (L, S), memory, tolerance=tolerance, rounds=self.rounds)
        change_of_bias, change_of_own = quadratic.others(point.L @ point.S - model.centre)
        if bias is not None and change_of_bias is not None:
            bias = bias + change_of_bias
        if own is not None and change_of_own is not None:
            own = own + change_of_own
        moved = problem.blocks(Parts(point.L, point.S, bias, own))
        blocks = tuple(block.to(state.blocks[0].dtype) for block in moved)
        loss, scores = _measured(problem, blocks)
        objective = loss + problem.penalty(_wide(blocks))
        predicted = before - point.value + quadratic.gain
        return _Trial(blocks, loss, scores, objective, predicted, memory)

    def check_resume(self, problem: LatentProblem, state: GramNewtonState) -> None:
        super().check_resume(problem, state)
        tasks, _, side = sides(problem)
        kept = (state.full.shape[1:], state.scores.shape, state.slope.shape)
        wanted = ((side, side), problem.data.shape, (side, tasks))
        if kept != wanted or len(state.scales) != tasks:
            raise ValueError("state: of other samples or tasks; resume with the same problem.")

    def solution(self, problem: LatentProblem, state: GramNewtonState) -> Blocks:  # noqa: ARG002
        return state.blocks


def _next(theta: float, state: GramNewtonState, found: _Trial) -> float:
    """Share of the majoriser in the next model: the better this model, the smaller."""
    if theta == 1:
        return theta
    fall = state.objective - found.objective
    if fall > 1.3 * found.predicted:
        theta /= 10
    elif fall > 0.7 * found.predicted:
        theta /= 4
    return 0.0 if theta < SMALL else theta


def _wide(blocks: Blocks) -> Blocks:
    return tuple(block.to(torch.float64) for block in blocks)


def _measured(problem: LatentProblem, blocks: Blocks) -> tuple[float, Tensor]:
    """Loss, summed in float64, and scores; costs half a pass."""
    problem.counts.charge(forward=1)
    scores = problem.design.scores(problem.weights(blocks))
    return float(problem.data.value(scores.to(torch.float64))), scores


def _slope(problem: LatentProblem, scores: Tensor) -> Tensor:
    """Gradient in the design's parameter, float64; costs half a pass."""
    problem.counts.charge(adjoint=1)
    residuals = problem.data.gradient(scores.to(torch.float64))
    return problem.design.adjoint(residuals.to(scores)).to(torch.float64)


def _with_grams(problem: LatentProblem, state: GramNewtonState) -> GramNewtonState:
    """Update the Gram matrices to the curvature of the loss at the current scores."""
    bends = problem.data.curvature(state.scores.to(torch.float64))
    grams, held = state.grams, state.held
    if grams is None or held is None:  # the majoriser is that of the largest curvature
        grams = state.full * state.scales[:, None, None]
        held = problem.loss.curvature_bound * problem.data.at(torch.float64).weights
    grams, held = moved_grams(problem, grams, held, bends)
    return replace(state, grams=grams, held=held)


def _residual(problem: LatentProblem, state: GramNewtonState) -> float:
    """Relative KKT residual as in a certificate: the largest scaled residual of a block."""
    wide = _wide(state.blocks)
    L, S, _, own = problem.parts(wide)
    along = problem.parts(problem.pull_back(wide, state.slope))
    of_L = problem.l1.kkt_residual(L, along.L + 2 * problem.ridge.strength * L)
    of_S = problem.group_norm.kkt_residual(S, along.S)
    parts = [(of_L, along.L.norm()), (of_S, along.S.norm())]
    if problem.own is not None and own is not None and along.own is not None:
        unit = along.own.new_tensor(problem.own_scale)
        parts.append((along.own + 2 * problem.own.strength * own, unit))
    if along.intercept is not None:
        pull = problem.data.gradient(state.scores.to(torch.float64)).abs()
        parts.append((along.intercept, problem.data.per_task(pull).norm()))
    return largest_relative(parts)


def _rounding(state: GramNewtonState) -> float:
    """Estimate of the rounding error of the objective."""
    return 10 * torch.finfo(state.blocks[0].dtype).eps * abs(state.objective)
