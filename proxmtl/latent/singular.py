"""The paper's penalty with own parts as a penalty of singular values, for a single group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from proxmtl.latent.problem import LatentProblem

__all__ = ["LatentsPlusOwn", "singular_penalty"]

STEPS = 30
"""Maximum number of Newton steps for the root of a latent's size; some five are typical."""


@dataclass(frozen=True)
class LatentsPlusOwn:
    r"""Minimal penalty of ``W = L S + V`` over latents and own parts.

    .. math:: R(W) = \min_{A + V = W} \text{cost} \sum_k \sigma_k(A)^{2/3}
              + \text{own} \, \|V\|_F^2

    A latent of unit directions and size t has the penalty :math:`\lambda a^2 + \mu w t / a` with
    :math:`\|l\| = a`, and the minimum :math:`3 \lambda^{1/3} (\mu w t / 2)^{2/3}` over a. For a
    single group of all tasks, the minimal penalty of the factors is therefore the Schatten 2/3
    quasi-norm of their product, attained by latents along the singular directions. Each singular
    value of W is divided between the two parts separately. Not convex, but with an exact prox.

    Parameters
    ----------
    cost : float
        Strength of the quasi-norm, ``> 0``.
    own : float
        Strength of the ridge on own parts, ``> 0``.

    References
    ----------
    Shang, Cheng, Liu, Luo, Lin, "Bilinear factor matrix norm minimization for robust PCA", 2018.
    """

    cost: float
    own: float
    is_symmetric = True

    def factor(self, gram: Tensor, step: float) -> tuple[Tensor, float]:
        """Matrix P with ``prox(W) = W P``, and the value there, from W'W; float64."""
        squares, V = torch.linalg.eigh(gram)
        s = squares.clamp(min=0).sqrt()
        shrink = 1 + 2 * step * self.own
        shared = self.shared(s, self.own / shrink)
        own = (s - shared) / shrink
        kept = torch.where(s > 0, (shared + own) / torch.where(s > 0, s, 1.0), 1 / shrink)
        value = self.cost * shared.pow(2 / 3).sum() + self.own * own.square().sum()
        return (V * kept) @ V.T, float(value)

    def shared(self, s: Tensor, own: float) -> Tensor:
        """``argmin_a cost a^(2/3) + own (s - a)^2`` for each s, float64: zero, or above s / 2.

        With ``a = x^3``, a non-zero minimiser is the larger root of ``x^4 - s x + q`` where
        ``q = cost / (3 own)``. It is as good as zero where ``s = 2 q^(3/4)``, and better above.
        There Newton's method converges monotonically and fast from ``s^(1/3)``: the slope
        ``4 x^3 - s`` is at least s.
        """
        # numpy: of so few numbers, and its calls take a third of the time of torch's
        q, sizes = self.cost / (3 * own), s.detach().cpu().numpy()
        kept = sizes > 2 * q**0.75
        size = sizes[kept]
        x = np.cbrt(size)
        for _ in range(STEPS):
            cube = x * x * x
            move = (x * (cube - size) + q) / (4 * cube - size)
            x = x - move
            if not (move > 1e-12 * x).any():
                break
        found = np.zeros_like(sizes)
        found[kept] = x * x * x
        return torch.from_numpy(found).to(s.device)


def singular_penalty(problem: LatentProblem) -> LatentsPlusOwn | None:
    """Penalty of a problem on the singular values of W.

    None unless the problem has own parts, no L1 norm, and a single group of all tasks.
    """
    groups, own = problem.groups, problem.own
    M = groups.n_items
    if own is None or problem.l1.strength or len(groups) != 1 or len(groups.members(0)) != M:
        return None
    unit = torch.full((1, M), M**-0.5, dtype=torch.float64)
    row, ridge = float(problem.row_penalties(unit)), problem.ridge.strength
    return LatentsPlusOwn(3 * ridge ** (1 / 3) * (row / 2) ** (2 / 3), own.strength)
