"""Implicit differentiation of the solution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from proxmtl.adjoints.base import Adjoint, Sensitivity, Trace
from proxmtl.adjoints.linear import LinearSolution, gmres, neumann
from proxmtl.adjoints.linearised import Linearised, linearised
from proxmtl.adjoints.prox_map import ProxDerivative, ProxMap, default_step
from proxmtl.latent import LatentProblem
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.wording import warn

__all__ = ["Implicit"]

POOR = 1e-5
"""Relative residual of the linear system above which a warning is issued."""


@dataclass(frozen=True)
class Implicit(Adjoint):
    """Differentiate the solution by its optimality conditions, and the objective by Danskin.

    For ``q = dQ/dW``, either of two linear systems gives the gradient of Q.

    - On the active set A: ``H_AA v_A = q_A``, ``v = 0`` off A, with the Hessian H of loss and
      penalties; solved by conjugate gradients.
    - From the fixed point ``W = prox_{tR}(W - t grad f(W))``: ``(I - (I - tH) J) u = q``,
      ``v = t J u``, with the Jacobian J of the prox. For penalties without second derivatives.

    Then ``dQ/dX = -(d grad f / dX)'[v]`` and ``dQ/ds = -<v, d grad R / ds>``. Computed in float64.

    Parameters
    ----------
    method : "auto", "active_set" or "fixed_point"
        ``"auto"``: the active set if the penalty has second derivatives on it, and always for the
        factored problem, with its cross blocks (the fixed point is for problems of one block).
    linear_solver : "gmres" or "neumann"
        For the fixed point. The Neumann series takes as many passes as the proximal gradient method
        to the same accuracy, but stores a single vector.
    derivative : "auto", "closed" or "finite"
        Derivative of the prox, for the fixed point: see :class:`ProxMap`.
    tolerance : float
        Relative residual of the linear system.
    max_products : int
        Maximum number of passes for the linear system.

    Warns
    -----
    RuntimeWarning
        If the final relative residual of the linear system is above 1e-5: more products are needed,
        or ``Q`` depends on directions of zero curvature, along which there is no derivative.

    Notes
    -----
    The point must be a minimiser to well below the required accuracy, the active set must be
    locally stable, and no sample may be exactly at a kink of the loss's derivative.

    References
    ----------
    Bertrand et al., "Implicit differentiation for fast hyperparameter selection in non-smooth
    convex learning", 2022; Blondel et al., "Efficient and modular implicit differentiation", 2022.
    """

    differentiates_solution = True
    method: Literal["auto", "active_set", "fixed_point"] = "auto"
    linear_solver: Literal["gmres", "neumann"] = "gmres"
    derivative: ProxDerivative = "auto"
    tolerance: float = 1e-10
    max_products: int = 1000

    def __post_init__(self) -> None:
        if self.method not in ("auto", "active_set", "fixed_point"):
            raise ValueError(
                f"method: got {self.method!r}; use 'auto', 'active_set' or 'fixed_point'."
            )
        if self.linear_solver not in ("gmres", "neumann"):
            raise ValueError(
                f"linear_solver: got {self.linear_solver!r}; use 'gmres' or 'neumann'."
            )
        if self.derivative not in ("auto", "closed", "finite"):
            raise ValueError(
                f"derivative: got {self.derivative!r}; use 'auto', 'closed', 'finite'."
            )
        if not self.tolerance > 0 or self.max_products < 1:
            raise ValueError(
                f"tolerance, max_products: got {self.tolerance}, {self.max_products}; use > 0 and "
                ">= 1."
            )

    def trace(self, problem: Problem | LatentProblem, blocks: tuple[Tensor, ...]) -> Trace:
        if isinstance(problem, LatentProblem):
            if self.method == "fixed_point":
                raise UnsupportedError(
                    "method: the factored problem is differentiated on its active set; use "
                    "Implicit()."
                )
            return _ActiveSetTrace(self, problem, blocks)
        R = problem.regularizer
        closed = R is None or R.has_curvature
        if self.method == "active_set" or (self.method == "auto" and closed):
            return _ActiveSetTrace(self, problem, blocks)
        return _FixedPointTrace(self, problem, blocks[0])


class _ActiveSetTrace(Trace):
    def __init__(
        self, adjoint: Implicit, problem: Problem | LatentProblem, blocks: tuple[Tensor, ...]
    ) -> None:
        super().__init__(problem, blocks)
        self.adjoint = adjoint
        self.linearised: Linearised = linearised(problem, blocks)

    def of_solution(self, q: tuple[Tensor, ...], *, features: bool, strengths: bool) -> Sensitivity:
        model, adjoint = self.linearised, self.adjoint
        solved = model.solve(
            model.pack(q), tolerance=adjoint.tolerance, max_products=adjoint.max_products
        )
        _warn_if_poor(solved)
        by_features = tuple(-part for part in model.by_features(solved.x)) if features else ()
        slopes = -model.by_strengths(solved.x) if strengths else None
        return Sensitivity(by_features, slopes, solved.residual, solved.products)


class _FixedPointTrace(Trace):
    def __init__(self, adjoint: Implicit, problem: Problem, W: Tensor) -> None:
        super().__init__(problem, (W,))
        self.adjoint = adjoint
        self.map = ProxMap(problem, W, default_step(problem), adjoint.derivative)

    def of_solution(self, q: tuple[Tensor, ...], *, features: bool, strengths: bool) -> Sensitivity:
        adjoint, step = self.adjoint, self.map
        b = q[0].to(torch.float64)
        if adjoint.linear_solver == "gmres":
            solved = gmres(
                lambda u: u - step.pull(u)[0],
                b,
                tolerance=adjoint.tolerance,
                limit=adjoint.max_products,
            )
        else:
            solved = neumann(
                lambda u: step.pull(u)[0],
                b,
                tolerance=adjoint.tolerance,
                limit=adjoint.max_products,
            )
        _warn_if_poor(solved)
        v = step.step * step.jacobian(solved.x)
        by_features = tuple(-part for part in step.at.cross(v)) if features else ()
        slopes = step.by_strengths(solved.x, v) if strengths else None
        return Sensitivity(by_features, slopes, solved.residual, solved.products)


def _warn_if_poor(solved: LinearSolution) -> None:
    if solved.residual > POOR:
        warn(
            f"Implicit: the linear system was left with a relative residual of "
            f"{solved.residual:.1e} after {solved.products} products. Raise max_products; if that "
            "does not help, the objective has no curvature in a direction that is differentiated: "
            "add a SquaredFrobenius term.",
            RuntimeWarning,
        )
