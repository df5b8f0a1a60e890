"""Minimisation of a quadratic model plus penalties over the factors, by PALM and Newton steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.latent.grams import Reduced, times
from proxmtl.latent.manifold import Pair, newton_direction
from proxmtl.latent.problem import LatentProblem

__all__ = ["Memory", "Model", "Point", "largest_relative", "minimise"]

SUFFICIENT = 1e-4
"""Fraction of the predicted decrease that the line search requires (Armijo)."""

TRIALS = 7
"""Maximum number of trial lengths of a Newton step."""

SHRINK = 0.4
"""Factor by which a rejected step length is shortened."""

ATTEMPTS = 8
"""Maximum number of trial dampings of a Newton step."""

FARTHEST = 1e4
"""Maximum step of a block, in units of one over the bound on its curvature."""

HALVINGS = 60
"""Maximum number of halvings of a block's step."""


class Point(NamedTuple):
    """Factors, and the model's smooth value, penalty and gradient there."""

    L: Tensor
    S: Tensor
    smooth: float
    penalty: float
    G: Tensor
    """Gradient of the smooth part in ``L S``, (D, M)."""

    @property
    def value(self) -> float:
        return self.smooth + self.penalty


class Memory(NamedTuple):
    """Step lengths and damping that one inner solve passes to the next, in the run's state."""

    reach_l: float = 1.0
    """Step along L, in units of one over a bound on the curvature."""
    reach_s: float = 1.0
    """Step along S, likewise."""
    damping: float = 0.0
    """Levenberg-Marquardt damping: added to the diagonal of a Hessian, in units of its mean."""
    rounds: float = 0.0
    """Number of rounds made so far."""


@dataclass(frozen=True)
class Model:
    """``sum_m d_m' H_m d_m / 2 + g_m' d_m`` with ``d = L S - centre``, plus the factors' penalties.

    Attributes
    ----------
    problem : LatentProblem
        Provides the penalties.
    quadratic : Reduced
        Hessians ``H_m`` and slopes ``g_m``.
    centre : Tensor, shape (D, M)
        ``L S`` at which the loss was modelled.
    """

    problem: LatentProblem
    quadratic: Reduced
    centre: Tensor

    def at(self, L: Tensor, S: Tensor) -> Point:
        d = L @ S - self.centre
        Hd = times(self.quadratic.hessians, d)
        smooth = float((d * (Hd / 2 + self.quadratic.slopes)).sum())
        return Point(L, S, smooth, self.penalty(L, S), Hd + self.quadratic.slopes)

    def penalty(self, L: Tensor, S: Tensor) -> float:
        of_L = self.gamma * L.abs().sum() + self.ridge * L.square().sum()
        return float(of_L + (self.norms(S) @ self.bounds).sum())

    @property
    def gamma(self) -> float:
        return self.problem.l1.strength

    @property
    def ridge(self) -> float:
        return self.problem.ridge.strength

    @cached_property
    def bounds(self) -> Tensor:
        """The paper's mu times the weights of the groups, (G,)."""
        layout, like = self.problem.group_norm.layout, self.centre
        return self.problem.group_norm.strength * layout.weights(like)

    @cached_property
    def members(self) -> Tensor:
        """Indicator matrix of the tasks in each group, (M, G)."""
        tasks, group_of = self.problem.group_norm.layout.indices(self.centre.device)
        out = self.centre.new_zeros(self.centre.shape[1], len(self.problem.groups))
        out[tasks, group_of] = 1.0
        return out

    @property
    def disjoint(self) -> bool:
        return self.problem.groups.is_disjoint

    def norms(self, S: Tensor) -> Tensor:
        """Norm of each row of S on each group, (K, G)."""
        return (S.square() @ self.members).sqrt()

    @cached_property
    def curvature(self) -> Tensor:
        """Upper bounds on the largest eigenvalues of the Hessians, (M,)."""
        bounds: Tensor = torch.linalg.matrix_norm(self.quadratic.hessians)
        return bounds

    def residual(self, point: Point) -> float:
        """Larger of the KKT residuals of L and S, relative to the smooth part's gradients."""
        L, S, _, _, G = point
        along_L, along_S = G @ S.T, L.T @ G
        slope = along_L + 2 * self.ridge * L
        at_zero = slope.sign() * (slope.abs() - self.gamma).clamp_min(0)
        of_L = torch.where(L != 0, slope + self.gamma * L.sign(), at_zero)
        of_S = self.problem.group_norm.kkt_residual(S, along_S)
        return largest_relative([(of_L, along_L.norm()), (of_S, along_S.norm())])


def largest_relative(parts: list[tuple[Tensor, Tensor]]) -> float:
    """Largest scaled residual of a block, as in a certificate, from (residual, gradient) pairs.

    A block whose gradient is zero is scaled by the norm of all gradients.
    """
    norms = [(float(residual.norm()), float(unit)) for residual, unit in parts]
    whole = math.hypot(*(unit for _, unit in norms)) or 1.0
    return max(residual / (unit or whole) for residual, unit in norms)


def minimise(
    model: Model, factors: Pair, memory: Memory, *, tolerance: float, rounds: int
) -> tuple[Point, Memory]:
    """Minimise the model from given factors until its relative KKT residual is ``tolerance``.

    Each of at most ``rounds`` rounds takes two PALM steps, which change the support, and one Newton
    step on the non-zero entries. The objective of the model never rises.
    """
    L, S = factors
    used = (L != 0).any(0) | (S != 0).any(1)
    point = model.at(L[:, used], S[used])
    for _ in range(rounds if bool(used.any()) else 0):
        memory = memory._replace(rounds=memory.rounds + 1)
        for _ in range(2):
            point, memory = _palm_step(model, point, memory)
        # recompute the model, to discard the rounding errors that the steps have accumulated
        point = model.at(point.L, point.S)
        if model.residual(point) <= tolerance:
            break
        point, memory = _newton_step(model, point, memory)
    L, S = torch.zeros_like(L), torch.zeros_like(S)
    L[:, used], S[used] = point.L, point.S
    return point._replace(L=L, S=S), memory


def _palm_step(model: Model, point: Point, memory: Memory) -> tuple[Point, Memory]:
    """A proximal gradient step of L, then one of S, each with a line search on its length."""
    floors = model.problem.least_curvatures  # for a zero factor, which gives no curvature
    weighted = point.S * model.curvature.sqrt()
    bound = max(float(torch.linalg.matrix_norm(weighted, 2)) ** 2, floors[0])
    gradient = point.G @ point.S.T
    reach = memory.reach_l
    for _ in range(HALVINGS):
        step = reach / bound
        moved = point.L - step * gradient
        shrunk = (moved.abs() - step * model.gamma).clamp_min(0) * moved.sign()
        L = shrunk / (1 + 2 * step * model.ridge)
        move = L - point.L
        slope, square = float((gradient * move).sum()), float(move.square().sum())
        trial, bend = _moved(model, point, (L, point.S), move @ point.S, slope)
        if bend * step <= square:
            break
        reach *= min(0.5, 0.95 * square / (bend * step))
    point, memory = trial, memory._replace(reach_l=min(1.5 * reach, FARTHEST))
    bound = max(float(model.curvature.max() * torch.linalg.matrix_norm(point.L, 2) ** 2), floors[1])
    gradient = point.L.T @ point.G
    reach = memory.reach_s
    for _ in range(HALVINGS):
        step = reach / bound
        S = _shrunk(model, point.S - step * gradient, step)
        move = S - point.S
        slope, square = float((gradient * move).sum()), float(move.square().sum())
        trial, bend = _moved(model, point, (point.L, S), point.L @ move, slope)
        if bend * step <= square:
            break
        reach *= min(0.5, 0.95 * square / (bend * step))
    return trial, memory._replace(reach_s=min(1.5 * reach, FARTHEST))


def _moved(
    model: Model, point: Point, factors: Pair, change: Tensor, slope: float
) -> tuple[Point, float]:
    """The point with one factor moved, and the curvature along the move, ``change' H change``."""
    Hd = times(model.quadratic.hessians, change)
    bend = float((change * Hd).sum())
    smooth = point.smooth + slope + bend / 2
    return Point(*factors, smooth, model.penalty(*factors), point.G + Hd), bend


def _shrunk(model: Model, S: Tensor, step: float) -> Tensor:
    """Prox of the group norm at S."""
    if not model.disjoint:
        found, _ = model.problem.group_norm.prox(S, step)
        return found
    norms = model.norms(S)
    factor = (1 - step * model.bounds / torch.where(norms > 0, norms, 1.0)).clamp_min(0)
    return S * (factor @ model.members.T)


def _newton_step(model: Model, point: Point, memory: Memory) -> tuple[Point, Memory]:
    """A damped Newton step on the non-zero entries; the same point if no trial descends.

    Entries of L that change sign, and blocks of S that turn by more than a right angle, are set to
    zero, since the penalty is not smooth there.
    """
    damping = memory.damping
    for _ in range(ATTEMPTS):
        found = newton_direction(model, point, damping)
        if found is None:
            damping = max(10 * damping, 1e-6)
            continue
        move_L, move_S, slope = found
        length = 1.0
        for _ in range(TRIALS):
            L = point.L + length * move_L
            L = torch.where(L.sign() == point.L.sign(), L, 0.0)
            S = point.S + length * move_S
            if model.disjoint:
                ahead = (S * point.S) @ model.members > 0
                S = S * (ahead.to(S) @ model.members.T)
            trial = model.at(L, S)
            if trial.value <= point.value + SUFFICIENT * length * slope:
                return trial, memory._replace(damping=_adapted(damping, length))
            length *= SHRINK
        damping = max(10 * damping, 1e-4)
    return point, memory._replace(damping=min(damping, 1.0))


def _adapted(damping: float, length: float) -> float:
    if length == 1:
        return 0.0 if damping < 1e-6 else damping / 10
    return max(4 * damping, 1e-5) if length < SHRINK**2 else damping
