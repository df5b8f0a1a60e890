"""What an adjoint is: a rule by which a solve is differentiated."""

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
    """Gradients of one number that depends on a solve.

    Attributes
    ----------
    features : tuple of Tensor
        In each feature matrix of the design; empty where not asked for.
    strengths : Tensor or None
        In each strength; float64.
    residual : float
        Of the linear system behind it, relative to its right-hand side.
    products : int
        Passes made for it, about.
    """

    features: tuple[Tensor, ...] = ()
    strengths: Tensor | None = None
    residual: float = 0.0
    products: int = 0

    def plus(self, other: Sensitivity, scale: float | Tensor = 1.0) -> Sensitivity:
        """``self + scale * other``; an empty side counts as zero."""
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
    """A solved problem, ready to be differentiated by one adjoint.

    Attributes
    ----------
    blocks : tuple of Tensor
        The solution: ``(W,)``, or the factored problem's ``(L, S)`` or ``(L, S, intercept)``.
    """

    def __init__(self, problem: Problem | LatentProblem, blocks: Blocks) -> None:
        self.problem, self.blocks = problem, blocks

    def objective(self) -> float:
        """The objective at the solution."""
        if isinstance(self.problem, LatentProblem):
            return self.problem.objective(self.blocks)
        return float(self.problem.objective(self.blocks[0]))

    def partial(self, *, features: bool, strengths: bool) -> Sensitivity:
        """Gradient of the objective at a fixed parameter: ``R W'``, and the unit penalties."""
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
        """Gradient of the optimal value: at a minimiser the partial one (Danskin)."""
        return self.partial(features=features, strengths=strengths)

    @abstractmethod
    def of_solution(self, q: Blocks, *, features: bool, strengths: bool) -> Sensitivity:
        """Gradient of ``<q, solution>``.

        Raises
        ------
        UnsupportedError
            If this adjoint differentiates the objective only.
        """


class Adjoint(ABC):
    """How a solve is differentiated: an argument of the layer, not a fork of the solver.

    Attributes
    ----------
    differentiates_solution : bool
        It takes the point it is given for the minimiser, and differentiates that: a point far from
        it gives a wrong gradient.
    """

    differentiates_solution: ClassVar[bool] = False

    @abstractmethod
    def trace(self, problem: Problem | LatentProblem, blocks: Blocks) -> Trace:
        """Prepare a solved problem; the trace's own ``blocks`` are what the layer returns.

        Raises
        ------
        UnsupportedError
            If the problem lacks what this adjoint needs.
        """
