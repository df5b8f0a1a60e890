"""Refactoring: minimisation of the penalty over factorisations of the same W; a solver with it.

``(L A, A^-1 S)`` has the same ``W`` for every invertible ``A``, so the penalty can be minimised
over ``A`` without reading the data. Joint descent is slow along these curved directions, since any
straight step leaves them and changes ``W``, at the full curvature of the loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from proxmtl.groups import Groups
from proxmtl.latent.cheaper import ITERATIONS, cheaper
from proxmtl.latent.initial import rebalance
from proxmtl.latent.problem import LatentProblem
from proxmtl.latent.reactivation import reactivate_latents
from proxmtl.result import Certificate
from proxmtl.solvers.base import Solver
from proxmtl.solvers.blocks import Blocks
from proxmtl.solvers.panoc import PANOC, PANOCState
from proxmtl.state import Saved, State
from proxmtl.threads import one_thread

__all__ = ["Refactored", "RefactoredState", "cheapest", "refactor"]

SMOOTHING_STAGES = (0.3, 0.03, 0.003)
"""Smoothing of the norms in the stages of the minimisation over A, relative to their mean."""

MOST = 300.0
"""Maximum cost of a refactoring, in passes."""

LOOK = 10
"""Iterations between checks whether many latents have become zero."""

MANY = 0.2
"""If this fraction of the latents has become zero, they are removed at once, for two passes."""

THREADED = 10**8
"""Number of multiply-adds of ``L A`` from which on more than one thread is used."""


def refactor(
    problem: LatentProblem, L: Tensor, S: Tensor, *, iterations: int = ITERATIONS
) -> tuple[Tensor, Tensor]:
    """Lower the penalty of ``(L A, A^-1 S)`` over invertible A, then rebalance.

    Minimises the penalty with norms smoothed to ``sqrt(x^2 + e^2)``, by L-BFGS over A from the
    identity, in stages of decreasing ``e``. Takes no product with the features. The result is
    accepted only if the true penalty is lower: ``L S`` is kept (to rounding), the objective never
    rises, and dead latents stay zero.

    Parameters
    ----------
    problem : LatentProblem
    L, S : Tensor, shapes (D, K) and (K, M)
    iterations : int
        L-BFGS iterations per stage, of ``O(D K^2)`` flops each.
    """
    wide = rebalance(problem, L.to(torch.float64), S.to(torch.float64))
    live = _live(*wide)
    best = current = (wide[0][:, live], wide[1][live])
    lowest = problem.factor_penalty(*best)
    if not bool(live.any()):
        return wide[0].to(L), wide[1].to(S)
    if problem.l1.strength == 0 and _one_group(problem.groups):
        # with one group the minimum is a Schatten quasi-norm, attained at the singular vectors
        wide[0][:, live], wide[1][live] = rebalance(problem, *_singular(*current))
        return wide[0].to(L), wide[1].to(S)
    with one_thread(small=current[0].numel() * len(current[1]) < THREADED):
        for stage in SMOOTHING_STAGES:
            current = rebalance(problem, *cheaper(problem, *current, stage, iterations))
            penalty = problem.factor_penalty(*current)
            if not math.isfinite(penalty):
                break
            if penalty < lowest:
                best, lowest = current, penalty
    wide[0][:, live], wide[1][live] = best
    return wide[0].to(L), wide[1].to(S)


def cheapest(problem: LatentProblem, factors: Blocks, most: float = MOST) -> tuple[Tensor, Tensor]:
    """Refactor the factors, or only rebalance them if that could cost more than ``most`` passes."""
    L, S = factors
    affordable = refactor_passes(problem, L, S) <= most
    return (refactor if affordable else rebalance)(problem, L, S)


def refactor_passes(problem: LatentProblem, L: Tensor, S: Tensor) -> float:
    """Maximum cost of :func:`refactor`: its flops in units of those of a pass over the data."""
    D, K = L.shape[0], int(_live(L, S).sum())
    evaluations = ITERATIONS * len(SMOOTHING_STAGES)
    one = 4 * D * K**2 + 4 * K**3
    return evaluations * one / (4 * D * problem.data.n_scores)


def _one_group(groups: Groups) -> bool:
    """Whether there is a single group, of all tasks."""
    return len(groups) == 1 and len(groups.members(0)) == groups.n_items


def _singular(L: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the same product from its singular vectors; latents beyond the rank are zero."""
    K = L.shape[1]
    Q_L, R_L = torch.linalg.qr(L)
    Q_S, R_S = torch.linalg.qr(S.T)
    U, s, Vh = torch.linalg.svd(R_L @ R_S.T, full_matrices=False)
    root = s.sqrt()
    factors = (Q_L @ U) * root, root[:, None] * (Vh @ Q_S.T)
    missing = K - len(s)
    return nn.functional.pad(factors[0], (0, missing)), nn.functional.pad(
        factors[1], (0, 0, 0, missing)
    )


def _live(L: Tensor, S: Tensor) -> Tensor:
    return (L != 0).any(0) & (S != 0).any(1)


def _kept(L: Tensor, S: Tensor) -> Tensor:
    """Mask of the live latents; if there are none, of the first latent."""
    live = _live(L, S)
    live[0] |= ~live.any()
    return live


@dataclass
class RefactoredState(State):
    """State of PANOC on the live latents, and the schedule of the refactorings."""

    inner: PANOCState
    interval: int
    due: int  # iteration of the next refactoring
    live: Tensor  # mask of the latents on which PANOC runs, (K,)
    nested: ClassVar[dict[str, type[Saved]]] = {"inner": PANOCState}


@dataclass(frozen=True)
class Refactored(Solver[LatentProblem, RefactoredState, Blocks]):
    """PANOC on the joint variable, with periodic refactoring.

    At the start and every ``every`` iterations, the factors are replaced by cheaper ones with the
    same ``W`` (:func:`refactor`), and PANOC continues from there. If that lowers the objective by
    less than the fraction ``worthwhile``, the point is kept and the interval doubles, so that near
    a stationary point this is plain PANOC. At these times, latents that are zero in one factor,
    which descent cannot reactivate, are removed from PANOC's variables and products; earlier if
    many have become zero.

    Parameters
    ----------
    inner : PANOC
    every : int
        Iterations between refactorings, as long as they are worthwhile.
    worthwhile : float
        Minimum relative decrease of the objective for which the L-BFGS memory is discarded.
    revive : bool
        At the start and whenever a refactoring is due, also try to reactivate dead latents
        (:func:`~proxmtl.latent.reactivation.reactivate_latents`); for warm starts from other data.
    most : float
        Skip a refactoring that could cost more flops than this many passes: with thousands of
        latents this is PANOC from a rebalanced start.
    """

    inner: PANOC = field(default_factory=PANOC)
    every: int = 30
    worthwhile: float = 1e-3
    most: float = MOST
    revive: bool = False
    state_type = RefactoredState

    def __post_init__(self) -> None:
        if self.every < 1 or not self.worthwhile > 0:
            raise ValueError(
                f"every, worthwhile: got {self.every}, {self.worthwhile}; use at least 1 and > 0."
            )

    def check(self, problem: LatentProblem) -> None:
        """Accept any :class:`LatentProblem`."""

    def init(self, problem: LatentProblem, x0: Blocks) -> RefactoredState:
        problem.check_point(x0)
        x0 = reactivate_latents(problem, x0) if self.revive else x0
        return self.begin(problem, (*cheapest(problem, x0[:2], self.most), *x0[2:]))

    def begin(self, problem: LatentProblem, x0: Blocks) -> RefactoredState:
        """State before the first iteration, from the given factors without refactoring."""
        live = _kept(*x0[:2])
        inner = self.inner.init(problem, _taken(x0, live))
        return RefactoredState(0, inner.objective, False, 0.0, inner, self.every, self.every, live)

    def step(self, problem: LatentProblem, state: RefactoredState) -> RefactoredState:
        inner = self.inner.step(problem, state.inner)
        iteration = state.iteration + 1
        interval, due, live = state.interval, state.due, state.live
        if iteration >= due:
            moved = self._refactored(problem, inner, live)
            if moved is None:
                interval = 2 * interval
                inner, live = self._without_dead(problem, inner, live)
            else:
                live = _kept(*moved[:2])
                inner = self.inner.init(problem, _taken(moved, live))
            due = iteration + interval
        elif iteration % LOOK == 0:
            inner, live = self._without_dead(problem, inner, live, MANY)
        return RefactoredState(
            iteration, inner.objective, inner.stalled, state.passes, inner, interval, due, live
        )

    def _refactored(self, problem: LatentProblem, inner: PANOCState, live: Tensor) -> Blocks | None:
        """Refactored or reactivated blocks; None if they lower the objective too little."""
        given = _padded(inner.forward_backward, live)
        blocks = reactivate_latents(problem, given) if self.revive else given
        came_back = blocks is not given
        if refactor_passes(problem, *blocks[:2]) > self.most:
            return blocks if came_back else None
        L, S = refactor(problem, *blocks[:2])
        gain = problem.factor_penalty(*blocks[:2]) - problem.factor_penalty(L, S)
        if not (came_back or gain > self.worthwhile * abs(inner.objective)):
            return None
        return (L, S, *blocks[2:])

    def _without_dead(
        self, problem: LatentProblem, inner: PANOCState, live: Tensor, share: float = 0.0
    ) -> tuple[PANOCState, Tensor]:
        """Remove the dead latents from the state, if they exceed a fraction ``share``.

        Returns the state and the mask of the remaining latents.
        """
        blocks = inner.forward_backward
        kept = _kept(*blocks[:2])
        if int((~kept).sum()) <= share * len(kept):
            return inner, live
        entries = torch.cat([part.flatten() for part in _entries(blocks, kept)])
        memory = inner.memory.restricted(entries)
        new = replace(self.inner.init(problem, _taken(blocks, kept)), memory=memory)
        live = live.clone()
        live[live.clone()] = kept
        return new, live

    def start_claim(self, problem: LatentProblem, state: RefactoredState) -> float:
        return self.inner.start_claim(problem, state.inner)  # refactoring can only lower it

    def solution(self, problem: LatentProblem, state: RefactoredState) -> Blocks:
        return _padded(self.inner.solution(problem, state.inner), state.live)

    def certify(self, problem: LatentProblem, state: RefactoredState) -> Certificate:
        return self.inner.certify(problem, state.inner)


def _taken(blocks: Blocks, latents: Tensor) -> Blocks:
    """Select some latents of the blocks."""
    return (blocks[0][:, latents], blocks[1][latents], *blocks[2:])


def _padded(blocks: Blocks, latents: Tensor) -> Blocks:
    """Inverse of :func:`_taken`: the other latents are zero."""
    L, S = blocks[:2]
    wide_L, wide_S = L.new_zeros(len(L), len(latents)), S.new_zeros(len(latents), S.shape[1])
    wide_L[:, latents], wide_S[latents] = L, S
    return (wide_L, wide_S, *blocks[2:])


def _entries(blocks: Blocks, latents: Tensor) -> Blocks:
    """Flat mask of the entries of the blocks that :func:`_taken` keeps."""
    L, S = (torch.zeros_like(block, dtype=torch.bool) for block in blocks[:2])
    L[:, latents], S[latents] = True, True
    return (L, S, *(torch.ones_like(block, dtype=torch.bool) for block in blocks[2:]))
