"""Factors ``(L A, A^-1 S)`` of the same product with a lower penalty: L-BFGS over invertible A."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.latent.penalties import JointPenalties

__all__ = ["ITERATIONS", "cheaper"]

ITERATIONS = 100
"""Maximum number of iterations of a smoothing stage."""

REMEMBERED = 20
"""Number of pairs of the L-BFGS memory."""

SUFFICIENT = 1e-4
"""Fraction of the predicted decrease that the line search requires (Armijo)."""

TRIALS = 12
"""Maximum number of trial lengths of a step, each a quarter of the last."""

SETTLED = 1e-3
"""An iteration counts as converged if its decrease, relative to the smoothed penalty, is below this
multiple of the smoothing."""

PATIENCE = 2
"""Number of consecutive converged iterations that end a stage."""


def cheaper(
    problem: JointPenalties, L: Tensor, S: Tensor, smoothing: float, iterations: int = ITERATIONS
) -> tuple[Tensor, Tensor]:
    """Return ``(L A, A^-1 S)`` with a lower smoothed penalty, minimised over A by L-BFGS from I.

    Each step updates the factors themselves, so that the next one starts from ``A = I`` in the
    coordinates of the current factors; gradients are always taken there.

    Parameters
    ----------
    problem : JointPenalties
    L, S : Tensor, shapes (D, K) and (K, M), float64
        Factors whose latents are non-zero in both.
    smoothing : float
        Each norm x is smoothed to ``sqrt(x^2 + e^2)``; this is e relative to the mean norm.
    iterations : int
        Maximum number of iterations.
    """
    cost = _Cost(problem, L, S, smoothing)
    A = torch.eye(L.shape[1], dtype=L.dtype, device=L.device)
    value, gradient = cost(A)
    least, settled, memory = SETTLED * smoothing * value, 0, _Pairs()
    for _ in range(iterations):
        direction = memory.direction(gradient)
        slope = float((direction * gradient).sum())
        if not slope < 0:
            break
        # limit the first step to entries of 0.1, whatever the scale of the penalty
        longest = float(direction.abs().max())
        length = 1.0 if memory.there else min(1 / value, 0.1 / longest)
        for _ in range(TRIALS):
            trial = A + length * direction
            reached, ahead = cost(trial)
            if reached <= value + SUFFICIENT * length * slope:
                break
            length /= 4
        else:
            break
        memory.add(length * direction, ahead - gradient)
        settled = settled + 1 if value - reached <= least else 0
        A, value, gradient = trial, reached, ahead
        if settled == PATIENCE:
            break
    return L @ A, torch.linalg.solve(A, S)


@dataclass(frozen=True)
class _Cost:
    """The smoothed penalty of ``(L A, A^-1 S)`` and its gradient in A.

    Factors are scaled to largest entries of about one, so that squares cannot overflow.
    """

    problem: JointPenalties
    L: Tensor
    S: Tensor
    smoothing: float

    @cached_property
    def scaled(self) -> tuple[Tensor, Tensor]:
        return self.L / self.units[0], self.S / self.units[1]

    @cached_property
    def units(self) -> tuple[float, float]:
        of_L, of_S = (2.0 ** math.frexp(float(f.abs().max()))[1] for f in (self.L, self.S))
        return of_L, of_S

    @cached_property
    def strengths(self) -> tuple[float, float, Tensor]:
        """Strengths of the L1 norm, of the ridge, and of each group, for the scaled factors."""
        of_L, of_S = self.units
        problem, weights = self.problem, self.problem.group_norm.layout.weights(self.S)
        strengths = problem.l1.strength * of_L, problem.ridge.strength * of_L**2
        return *strengths, problem.group_norm.strength * of_S * weights

    @cached_property
    def members(self) -> Tensor:
        """Indicator matrix of the tasks in each group, (M, G)."""
        tasks, group_of = self.problem.group_norm.layout.indices(self.S.device)
        out = self.S.new_zeros(self.S.shape[1], len(self.strengths[2]))
        out[tasks, group_of] = 1.0
        return out

    @cached_property
    def roundings(self) -> tuple[float, float]:
        """Squared smoothing e^2 of the entries of L and of the norms of S."""
        L, S = self.scaled
        norms = (S.square() @ self.members).sqrt_()
        of_L, of_S = float(L.abs().mean()), float(norms.mean())
        return (self.smoothing * of_L) ** 2, (self.smoothing * of_S) ** 2

    def __call__(self, A: Tensor) -> tuple[float, Tensor]:
        """Value and gradient in A; the value is infinite if A is singular."""
        (L, S), (gamma, ridge, mu) = self.scaled, self.strengths
        inverse, info = torch.linalg.inv_ex(A)
        if int(info):
            return math.inf, A
        new_L, new_S = L @ A, inverse @ S
        root_L = (new_L.square() + self.roundings[0]).sqrt_()
        root_S = (new_S.square() @ self.members).add_(self.roundings[1]).sqrt_()
        value = gamma * root_L.sum() + (root_S @ mu).sum()
        along_L = gamma * new_L / root_L
        if ridge:
            value = value + ridge * new_L.square().sum()
            along_L.add_(new_L, alpha=2 * ridge)
        along_S = new_S * ((mu / root_S) @ self.members.T)
        # d(A^-1 S) = -A^-1 dA (A^-1 S)
        return float(value), L.T @ along_L - inverse.T @ (along_S @ new_S.T)


class _Pairs:
    """The last pairs of L-BFGS, stacked as matrices for its compact representation.

    Byrd, Nocedal and Schnabel, "Representations of quasi-Newton matrices and their use in limited
    memory methods", 1994.
    """

    def __init__(self) -> None:
        self.steps: Tensor | None = None
        self.changes: Tensor | None = None

    @property
    def there(self) -> bool:
        return self.steps is not None

    def add(self, step: Tensor, change: Tensor) -> None:
        """Add a pair if its curvature is positive."""
        s, y = step.reshape(1, -1), change.reshape(1, -1)
        if not float((s * y).sum()) > 1e-12 * float(s.norm() * y.norm()):
            return
        if self.steps is None or self.changes is None:
            self.steps, self.changes = s, y
        else:
            self.steps = torch.cat([self.steps[1 - REMEMBERED :], s])
            self.changes = torch.cat([self.changes[1 - REMEMBERED :], y])

    def direction(self, gradient: Tensor) -> Tensor:
        """Quasi-Newton direction: minus the inverse-Hessian approximation times the gradient."""
        if self.steps is None or self.changes is None:
            return -gradient
        S, Y, g = self.steps, self.changes, gradient.reshape(-1)
        products = S @ Y.T
        curvature = products.diagonal()
        first = curvature[-1] / Y[-1].square().sum()
        R = products.triu()
        u = torch.linalg.solve_triangular(R, (S @ g)[:, None], upper=True)
        Yg = (Y @ g)[:, None]
        inner = curvature[:, None] * u + first * (Y @ (Y.T @ u) - Yg)
        v = torch.linalg.solve_triangular(R.T, inner, upper=False)
        out = first * (g - (Y.T @ u)[:, 0]) + (S.T @ v)[:, 0]
        found: Tensor = -out.view_as(gradient)
        return found
