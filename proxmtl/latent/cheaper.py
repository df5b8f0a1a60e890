"""Factors of a given product with a lower penalty: quasi-Newton over an invertible matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.latent.penalties import JointPenalties

__all__ = ["ITERATIONS", "cheaper"]

ITERATIONS = 100
"""Most of a stage."""

REMEMBERED = 20
"""Pairs of the quasi-Newton memory."""

SUFFICIENT = 1e-4
"""Fraction of the predicted decrease that the line search asks for (Armijo)."""

TRIALS = 12
"""Lengths of a step that are tried, each a quarter of the last."""

SETTLED = 1e-3
"""Decrease of an iteration, relative to the smoothed penalty and in units of the smoothing, below
which it is close enough."""

PATIENCE = 2
"""Such iterations, one after another, that end a stage."""


def cheaper(
    problem: JointPenalties, L: Tensor, S: Tensor, smoothing: float, iterations: int = ITERATIONS
) -> tuple[Tensor, Tensor]:
    """``(L A, A^-1 S)`` with a lower smoothed penalty, A moved from the identity by L-BFGS.

    The factors are updated by each step, ``A`` being their product: a step from the present factors
    is one from the identity, so that the gradient is that of ``A = I`` in their own coordinates.

    Parameters
    ----------
    problem : JointPenalties
    L, S : Tensor, shapes (D, K) and (K, M), float64
        Of latents that are alive in both.
    smoothing : float
        Of the norms, ``sqrt(x^2 + e^2)``, with e relative to their mean.
    iterations : int
        At most.
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
        # a first step of a tenth of the identity, at most, in whatever units the penalty is
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

    In units in which the largest entries of L and S are about one, so that squares are in range.
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
        """Of the L1 norm, of the ridge, and of each group."""
        of_L, of_S = self.units
        problem, weights = self.problem, self.problem.group_norm.layout.weights(self.S)
        strengths = problem.l1.strength * of_L, problem.ridge.strength * of_L**2
        return *strengths, problem.group_norm.strength * of_S * weights

    @cached_property
    def members(self) -> Tensor:
        """Which task is in which group, (M, G): ones and zeros."""
        tasks, group_of = self.problem.group_norm.layout.indices(self.S.device)
        out = self.S.new_zeros(self.S.shape[1], len(self.strengths[2]))
        out[tasks, group_of] = 1.0
        return out

    @cached_property
    def roundings(self) -> tuple[float, float]:
        """Squares of what is added to entries of L and to norms of S."""
        L, S = self.scaled
        norms = (S.square() @ self.members).sqrt_()
        of_L, of_S = float(L.abs().mean()), float(norms.mean())
        return (self.smoothing * of_L) ** 2, (self.smoothing * of_S) ** 2

    def __call__(self, A: Tensor) -> tuple[float, Tensor]:
        """Value and gradient; infinite where A is singular."""
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
    """The last pairs of L-BFGS in one matrix, for its compact form.

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
        """Minus the inverse Hessian's approximation times the gradient."""
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
