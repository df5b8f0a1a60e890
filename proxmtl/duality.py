"""Duality gaps of convex problems: loss and penalty against their conjugates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from proxmtl.certified import Certified

__all__ = ["duality_gap"]

ROUNDING = 64 * torch.finfo(torch.float64).eps
"""Relative margin inside the domain of a conjugate: past the rounding of its gauge."""


def duality_gap(
    problem: Certified, W: Tensor, scores: Tensor, dual: tuple[Tensor, Tensor], objective: float
) -> float:
    """Fenchel gap of a convex problem at a dual point made of the loss's own residuals.

    Parameters
    ----------
    problem : Problem
        One that :attr:`Problem.has_gap`.
    W, scores : Tensor
        Point and its scores, float64.
    dual : tuple of Tensor
        Residuals as dual variables (balanced, with an intercept) and their adjoint.
    objective : float
        At the point.

    Returns
    -------
    float
        Upper bound on ``objective - optimum``, ``>= 0``.
    """
    targets = problem.targets.to(torch.float64)
    residuals, grad = dual
    U, _ = problem.design.split(-grad)
    penalised, _ = problem.design.split(W)
    # fixed part of an affine design: <theta, scores - A w>
    offset = float((residuals * scores).sum() - (grad * W).sum())
    if problem.ridge > 0:
        scale, conjugate = 1.0, _conjugate_with_ridge(problem, U)
    elif problem.regularizer is not None and problem.regularizer.has_conjugate:
        # a dual point just outside the conjugate's domain is shrunk into it, past rounding
        limit = problem.regularizer.conjugate_limit(U) * (1 - ROUNDING)
        scale = 1.0 if limit >= 1 else limit  # NaN stays
        conjugate = problem.regularizer.conjugate(scale * U)
    else:
        assert problem.regularizer is not None
        norm = problem.regularizer.dual_norm(U, at=penalised)
        largest = math.inf if norm == 0 else 1 / norm
        scale = problem.loss.dual_scale(residuals, targets.labels, targets.weights, largest, offset)
        conjugate = 0.0
    dual_loss = float(problem.loss.conjugate(scale * residuals, targets.labels, targets.weights))
    return max(objective + dual_loss - scale * offset + conjugate, 0.0)


def _conjugate_with_ridge(problem: Certified, U: Tensor) -> float:
    """``(R + ridge ||.||^2)*(U)``: its maximiser is a prox, ``prox_{R/2ridge}(U / 2ridge)``."""
    step = 1 / (2 * problem.ridge)
    point = U * step
    if problem.regularizer is None:
        return float(U.square().sum()) / (4 * problem.ridge)
    best, value = problem.regularizer.prox(point, step)
    inner = float((U * best).sum() - problem.ridge * best.square().sum() - value)
    # an inexact prox falls short of the maximum by at most its own gap
    slack = 0.0
    if not problem.regularizer.exact_prox:
        slack = 2 * problem.ridge * problem.regularizer.prox_gap(point, step)
    return inner + slack
