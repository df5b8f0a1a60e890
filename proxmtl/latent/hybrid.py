"""The default solver of the factored problem: PANOC first, then Gram-Newton, by predicted cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from proxmtl.latent.gram_newton import COPIES, GramNewton, GramNewtonState
from proxmtl.latent.grams import sides
from proxmtl.latent.problem import LatentProblem
from proxmtl.latent.refactor import Refactored, RefactoredState
from proxmtl.latent.work import ROUNDS, Sizes, sizes
from proxmtl.result import Certificate
from proxmtl.solvers.base import Solver
from proxmtl.solvers.blocks import Blocks
from proxmtl.state import Saved, State

__all__ = ["Hybrid", "HybridState", "default_solver"]

EVERY = 10
"""Iterations of PANOC between decisions whether to switch to Gram-Newton."""

RESERVE = 10
"""Passes that the budget must hold for Gram-Newton beyond those of its Gram matrices."""

MOST_NUMBERS = (1 << 30) // (8 * COPIES)
"""Maximum number of entries of all Hessians, 1 GiB with their copies; fixed, so that results do
not depend on the free memory."""

MORE = 3
"""A solver's turn ends when it has done this many times the work of the other, so that the total is
at most ``1 + MORE`` times the work of the faster one alone."""


@dataclass
class HybridState(State):
    """State of the active solver (that of the other is None), and the work of both so far.

    Work is in operations, as counted by :mod:`proxmtl.latent.work`.
    """

    descent: RefactoredState | None
    gram: GramNewtonState | None
    work_of_descent: float
    work_of_gram: float
    nested: ClassVar[dict[str, type[Saved]]] = {"descent": RefactoredState, "gram": GramNewtonState}

    @property
    def long(self) -> bool:  # type: ignore[override]
        return self.gram is not None


@dataclass(frozen=True)
class Hybrid(Solver[LatentProblem, HybridState, Blocks]):
    """PANOC, then Gram-Newton once PANOC has done as much work as that is predicted to take.

    PANOC with refactoring gains the first digits cheaply and settles the supports, but may need
    thousands of iterations for more digits. Gram-Newton has a high initial cost (Gram matrices) and
    then needs few iterations. As in the ski-rental problem, PANOC runs until its operations equal
    those that Gram-Newton is predicted to take from its point, and Gram-Newton continues from
    there. If the prediction holds, the work is at most twice that of the faster solver alone.
    If it does not, and Gram-Newton has done three times the work of PANOC, it is PANOC's turn
    again, until that has done three times the work of Gram-Newton, and so on. The total is then at
    most four times the work of the faster solver alone (plus Gram-Newton's work, if the prediction
    was too high), provided that the turns of one solver do not undo the progress of the other. A
    solver that stalls hands over to the other at once.

    Gram-Newton gets no turn if it cannot take the problem: sparse features, coupled losses, Gram
    matrices of more than 1 GiB, or more passes than remain. Nor if tasks have, on average, fewer
    labels than features: nearly all labels are then fitted, the samples within the margin keep
    changing, and Gram-Newton takes many iterations.

    Parameters
    ----------
    descent : Refactored
    gram : GramNewton
    budget : float
        Limit of the passes of the whole run.
    worth : float
        Gram-Newton gets its first turn when PANOC has done this many times the work that
        Gram-Newton is predicted to take.
    """

    descent: Refactored = field(default_factory=Refactored)
    gram: GramNewton = field(default_factory=lambda: GramNewton(rounds=ROUNDS, whole=0))
    budget: float = math.inf
    worth: float = 1.0
    state_type = HybridState

    def __post_init__(self) -> None:
        if not (self.budget > 0 and self.worth >= 0):
            raise ValueError(f"budget, worth: got {self.budget}, {self.worth}; use > 0 and >= 0.")

    def check(self, problem: LatentProblem) -> None:
        self.descent.check(problem)

    def init(self, problem: LatentProblem, x0: Blocks) -> HybridState:
        inner = self.descent.init(problem, x0)
        return HybridState(0, inner.objective, False, 0.0, inner, None, 0.0, 0.0)

    def step(self, problem: LatentProblem, state: HybridState) -> HybridState:
        before = problem.counts.passes  # passes of a switch count as work of the solver it begins
        state = self._switched(problem, state)
        blocks = self.solution(problem, state)
        work_of_descent, work_of_gram = state.work_of_descent, state.work_of_gram
        descent, gram = state.descent, state.gram
        if gram is not None:
            old, gram = gram, self.gram.step(problem, gram)
            rounds = gram.memory[-1] - old.memory[-1]
            passes = problem.counts.passes - before
            work_of_gram += sizes(problem, blocks).of_gram(rounds, passes)
            inner: State = gram
        else:
            assert descent is not None
            descent = self.descent.step(problem, descent)
            passes = problem.counts.passes - before
            work_of_descent += sizes(problem, blocks).of_descent(passes)
            inner = descent
        stalled = inner.stalled and gram is None
        if stalled and _may_move(descent) and math.isfinite(work_of_gram):
            here = sizes(problem, self.solution(problem, replace(state, descent=descent)))
            stalled = not self._takes(problem, here, state.passes + passes)
        return HybridState(
            state.iteration + 1,
            inner.objective,
            stalled,
            state.passes,
            descent,
            gram,
            work_of_descent,
            work_of_gram,
        )

    def _switched(self, problem: LatentProblem, state: HybridState) -> HybridState:
        """Switch to the other solver if it is its turn."""
        gram = state.gram
        if gram is not None:
            if gram.stalled:  # Gram-Newton gets no further turn
                state = replace(state, work_of_gram=math.inf)
            elif state.work_of_gram <= MORE * state.work_of_descent:
                return state
            blocks = self.gram.solution(problem, gram)
            return replace(state, descent=self.descent.begin(problem, blocks), gram=None)
        if state.work_of_gram == math.inf:
            return state
        descent = state.descent
        if descent is not None and descent.stalled and _may_move(descent):
            state = replace(state, work_of_descent=math.inf)  # PANOC gets no further turn
        elif not _is_look(state):
            return state
        blocks = self.solution(problem, state)
        here = sizes(problem, blocks)
        if not state.work_of_gram and state.work_of_descent < self.worth * here.predicted:
            return state
        if not self._takes(problem, here, state.passes):
            return state
        return replace(state, descent=None, gram=self.gram.begin(problem, blocks))

    def _takes(self, problem: LatentProblem, here: Sizes, spent: float) -> bool:
        """Whether Gram-Newton can take the problem, in few iterations and the passes left."""
        if self.budget - spent < here.gram_passes + RESERVE:
            return False
        tasks, features, side = sides(problem)
        wide = here.observed < tasks * features
        if wide or tasks * side**2 > MOST_NUMBERS:
            return False
        return self.gram.lacking(problem) is None

    def check_resume(self, problem: LatentProblem, state: HybridState) -> None:
        if state.gram is not None:
            self.gram.check_resume(problem, state.gram)
        else:
            super().check_resume(problem, state)

    def start_claim(self, problem: LatentProblem, state: HybridState) -> float:
        if state.descent is None:  # only in a resumed run, which does not use the claim
            return self.bound(problem, state)
        return self.descent.start_claim(problem, state.descent)

    def solution(self, problem: LatentProblem, state: HybridState) -> Blocks:
        if state.gram is not None:
            return self.gram.solution(problem, state.gram)
        assert state.descent is not None
        return self.descent.solution(problem, state.descent)

    def certify(self, problem: LatentProblem, state: HybridState) -> Certificate:
        return problem.certificate(self.solution(problem, state))


def _is_look(state: HybridState) -> bool:
    """Whether PANOC's turn may end here: every tenth iteration, once it has done its work."""
    share_done = state.work_of_gram == 0 or state.work_of_descent >= MORE * state.work_of_gram
    return state.iteration > 0 and state.iteration % EVERY == 0 and share_done


def _may_move(descent: RefactoredState | None) -> bool:
    """Whether PANOC has not reached a point that is stationary to the last digit."""
    if descent is None:
        return False
    inner = descent.inner
    return not all(map(torch.equal, inner.blocks, inner.forward_backward))


def default_solver(budget: float, *, revive: bool) -> Hybrid:
    """Return the solver of ``algorithm="auto"``."""
    gram = GramNewton(rounds=ROUNDS, revive=revive, whole=0)
    return Hybrid(Refactored(revive=revive), gram, budget)
