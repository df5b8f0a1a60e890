"""A truncated Newton step on the active coordinates of a problem, by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.solvers.proximal import objective_at, smooth_gradient

__all__ = ["NewtonPoint", "newton_step"]

SUFFICIENT = 1e-4
"""Fraction of the predicted decrease that the line search requires (Armijo)."""

FLAT = 1e-10
"""A direction whose curvature is below this fraction of the largest one seen counts as flat."""


class NewtonPoint(NamedTuple):
    """Point ``x`` after a Newton step, and its scores."""

    x: Tensor
    scores: Tensor


def newton_step(
    problem: Problem, x: Tensor, scores: Tensor, rows: Tensor, *, most: int, trials: int = 8
) -> NewtonPoint | None:
    """Minimise the quadratic model over the active coordinates, then search along that step.

    The Hessian is that of the loss (in products with the features) plus that of the penalty on the
    manifold where it is smooth. Conjugate gradients stop at a relative residual between 0.1 and
    0.01, after ``most`` products, or at a direction without positive curvature. Scores are linear
    along the step, so the ``trials`` of the line search take no product. Returns None if no trial
    decreases the objective sufficiently.
    """
    design, R = problem.design, problem.regularizer
    penalised, bias = design.split(x)
    free = rows[:, None].expand_as(penalised)
    if R is not None:
        free = free & R.active(penalised)
    mask = design.join(free, None if bias is None else torch.ones_like(bias, dtype=torch.bool))

    def product(V: Tensor) -> Tensor:
        bent = problem.curvature_product(scores, V)
        if R is not None:
            along, _ = design.split(V)
            own = R.curvature_product(penalised, along)
            bent = bent + design.join(own, None if bias is None else torch.zeros_like(bias))
        return torch.where(mask, bent, 0.0)

    _, grad = smooth_gradient(problem, x, scores)
    weights_slope, bias_slope = design.split(grad)
    weights_slope = weights_slope + 2 * problem.ridge * penalised
    if R is not None:
        weights_slope = weights_slope + R.active_gradient(penalised)
    slope = torch.where(mask, design.join(weights_slope, bias_slope), 0.0)
    size = float(slope.norm())
    scale = float(grad.norm())
    if not size > 8 * torch.finfo(x.dtype).eps * scale:  # nothing but rounding is left
        return None
    accuracy = size * min(0.1, max(0.01, (size / scale) ** 0.5))
    d = _conjugate_gradients(product, -slope, accuracy, most)
    along = problem.scores_along(d)
    expected = float((slope * d).sum())
    value = objective_at(problem, x, scores)
    slack = 4 * torch.finfo(x.dtype).eps * abs(value)
    tau = 1.0
    for _ in range(trials):
        point = NewtonPoint(torch.add(x, d, alpha=tau), torch.add(scores, along, alpha=tau))
        if objective_at(problem, *point) <= value + SUFFICIENT * tau * expected + slack:
            # recomputed, since later steps compare objectives at these scores to the last digit
            return point._replace(scores=problem.scores(point.x))
        tau /= 2
    return None


def _conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, accuracy: float, most: int
) -> Tensor:
    """Approximate solution of ``H d = b`` for a Hessian that may be singular or indefinite."""
    d, r, p = torch.zeros_like(b), b, b
    squared, largest = float((r * r).sum()), 0.0
    for _ in range(most):
        Hp = product(p)
        bend, length = float((p * Hp).sum()), float((p * p).sum())
        largest = max(largest, bend / length)
        if not bend > FLAT * largest * length:
            # p is flat: return the solution so far, or the gradient itself if that is zero
            return d if bool(d.any()) else p
        d = torch.add(d, p, alpha=squared / bend)
        r = torch.sub(r, Hp, alpha=squared / bend)
        last, squared = squared, float((r * r).sum())
        if squared**0.5 <= accuracy:
            break
        p = torch.add(r, p, alpha=squared / last)
    return d
