"""Parts of exact Newton steps, of many tasks at once: the systems, and how far to go."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proxmtl.data_term import SummedLoss
from proxmtl.problem import Problem

__all__ = ["lengths", "no_worse_than_zero", "solved"]

SUFFICIENT = 1e-4
"""Fraction of the predicted decrease that the line search asks for (Armijo)."""
TRIALS = 40
"""Halvings of a step, at most."""
RETRIES = 4
"""Of a factorisation, with more of the diagonal."""


def no_worse_than_zero(problem: Problem, x: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """A start and its scores, with zero in place of each task that is worse than zero.

    There its scores may be saturated on the wrong side: a loss without curvature, of which a
    quadratic model says nothing.
    """
    weight, _ = problem.design.split(x)

    def losses(z: Tensor) -> Tensor:
        return problem.data.terms(z).sum(0)

    value = losses(scores) + (math.sqrt(problem.ridge) * weight).square().sum(0)
    kept = value <= losses(torch.zeros_like(scores))
    return torch.where(kept, x, 0.0), torch.where(kept, scores, 0.0)


def lengths(
    data: SummedLoss,
    scores: Tensor,
    along: Tensor,
    *,
    slope: Tensor,
    squares: Tensor,
) -> Tensor:
    """Lengths of the steps, (M,): 1, or as many halvings as it takes the objective to decrease.

    Parameters
    ----------
    data : SummedLoss
        Of labels of shape (M, n).
    scores, along : Tensor, shape (M, n)
        At the point, and of a whole step.
    slope, squares : Tensor, shape (M,)
        The objective's derivative along the step, and the penalty's second-order part. There is no
        step where the slope is not negative.
    """
    tau = torch.where(slope < 0, 1.0, 0.0).to(slope)
    for _ in range(TRIALS):
        bent = data.bregman_terms(scores + tau[:, None] * along, scores)
        change = tau * slope + bent.sum(1) + tau.square() * squares
        fails = (tau > 0) & ~(change <= SUFFICIENT * tau * slope)
        if not bool(fails.any()):
            return tau
        tau = torch.where(fails, tau / 2, tau)
    return torch.where(fails, 0.0, tau)


def solved(A: Tensor, b: Tensor) -> Tensor:
    """Solutions of positive definite systems.

    A matrix that is singular to rounding gets a little more of its diagonal, which shortens the
    step in what it does not see; NaN where that is not enough.
    """
    factor, info = torch.linalg.cholesky_ex(A)
    least = torch.finfo(A.dtype).eps * A.shape[-1] * A.diagonal(dim1=1, dim2=2).amax(1)
    for _ in range(RETRIES):
        if not bool(info.any()):
            break
        more = torch.where(info > 0, least, 0.0)[:, None].expand(A.shape[:2])
        factor, info = torch.linalg.cholesky_ex(A + torch.diag_embed(more))
        least = 100 * least
    found: Tensor = torch.cholesky_solve(b, factor)
    return torch.where((info == 0)[:, None, None], found, torch.nan)
