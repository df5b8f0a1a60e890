"""Iteratively reweighted least squares for group norms and their squares."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import (
    GroupL2,
    SquaredFrobenius,
    SquaredGroupL2,
    UnsupportedError,
    WeightedFrobenius,
)
from proxmtl.solvers.base import Solver
from proxmtl.solvers.fista import FISTA, FISTAState
from proxmtl.state import Saved, State

__all__ = ["IRLS", "IRLSState"]


@dataclass
class IRLSState(State):
    """State of IRLS: the state of FISTA on the current weighted ridge problem."""

    inner: FISTAState
    nested: ClassVar[dict[str, type[Saved]]] = {"inner": FISTAState}


@dataclass(frozen=True)
class IRLS(Solver[Problem, IRLSState, Tensor]):
    """Majorise the penalty by a weighted ridge at each iterate, and minimise that by FISTA.

    With block norms ``n_b = w_b ||S_b||`` and ``r_b = sqrt(n_b^2 + (smoothing unit)^2)``,

    - ``(sum n_b)^2 <= sum n_b^2 / theta_b`` at ``theta_b = r_b / sum r``: for
      :class:`SquaredGroupL2`;
    - ``sum n_b <= 1/2 sum (n_b^2 / eta_b + eta_b)`` at ``eta_b = r_b``: for :class:`GroupL2`.

    Where Nesterov's smoothing bounds the penalty from below, this one bounds it from above. No
    block becomes exactly zero, and blocks approach zero slowly: solvers that use the exact prox of
    the penalty are better in every respect. Provided to reproduce solvers that square the norm.

    Parameters
    ----------
    smoothing : float
        ``> 0``, since a zero block could otherwise never grow again. In units of
        :attr:`Problem.weight_unit`, so independent of the scale of the features.
    inner_iterations : int
        FISTA iterations between two reweightings.

    References
    ----------
    Argyriou, Evgeniou, Pontil, "Convex multi-task feature learning", 2008; Daubechies, DeVore,
    Fornasier, Gunturk, "Iteratively reweighted least squares minimization for sparse recovery",
    2010.
    """

    smoothing: float = 1e-8
    inner_iterations: int = 10
    inner: FISTA = field(default_factory=FISTA)
    state_type = IRLSState
    needs_curvature = False

    def __post_init__(self) -> None:
        if not self.smoothing > 0 or self.inner_iterations < 1:
            raise ValueError(
                f"smoothing, inner_iterations: got {self.smoothing} and {self.inner_iterations}; "
                "use smoothing > 0 and at least one iteration."
            )

    def check(self, problem: Problem) -> None:
        if not isinstance(problem, Problem) or not isinstance(
            problem.regularizer, (GroupL2, SquaredGroupL2)
        ):
            raise UnsupportedError(
                "IRLS reweights one GroupL2 or SquaredGroupL2 penalty (and squared norms); use "
                "FISTA for others."
            )

    def init(self, problem: Problem, x0: Tensor) -> IRLSState:
        problem.check_point(x0)
        inner = self.inner.init(self._majorised(problem, x0), x0)
        objective = self._objective(problem, inner)
        return IRLSState(0, objective, False, 0.0, inner)

    def step(self, problem: Problem, state: IRLSState) -> IRLSState:
        ridge = self._majorised(problem, state.inner.x)
        x, scores = state.inner.x, state.inner.scores
        inner = replace(
            state.inner,
            objective=self._objective(ridge, state.inner),
            previous=x,
            previous_scores=scores,
            momentum=1.0,
        )
        for _ in range(self.inner_iterations):
            inner = self.inner.step(ridge, inner)
        return IRLSState(
            state.iteration + 1,
            self._objective(problem, inner),
            torch.equal(inner.x, x),
            state.passes,
            inner,
        )

    def check_resume(self, problem: Problem, state: IRLSState) -> None:
        self.inner.check_resume(problem, state.inner)
        _ = problem.weight_unit  # computed here, before the count of the resumed run begins

    def solution(self, problem: Problem, state: IRLSState) -> Tensor:  # noqa: ARG002
        return state.inner.x

    def _objective(self, problem: Problem, inner: FISTAState) -> float:
        return float(problem.data.value(inner.scores) + problem.regularizer_value(inner.x))

    def _majorised(self, problem: Problem, x: Tensor) -> Problem:
        """The problem with the weighted ridge in place of the penalty."""
        penalty = problem.regularizer
        assert isinstance(penalty, (GroupL2, SquaredGroupL2))
        norm = penalty if isinstance(penalty, GroupL2) else penalty.norm
        penalised, _ = problem.design.split(x)
        rows, restore = norm.layout.rows(penalised)
        weights = norm.layout.weights(x)
        least = self.smoothing * problem.weight_unit
        rounded = torch.hypot(weights * norm.layout.norms(rows), weights.new_tensor(least))
        slope = penalty.strength * weights.square() / (2 * rounded)
        if isinstance(penalty, SquaredGroupL2):
            slope = slope * rounded.sum()
        bends = restore(norm.layout.spread(slope, 0.0))
        ridge = [r for r in problem.regularizers if isinstance(r, SquaredFrobenius)]
        return problem.with_regularizers([WeightedFrobenius(bends, 1.0), *ridge])
