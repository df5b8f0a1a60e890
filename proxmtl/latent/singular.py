"""The paper's penalty with own parts as one of singular values, where all tasks are one group."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.latent.problem import LatentProblem

__all__ = ["LatentsPlusOwn", "singular_penalty"]

STEPS = 30
"""Of Newton's method on the root of a latent's size; it takes some five."""


@dataclass(frozen=True)
class LatentsPlusOwn:
    r"""Least penalty of ``W = L S + V`` over latents and own parts.

    .. math:: R(W) = \min_{A + V = W} \text{cost} \sum_k \sigma_k(A)^{2/3}
              + \text{own} \, \|V\|_F^2

    A latent of unit directions and size t costs :math:`\lambda a^2 + \mu w t / a` with
    :math:`\|l\| = a`, at its least :math:`3 \lambda^{1/3} (\mu w t / 2)^{2/3}`. So, where one group
    holds all tasks, the penalties of the factors are the Schatten quasi-norm of power 2/3 of their
    product, and nothing is lost by latents along the singular directions. Each singular value of W
    is divided between the two parts on its own. Not convex; its prox is exact all the same.

    Parameters
    ----------
    cost : float
        ``> 0``.
    own : float
        ``> 0``.

    References
    ----------
    Shang, Cheng, Liu, Luo, Lin, "Bilinear factor matrix norm minimization for robust PCA", 2018.
    """

    cost: float
    own: float
    is_symmetric = True

    def factor(self, gram: Tensor, step: float) -> tuple[Tensor, float]:
        """Matrix P with ``prox(W) = W P``, of W'W: see :meth:`SharedPlusOwn.factor`."""
        squares, V = torch.linalg.eigh(gram)
        s = squares.clamp(min=0).sqrt()
        shrink = 1 + 2 * step * self.own
        shared = self.shared(s, self.own / shrink)
        own = (s - shared) / shrink
        kept = torch.where(s > 0, (shared + own) / torch.where(s > 0, s, 1.0), 1 / shrink)
        value = self.cost * shared.pow(2 / 3).sum() + self.own * own.square().sum()
        return (V * kept) @ V.T, float(value)

    def shared(self, s: Tensor, own: float) -> Tensor:
        """``argmin_a cost a^(2/3) + own (s - a)^2`` for each s, float64: zero or near s.

        With ``a = x^3`` a minimum other than zero is the larger root of ``x^4 - s x + cost / (3
        own)``, to which Newton's method descends from ``s^(1/3)``.
        """
        q = self.cost / (3 * own)
        x = s.pow(1 / 3)
        for _ in range(STEPS):
            slope = 4 * x**3 - s
            move = torch.where(slope > 0, (x**4 - s * x + q) / torch.where(slope > 0, slope, 1), 0)
            x = x - move
            if not bool((move > 1e-12 * x).any()):
                break
        a = x.clamp(min=0) ** 3
        less = self.cost * a.pow(2 / 3) + own * (s - a).square() < own * s.square()
        return torch.where(less & (a <= s), a, 0.0)


def singular_penalty(problem: LatentProblem) -> LatentsPlusOwn | None:
    """The penalty of a problem's weights; None where it is none of their singular values."""
    groups, own = problem.groups, problem.own
    M = groups.n_items
    if own is None or problem.l1.strength or len(groups) != 1 or len(groups.members(0)) != M:
        return None
    unit = torch.full((1, M), M**-0.5, dtype=torch.float64)
    row, ridge = float(problem.row_penalties(unit)), problem.ridge.strength
    return LatentsPlusOwn(3 * ridge ** (1 / 3) * (row / 2) ** (2 / 3), own.strength)
