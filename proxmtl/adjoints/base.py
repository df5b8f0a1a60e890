"""The contract of an adjoint: a rule by which a solve is differentiated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from proxmtl.adjoints.loss_at import LossAt
from proxmtl.adjoints.strengths import acting_penalties, value_slope
from proxmtl.latent import LatentProblem
from proxmtl.problem import Problem

__all__ = ["Adjoint", "Sensitivity", "Trace"]

Blocks = tuple[Tensor, ...]


@dataclass(frozen=True)
class Sensitivity:
    """Gradients of a scalar function of a solve.

    Attributes
    ----------
    features : tuple of Tensor
        Gradient in each feature matrix of the design; empty unless requested.
    strengths : Tensor or None
        Gradient in the strengths; float64.
    residual : float
        Relative residual of the linear system that was solved.
    products : int
        Approximate number of passes made.
    """

    features: tuple[Tensor, ...] = ()
    strengths: Tensor | None = None
    residual: float = 0.0
    products: int = 0

    def plus(self, other: Sensitivity, scale: float | Tensor = 1.0) -> Sensitivity:
        """``self + scale * other``; a missing gradient counts as zero."""
        features = (
            tuple(a + scale * b for a, b in zip(self.features, other.features, strict=True))
            if self.features and other.features
            else (self.features or tuple(scale * b for b in other.features))
        )
        strengths = self.strengths
        if other.strengths is not None:
            moved = float(scale) * other.strengths
            strengths = moved if strengths is None else strengths + moved
        return Sensitivity(
            features,
            strengths,
            max(self.residual, other.residual),
            self.products + other.products,
        )


class Trace(ABC):
    """A solved problem with what an adjoint needs to differentiate it.

    Attributes
    ----------
    blocks : tuple of Tensor
        The solution: ``(W,)``, or the factored problem's ``(L, S)`` or ``(L, S, intercept)``.
    """

    def __init__(self, problem: Problem | LatentProblem, blocks: Blocks) -> None:
        self.problem, self.blocks = problem, blocks

    def objective(self) -> float:
        """Objective at the solution."""
        if isinstance(self.problem, LatentProblem):
            return self.problem.objective(self.blocks)
        return float(self.problem.objective(self.blocks[0]))

    def partial(self, *, features: bool, strengths: bool) -> Sensitivity:
        """Partial gradient of the objective at a fixed parameter.

        ``R W'`` in the features; in each strength, the penalty at strength 1.
        """
        problem = self.problem
        by_features: tuple[Tensor, ...] = ()
        if features:
            W = self.blocks[0]
            if isinstance(problem, LatentProblem):
                W = problem.weights(self.blocks)
            by_features = LossAt(problem, W).by_features()
        slopes = None
        if strengths:
            slopes = torch.tensor(
                [
                    value_slope(term, self._penalised(block))
                    for term, block in acting_penalties(problem)
                ],
                dtype=torch.float64,
            )
        return Sensitivity(by_features, slopes)

    def _penalised(self, block: int) -> Tensor:
        wide = self.blocks[block].to(torch.float64)
        if isinstance(self.problem, LatentProblem):
            return wide
        return self.problem.design.split(wide)[0]

    def of_objective(self, *, features: bool, strengths: bool) -> Sensitivity:
        """Gradient of the optimal value: the partial gradient at the minimiser (Danskin)."""
        return self.partial(features=features, strengths=strengths)

    @abstractmethod
    def of_solution(self, q: Blocks, *, features: bool, strengths: bool) -> Sensitivity:
        """Gradient of ``<q, solution>`` (vector-Jacobian product).

        Raises
        ------
        UnsupportedError
            If this adjoint differentiates the objective only.
        """


class Adjoint(ABC):
    """A rule by which a solve is differentiated; independent of the solver.

    Attributes
    ----------
    differentiates_solution : bool
        Whether the solution has a gradient. The rule then assumes that the given point is the
        minimiser; the gradient is wrong for a point far from it.
    """

    differentiates_solution: ClassVar[bool] = False

    @abstractmethod
    def trace(self, problem: Problem | LatentProblem, blocks: Blocks) -> Trace:
        """Prepare a solved problem; a layer returns the ``blocks`` of the trace as the solution.

        Raises
        ------
        UnsupportedError
            If the problem lacks what this adjoint needs.
        """
