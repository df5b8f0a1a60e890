"""PANOC: quasi-Newton method on the forward-backward residual of a block problem."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from proxmtl.solvers.base import Solver
from proxmtl.solvers.blocks import BlockProblem, Blocks, check_blocks
from proxmtl.solvers.lbfgs import LBFGSMemory
from proxmtl.state import Saved, State

__all__ = ["PANOC", "PANOCState"]


SMALLEST_SAFETY = 1e-12
"""If steps of this fraction of one over the curvature fail, no step decreases the objective."""


REMEMBERED = 10
"""Nonmonotone line search: the objective may not exceed the largest of so many iterates."""


@dataclass
class PANOCState(State):
    """Point, its forward-backward step, and the quasi-Newton memory.

    ``objective`` is the true objective at ``forward_backward``, the point returned.
    """

    blocks: Blocks
    value: float
    grads: Blocks
    forward_backward: Blocks
    penalty: float  # at forward_backward
    steps: Blocks
    safety: float  # steps are safety / curvature
    room: bool  # whether longer steps would have passed the last verification
    memory: LBFGSMemory
    refused: int  # number of rejected quasi-Newton directions
    recent: list[float]  # true objectives of the last points
    nested: ClassVar[dict[str, type[Saved]]] = {"memory": LBFGSMemory}


@dataclass(frozen=True)
class PANOC(Solver[BlockProblem, PANOCState, Blocks]):
    """Proximal averaged Newton-type method, one step length per block.

    With steps ``t_j`` the forward-backward point of ``x`` is ``T(x) = prox(x - t grad f(x))`` and
    the forward-backward envelope is ``phi(x) = f + <grad f, T - x> + sum ||T_j - x_j||^2 / (2 t_j)
    + g(T)``. An L-BFGS direction ``d`` for ``(x - T(x))/t = 0``, whose initial approximation is
    diagonal with the steps, gives the first trial ``x + d``. The line search moves the trial
    towards ``T(x)`` until the envelope decreases sufficiently and the objective does not exceed
    that of recent points. An iteration costs one pass if the first trial is accepted. The quadratic
    upper bound on ``f``, on which the envelope rests, is verified at ``T(x)`` every
    ``verify_every`` iterations and whenever the line search fails, at half a pass.

    Parameters
    ----------
    memory : int
        Pairs of the L-BFGS approximation.
    decrease : float
        Fraction of the guaranteed decrease of the envelope that is required, in (0, 1).
    safety : float
        Initial value of step times curvature; halved when the upper bound fails.
    verify_every : int
        Iterations between verifications, which also measure the objective.
    trials : int
        Line-search trials before the forward-backward step is taken instead.

    References
    ----------
    Stella, Themelis, Sopasakis, Patrinos, "A simple and efficient algorithm for nonlinear model
    predictive control", 2017; Themelis, Stella, Patrinos, "Forward-backward envelope for the sum of
    two nonconvex functions", 2018.
    """

    memory: int = 20
    decrease: float = 0.05
    safety: float = 0.95
    verify_every: int = 10
    trials: int = 4
    state_type = PANOCState

    def __post_init__(self) -> None:
        if self.memory < 1 or self.verify_every < 1 or self.trials < 1:
            raise ValueError("memory, verify_every, trials: each must be at least 1.")
        if not (0 < self.decrease < 1 and 0 < self.safety <= 1):
            raise ValueError(
                f"decrease, safety: got {self.decrease}, {self.safety}; use fractions in (0, 1)."
            )

    def check(self, problem: BlockProblem) -> None:
        check_blocks("PANOC", problem)

    def init(self, problem: BlockProblem, x0: Blocks) -> PANOCState:
        problem.check_point(x0)
        blocks = tuple(block.clone() for block in x0)
        value, grads = problem.smooth_value_and_grads(blocks)
        state = PANOCState(
            iteration=0,
            objective=value + problem.penalty(blocks),
            stalled=False,
            passes=0.0,
            blocks=blocks,
            value=value,
            grads=grads,
            forward_backward=blocks,
            penalty=0.0,
            steps=blocks,
            safety=self.safety,
            room=False,
            memory=LBFGSMemory(self.memory),
            refused=0,
            recent=[value + problem.penalty(blocks)],
        )
        self._set_steps(problem, state)
        self._verify(problem, state)
        return state

    def step(self, problem: BlockProblem, state: PANOCState) -> PANOCState:
        state = replace(state, memory=state.memory.copy())  # do not modify the caller's state
        residual = _residual(state)
        metric = _flat(state.steps, state.blocks)
        squared = float(torch.dot(residual, metric * residual))
        if squared == 0:
            state.stalled = True
            state.iteration += 1
            return state
        envelope = _envelope(state)
        direction = _unflat(state.memory.apply(residual, metric).neg_(), state.blocks)
        needed = self.decrease * (1 - self.safety) / 2 * squared
        slack = _rounding(state)
        tau, new = 1.0, state
        for trial in range(self.trials):
            tau = 0.0 if trial == self.trials - 1 else tau
            point = tuple(
                torch.add(torch.lerp(fb, x, tau), d, alpha=tau) if tau else fb
                for x, fb, d in zip(state.blocks, state.forward_backward, direction, strict=True)
            )
            new = self._at(problem, state, point)
            new.recent = [*state.recent[1 - REMEMBERED :], new.value + problem.penalty(point)]
            falls = _envelope(new) <= envelope - needed + slack
            # far away the envelope may be unbounded below, so bound the true objective as well
            if falls and new.recent[-1] <= max(state.recent) + slack:
                break
            tau /= 4
        if tau == 0:
            new.refused += 1
            kept = new.recent[-1] <= max(state.recent) + slack
            if not (kept and _envelope(new) <= envelope + slack):
                # a forward-backward step decreases the envelope unless the steps are too long
                return self._shorten(problem, state)
        moved = _flat(new.blocks, new.blocks) - _flat(state.blocks, state.blocks)
        new.memory.update(moved, _residual(new) - residual, metric)
        new.iteration += 1
        if new.iteration % self.verify_every == 0:
            self._adapt(problem, new)
            self._verify(problem, new)
        return new

    def _adapt(self, problem: BlockProblem, state: PANOCState) -> None:
        """Adapt the steps to the current curvature; the L-BFGS pairs do not depend on the steps."""
        if state.room and state.safety < self.safety:
            state.safety = min(2 * state.safety, self.safety)
        curvatures = problem.curvatures(state.blocks)
        ratios = [
            (float((t * c).min()), float((t * c).max()))
            for t, c in zip(state.steps, curvatures, strict=True)
        ]
        low, high = min(r[0] for r in ratios), max(r[1] for r in ratios)
        if high > 1.2 * state.safety or low < 0.5 * state.safety:
            self._set_steps(problem, state)

    def _at(self, problem: BlockProblem, old: PANOCState, point: Blocks) -> PANOCState:
        """State at another point with the same steps; costs one pass."""
        value, grads = problem.smooth_value_and_grads(point)
        new = replace(old, blocks=point, value=value, grads=grads)
        _forward_backward(problem, new)
        return new

    def _set_steps(self, problem: BlockProblem, state: PANOCState) -> None:
        curvatures = problem.curvatures(state.blocks)
        state.steps = tuple(state.safety / c for c in curvatures)
        _forward_backward(problem, state)

    def _shorten(self, problem: BlockProblem, state: PANOCState) -> PANOCState:
        state.safety /= 2
        state.memory.clear()
        state.iteration += 1
        self._set_steps(problem, state)
        self._verify(problem, state)
        state.stalled = state.safety < SMALLEST_SAFETY
        return state

    def _verify(self, problem: BlockProblem, state: PANOCState) -> None:
        """Verify the quadratic upper bound at the forward-backward point; halve steps that fail."""
        slack = _rounding(state)
        while True:
            value = problem.smooth_value(state.forward_backward)
            state.objective = value + state.penalty
            bound = _envelope(state) - state.penalty
            holds = value <= bound + slack
            # the curvature is less than half of that allowed: longer steps would pass
            state.room = value <= bound - _move(state) / 2
            if holds or state.safety < SMALLEST_SAFETY or not math.isfinite(value):
                return
            state.safety /= 2
            self._set_steps(problem, state)

    def start_claim(self, problem: BlockProblem, state: PANOCState) -> float:  # noqa: ARG002
        return state.recent[0]

    def solution(self, problem: BlockProblem, state: PANOCState) -> Blocks:  # noqa: ARG002
        return state.forward_backward


def _forward_backward(problem: BlockProblem, state: PANOCState) -> None:
    moved = tuple(
        torch.addcmul(x, g, t, value=-1)
        for x, g, t in zip(state.blocks, state.grads, state.steps, strict=True)
    )
    state.forward_backward, state.penalty = problem.prox(moved, state.steps)


def _rounding(state: PANOCState) -> float:
    """Estimate of an objective's rounding error, which a line search must not take for a rise."""
    size = max(abs(state.value) + abs(state.penalty), torch.finfo(state.blocks[0].dtype).tiny)
    return 10 * torch.finfo(state.blocks[0].dtype).eps * size


def _move(state: PANOCState) -> float:
    """``sum ||T_j - x_j||^2 / (2 t_j)``."""
    parts = zip(state.blocks, state.forward_backward, state.steps, strict=True)
    return sum(float(torch.sum((fb - x).square() / (2 * t))) for x, fb, t in parts)


def _envelope(state: PANOCState) -> float:
    total = state.value + state.penalty
    for x, fb, g, t in zip(
        state.blocks, state.forward_backward, state.grads, state.steps, strict=True
    ):
        move = fb - x
        total += float(torch.sum(g * move)) + float(torch.sum(move * move / (2 * t)))
    return total


def _residual(state: PANOCState) -> Tensor:
    """``(x - T(x)) / t`` as one flat vector, in the units of a gradient for any steps."""
    parts = zip(state.blocks, state.forward_backward, state.steps, strict=True)
    return torch.cat([((x - fb) / t).reshape(-1) for x, fb, t in parts])


def _flat(parts: Blocks, like: Blocks) -> Tensor:
    """Broadcast blocks to the shapes of ``like`` and concatenate them to one vector."""
    return torch.cat([p.expand_as(b).reshape(-1) for p, b in zip(parts, like, strict=True)])


def _unflat(vector: Tensor, like: Blocks) -> Blocks:
    parts = torch.split(vector, [block.numel() for block in like])
    return tuple(part.view_as(block) for part, block in zip(parts, like, strict=True))
