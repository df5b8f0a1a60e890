"""Algorithm 1 of the paper: alternates between S (by SPGD) and L (by accelerated gradient)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from proxmtl.counts import OutOfPassesError
from proxmtl.latent.problem import LatentProblem
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.result import Result, Status
from proxmtl.solvers.base import Solver
from proxmtl.solvers.blocks import Blocks
from proxmtl.solvers.fista import FISTA
from proxmtl.solvers.loop import run
from proxmtl.solvers.spgd import SPGD
from proxmtl.state import State
from proxmtl.stopping import MaxIterations, RelativeGap, Stop

__all__ = ["Alternating", "AlternatingState"]


@dataclass
class AlternatingState(State):
    """Factors after the last sweep."""

    blocks: Blocks


@dataclass(frozen=True)
class Alternating(Solver[LatentProblem, AlternatingState, Blocks]):
    """Algorithm 1: minimise over S with L fixed (eq. 3), then over L with S fixed (eq. 4), repeat.

    Each iteration is one sweep over both blocks. An inner solve ends at its relative duality gap or
    at its iteration limit, since solving a block to convergence far from the joint minimum would
    waste passes.

    Parameters
    ----------
    inner_iterations : int
        Maximum number of iterations of an inner solve.
    inner_gap : float
        Relative duality gap at which an inner solve ends.
    smoothing : float
        Accuracy of SPGD's smoothing, relative to the objective at the start of the sweep.
    exact_prox : bool
        True: FISTA with the exact prox in place of SPGD for S, which keeps exact zeros.
    """

    inner_iterations: int = 30
    inner_gap: float = 1e-6
    smoothing: float = 1e-4
    exact_prox: bool = False
    l_solver: FISTA = field(default_factory=FISTA)
    state_type = AlternatingState

    def __post_init__(self) -> None:
        if self.inner_iterations < 1 or not self.inner_gap > 0 or not self.smoothing > 0:
            raise ValueError("inner_iterations, inner_gap, smoothing: each must be > 0.")

    def check(self, problem: LatentProblem) -> None:
        if problem.own is not None:
            raise UnsupportedError(
                "Alternating: Algorithm 1 has no own parts; use PANOC, or leave own_strength out."
            )

    def init(self, problem: LatentProblem, x0: Blocks) -> AlternatingState:
        problem.check_point(x0)
        blocks = tuple(block.clone() for block in x0)
        return AlternatingState(0, problem.objective(blocks), False, 0.0, blocks)

    def step(self, problem: LatentProblem, state: AlternatingState) -> AlternatingState:
        L, S, bias, _ = problem.parts(state.blocks)
        stop: Stop = MaxIterations(self.inner_iterations) | RelativeGap(
            self.inner_gap, every=self.inner_iterations
        )
        # a product with X L costs K / D of one with X
        share = L.shape[1] / L.shape[0]
        in_s = problem.s_problem(L, cached=True)
        solver: Solver[Problem, Any, Tensor] = FISTA()
        if not self.exact_prox:
            accuracy = self.smoothing * max(abs(state.objective), torch.finfo(L.dtype).tiny)
            solver = SPGD(smoothness="accuracy", accuracy=accuracy)
        start = in_s.design.join(S, bias)
        with in_s.counts.limited(problem.counts.left / (2 * share)):  # the rest is for L
            s_step = run(in_s, solver, start, stop, null=False)
        problem.counts.charge(
            forward=share * in_s.counts.forward, adjoint=share * in_s.counts.adjoint
        )
        S, bias = in_s.design.split(s_step.solution)
        in_l = problem.l_problem(S, bias)
        l_step = run(in_l, self.l_solver, L, stop, null=False)
        blocks = (l_step.solution, S) if bias is None else (l_step.solution, S, bias)
        if self._cut(s_step) or self._cut(l_step):
            raise OutOfPassesError("the sweep does not fit in", blocks)
        objective = l_step.objective + float(problem.group_norm.value(S))
        stalled = all(a.equal(b) for a, b in zip(blocks, state.blocks, strict=True))
        return AlternatingState(state.iteration + 1, objective, stalled, state.passes, blocks)

    def _cut(self, inner: Result[Tensor]) -> bool:
        """Whether an inner solve ended because the run is out of passes."""
        return inner.status is Status.BUDGET and inner.iterations < self.inner_iterations

    def solution(self, problem: LatentProblem, state: AlternatingState) -> Blocks:  # noqa: ARG002
        return state.blocks
