"""Second-order model of a problem on its active set: Hessian and mixed derivatives."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from proxmtl.adjoints.linear import LinearSolution, conjugate_gradients
from proxmtl.adjoints.loss_at import LossAt
from proxmtl.adjoints.strengths import acting_penalties, gradient_slope
from proxmtl.latent import LatentProblem
from proxmtl.latent.parts import Parts
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError

__all__ = ["ConvexLinearised", "JointLinearised", "Linearised", "linearised"]

Blocks = tuple[Tensor, ...]


class Linearised(ABC):
    """Second-order model of an objective in the coordinates along which it is smooth.

    Valid if the active set is locally stable: no coordinate at a kink has its subgradient on the
    boundary of the subdifferential, and no sample is exactly at a kink of the loss's derivative.

    Attributes
    ----------
    mask : Tensor
        1 in the active coordinates, 0 elsewhere; float64. All vectors have this shape.
    """

    mask: Tensor

    @abstractmethod
    def pack(self, blocks: Blocks) -> Tensor:
        """Convert blocks of the parameter to a vector of this model."""

    @abstractmethod
    def hessian(self, v: Tensor) -> Tensor:
        """Product of ``v`` with the Hessian in the active coordinates; costs one pass."""

    @abstractmethod
    def by_features(self, v: Tensor) -> Blocks:
        """Gradient in the features of ``<v, gradient of the objective>``."""

    @abstractmethod
    def by_strengths(self, v: Tensor) -> Tensor:
        """Gradient in the strengths of ``<v, gradient of the objective>``; float64."""

    def solve(
        self,
        q: Tensor,
        guess: Tensor | None = None,
        *,
        tolerance: float = 1e-10,
        max_products: int = 1000,
    ) -> LinearSolution:
        """Solve ``H_AA v_A = q_A`` with ``v = 0`` off the active set, by conjugate gradients.

        A function ``Q`` of the solution with gradient ``q`` changes by
        ``-<v, change of the objective's gradient>``.
        """
        start = None if guess is None else guess.to(q) * self.mask
        return conjugate_gradients(
            self.hessian, q * self.mask, start, tolerance=tolerance, limit=max_products
        )


class ConvexLinearised(Linearised):
    """Model of a :class:`Problem`; vectors are parameters, including the intercept row.

    Raises
    ------
    UnsupportedError
        If a penalty has no second derivatives on its active set, or the problem is smoothed.
    """

    def __init__(self, problem: Problem, W: Tensor) -> None:
        R = problem.regularizer
        if problem.smooth_terms:
            raise UnsupportedError("adjoint: takes the problem unsmoothed.")
        if R is not None and not R.has_curvature:
            raise UnsupportedError(
                f"adjoint: {type(R).__name__} has no curvature on an active set; use "
                "Implicit(method='fixed_point')."
            )
        self.problem = problem
        self.at = LossAt(problem, W.to(torch.float64))
        self.penalised, bias = problem.design.split(self.at.W)
        inside = torch.ones_like(self.penalised)
        if R is not None:
            inside = R.active(self.penalised).to(self.penalised)
        self.mask = problem.design.join(inside, None if bias is None else torch.ones_like(bias))

    def pack(self, blocks: Blocks) -> Tensor:
        return blocks[0].to(torch.float64)

    def hessian(self, v: Tensor) -> Tensor:
        R, design = self.problem.regularizer, self.problem.design
        out = self.at.curvature(v)
        along, of_bias = design.split(v)
        bent = 2 * self.problem.ridge * along
        if R is not None:
            bent = bent + R.curvature_product(self.penalised, along)
        return (
            out + design.join(bent, None if of_bias is None else torch.zeros_like(of_bias))
        ) * self.mask

    def by_features(self, v: Tensor) -> Blocks:
        return self.at.cross(v)

    def by_strengths(self, v: Tensor) -> Tensor:
        along, _ = self.problem.design.split(v)
        slopes = [
            float((along * gradient_slope(term, self.penalised)).sum())
            for term, _ in acting_penalties(self.problem)
        ]
        return torch.tensor(slopes, dtype=torch.float64)


class JointLinearised(Linearised):
    """Model of the factored problem; vectors are its concatenated blocks.

    The Hessian of the loss in (L, S) has two parts: the Hessian in W along ``U = V_L S + L V_S``,
    and ``<G, V_L V_S>`` with the gradient ``G`` in W, which couples L and S.
    """

    def __init__(self, problem: LatentProblem, blocks: Blocks) -> None:
        self.problem = problem
        self.blocks = tuple(block.to(torch.float64) for block in blocks)
        self.at = LossAt(problem, problem.weights(self.blocks))
        self.G, _ = problem.design.split(self.at.gradient())
        L, S = self.blocks[:2]
        active = (problem.l1.active(L), problem.group_norm.active(S))
        rest = tuple(torch.ones_like(block) for block in self.blocks[2:])
        self.mask = self.pack((*active, *rest))

    def pack(self, blocks: Blocks) -> Tensor:
        return torch.cat([block.to(torch.float64).reshape(-1) for block in blocks])

    def from_weights(self, slope: Tensor) -> Tensor:
        """Chain rule: gradient in the blocks from the gradient in ``W``, with intercept row."""
        return self.pack(self.problem.pull_back(self.blocks, slope))

    def _unpack(self, v: Tensor) -> Blocks:
        parts = torch.split(v, [block.numel() for block in self.blocks])
        return tuple(p.view_as(block) for p, block in zip(parts, self.blocks, strict=True))

    def _along(self, v: Tensor) -> tuple[Parts, Tensor]:
        """Blocks of ``v``, and the derivative of the design's parameter along them."""
        parts = self.problem.parts(self._unpack(v))
        L, S = self.blocks[:2]
        U = parts.L @ S + L @ parts.S
        U = U if parts.own is None else U + parts.own
        return parts, self.problem.design.join(U, parts.intercept)

    def hessian(self, v: Tensor) -> Tensor:
        problem, S = self.problem, self.blocks[1]
        along, U = self._along(v)
        bent = problem.parts(problem.pull_back(self.blocks, self.at.curvature(U)))
        bent = bent._replace(
            L=bent.L + self.G @ along.S.T + 2 * problem.ridge.strength * along.L,
            S=bent.S + along.L.T @ self.G + problem.group_norm.curvature_product(S, along.S),
        )
        if problem.own is not None and bent.own is not None and along.own is not None:
            bent = bent._replace(own=bent.own + 2 * problem.own.strength * along.own)
        return self.pack(problem.blocks(bent)) * self.mask

    def by_features(self, v: Tensor) -> Blocks:
        return self.at.cross(self._along(v)[1])

    def by_strengths(self, v: Tensor) -> Tensor:
        parts = self._unpack(v)
        slopes = [
            float((parts[block] * gradient_slope(term, self.blocks[block])).sum())
            for term, block in acting_penalties(self.problem)
        ]
        return torch.tensor(slopes, dtype=torch.float64)


def linearised(problem: Problem | LatentProblem, blocks: Blocks) -> Linearised:
    """Build the second-order model of a problem at a point, given as its blocks."""
    if isinstance(problem, LatentProblem):
        return JointLinearised(problem, blocks)
    return ConvexLinearised(problem, blocks[0])
