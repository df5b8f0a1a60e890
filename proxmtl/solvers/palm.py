"""Safeguarded inertial PALM for block problems."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from proxmtl.solvers.base import Solver
from proxmtl.solvers.blocks import BlockProblem, Blocks, check_blocks
from proxmtl.state import State

__all__ = ["PALM", "PALMState"]


@dataclass
class PALMState(State):
    """Blocks after this sweep and the last one, and the counter k of the inertia."""

    blocks: Blocks
    previous: Blocks
    counter: int
    resets: int


@dataclass(frozen=True)
class PALM(Solver[BlockProblem, PALMState, Blocks]):
    """Inertial proximal alternating linearised minimisation, with a descent safeguard.

    Blocks are updated in turn, each by a proximal gradient step of one over its Lipschitz estimate
    from the extrapolated point ``y = x + a_k (x - x_previous)``, ``a_k = (k - 1)/(k + 2)``. A sweep
    is accepted only if the objective falls by at least ``decrease * sum_j ||dx_j||^2 / step_j``;
    otherwise a sweep without inertia replaces it, and ``k`` restarts. The objective decreases
    sufficiently in each sweep, so PALM's convergence proof applies.

    Parameters
    ----------
    order : tuple of tuples of int
        Blocks that are updated together, in order; each inner tuple is one update.
    inertial : bool
        False: plain PALM.
    decrease : float
        Sufficient-decrease constant, in (0, 1/2).

    References
    ----------
    Bolte, Sabach, Teboulle, "Proximal alternating linearized minimization", 2014; Pock and Sabach,
    "Inertial proximal alternating linearized minimization (iPALM)", 2016.
    """

    order: tuple[tuple[int, ...], ...]
    inertial: bool = True
    decrease: float = 1e-4
    state_type = PALMState

    def __post_init__(self) -> None:
        if not 0 < self.decrease < 0.5:
            raise ValueError(f"decrease: got {self.decrease}; it must lie in (0, 1/2).")

    def check(self, problem: BlockProblem) -> None:
        check_blocks("PALM", problem)

    def init(self, problem: BlockProblem, x0: Blocks) -> PALMState:
        problem.check_point(x0)
        blocks = tuple(block.clone() for block in x0)
        objective = problem.smooth_value(blocks) + problem.penalty(blocks)
        return PALMState(0, objective, False, 0.0, blocks, blocks, 1, 0)

    def step(self, problem: BlockProblem, state: PALMState) -> PALMState:
        counter, resets = state.counter, state.resets
        inertia = (counter - 1) / (counter + 2) if self.inertial else 0.0
        blocks, objective, needed = self._sweep(problem, state, inertia)
        if not objective <= state.objective - needed and inertia > 0:
            counter, resets = 1, resets + 1
            blocks, objective, needed = self._sweep(problem, state, 0.0)
        stalled = not objective < state.objective
        if stalled:
            blocks, objective = state.blocks, state.objective
        return PALMState(
            state.iteration + 1,
            objective,
            stalled,
            state.passes,
            blocks,
            state.blocks,
            counter + 1,
            resets,
        )

    def _sweep(
        self, problem: BlockProblem, state: PALMState, inertia: float
    ) -> tuple[Blocks, float, float]:
        blocks = list(state.blocks)
        needed = 0.0
        for together in self.order:
            point = list(blocks)
            for j in together:
                point[j] = torch.lerp(state.previous[j], state.blocks[j], 1 + inertia)
            _, grads = problem.smooth_value_and_grads(tuple(point))
            curvatures = problem.curvatures(tuple(point))
            steps = tuple(1 / curvature for curvature in curvatures)
            moved = tuple(
                x - steps[j] * grads[j] if j in together else x for j, x in enumerate(point)
            )
            new, _ = problem.prox(moved, steps)
            for j in together:
                change = new[j] - state.blocks[j]
                needed += self.decrease * float(torch.sum(change * change * curvatures[j]))
                blocks[j] = new[j]
        result = tuple(blocks)
        return result, problem.smooth_value(result) + problem.penalty(result), needed

    def solution(self, problem: BlockProblem, state: PALMState) -> Blocks:  # noqa: ARG002
        return state.blocks
