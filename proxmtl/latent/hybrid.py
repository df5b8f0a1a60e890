"""The default joint solver: PANOC first, then Gram-Newton, each as long as it is worth it."""

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
"""Iterations of PANOC between looks at whether the other solver is worth it."""

RESERVE = 10
"""Passes that Gram-Newton must have left beyond those of its Gram matrices."""

MOST_NUMBERS = (1 << 30) // (8 * COPIES)
"""Of all tasks' Hessians: with their copies a gigabyte. What memory is free is no matter: the path,
and with it the last digits of a result, hangs on the problem alone."""

MORE = 3
"""Work of a solver, in units of the other's so far, after which it is the other's turn: all is then
at most ``1 + MORE`` times the work of the faster one alone."""


@dataclass
class HybridState(State):
    """State of the solver whose turn it is, the other's being None, and the work of both.

    Work is in operations as :mod:`proxmtl.latent.work` counts them.
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
    """Rent PANOC's iterations, and buy Gram-Newton's when as much as these cost has been spent.

    PANOC with refactoring makes the first digits cheaply and settles the supports, and may need
    thousands of iterations for the next; Gram-Newton starts with the cost of Gram matrices and
    inner solves and then needs a few. So PANOC descends until its operations are those that
    Gram-Newton is predicted to take from its point, and Gram-Newton goes on from there. Whichever
    is faster, the work is at most twice that of the faster one, as far as the prediction holds.
    Where it doesn't, and Gram-Newton has taken three times the work of PANOC, PANOC has another
    turn, until it has taken three times as much, and so on. The one that hasn't ended the run has
    then taken at most three times the work of the other, so that all is at most four times the work
    of the faster one alone; or, where the prediction was too high, at most that and the work of
    Gram-Newton. This is up to the iterations between looks, and as long as the turns of one take
    nothing from the progress of the other. One that can go no further leaves the run to the other
    before its work is done.

    Gram-Newton has no turn where it can't take the problem: sparse features, coupled losses, Gram
    matrices of more than a gigabyte in all, or more passes than are left of the budget. Nor with
    fewer labels a task, on average, than features: weights then fit them nearly all, samples change
    sides all the time, and its iterations are many.

    Parameters
    ----------
    descent : Refactored
    gram : GramNewton
    budget : float
        Passes of the whole run.
    worth : float
        Work of PANOC after which Gram-Newton has its first turn, in units of what that is predicted
        to take.
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
        before = problem.counts.passes  # those of a switch are work of the solver that begins
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
        """The state with the other solver's turn begun, where it is."""
        gram = state.gram
        if gram is not None:
            if gram.stalled:  # it gets no other turn; PANOC goes on as long as it can
                state = replace(state, work_of_gram=math.inf)
            elif state.work_of_gram <= MORE * state.work_of_descent:
                return state
            blocks = self.gram.solution(problem, gram)
            return replace(state, descent=self.descent.begin(problem, blocks), gram=None)
        if state.work_of_gram == math.inf:
            return state
        descent = state.descent
        if descent is not None and descent.stalled and _may_move(descent):
            state = replace(state, work_of_descent=math.inf)  # Gram-Newton's, for as long as it can
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
        if state.descent is None:  # a run that is resumed: its start is not asked for
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
    """Whether a turn of PANOC may end here: at every tenth iteration, with its share done."""
    share_done = state.work_of_gram == 0 or state.work_of_descent >= MORE * state.work_of_gram
    return state.iteration > 0 and state.iteration % EVERY == 0 and share_done


def _may_move(descent: RefactoredState | None) -> bool:
    """Whether PANOC is not at a stationary point to the last digit, where no solver moves."""
    if descent is None:
        return False
    inner = descent.inner
    return not all(map(torch.equal, inner.blocks, inner.forward_backward))


def default_solver(budget: float, *, revive: bool) -> Hybrid:
    """Return the solver of ``algorithm="auto"``."""
    gram = GramNewton(rounds=ROUNDS, revive=revive, whole=0)
    return Hybrid(Refactored(revive=revive), gram, budget)
