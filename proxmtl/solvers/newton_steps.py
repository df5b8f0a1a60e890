"""Parts of exact Newton steps for many tasks at once: linear systems and line search."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proxmtl.data_term import SummedLoss
from proxmtl.problem import Problem

__all__ = ["lengths", "no_worse_than_zero", "solved"]

SUFFICIENT = 1e-4
"""Fraction of the predicted decrease that the line search requires (Armijo)."""
TRIALS = 40
"""Maximum number of halvings of a step."""
RETRIES = 4
"""Maximum number of factorisations with an increased diagonal."""


def no_worse_than_zero(problem: Problem, x: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Set each task of a start (and its scores) to zero if its objective is larger than at zero.

    The scores of such a task may be saturated on the wrong side, where the loss has no curvature
    and a quadratic model is of no use.
    """
    weight, _ = problem.design.split(x)

    def losses(z: Tensor) -> Tensor:
        return problem.data.over_samples(problem.data.terms(z))[0]

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
    """Armijo line search of each task: step lengths (M,), halved from 1 until the objective falls.

    Parameters
    ----------
    data : SummedLoss
        Of labels of shape (M, n).
    scores, along : Tensor, shape (M, n)
        Scores at the point, and their change over a full step.
    slope, squares : Tensor, shape (M,)
        Derivative of the objective along the step, and the quadratic coefficient of the ridge.
        A task whose slope is not negative, or whose trials all fail, gets length 0.
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
    """Solve positive definite systems by Cholesky factorisations.

    A multiple of the identity is added to a numerically singular matrix, which shortens the step
    along its null space; the solution is NaN if that is not sufficient.
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
