"""Working sets: the rows of the weights that a solver optimises next, the others held at zero."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.designs import RestrictedDesign
from proxmtl.problem import Problem
from proxmtl.solvers.proximal import smooth_gradient

__all__ = ["WorkingSet", "can_restrict", "restrict_features", "select_working_set", "stationarity"]


class WorkingSet(NamedTuple):
    """Mask of the rows to optimise, (D,), with KKT residual, smooth value and gradient of all."""

    rows: Tensor
    residual: float
    value: float
    grad: Tensor


def restrict_features(problem: Problem, rows: Tensor) -> Problem:
    """Return the problem on some rows of the weights, the others held at zero.

    Its products read a copy of these rows' features only, and count as that fraction of a pass. Its
    certificates hold for the restricted problem only. The problem caches the last restricted
    design.
    """
    if bool(rows.all()):
        return problem
    kept: tuple[Tensor, RestrictedDesign] | None = problem.__dict__.get("_restricted_design")
    if kept is None or not torch.equal(kept[0], rows):
        kept = (rows.clone(), RestrictedDesign(problem.design, rows))
        problem.__dict__["_restricted_design"] = kept
    return problem.on(kept[1])


def can_restrict(problem: Problem) -> bool:
    """Whether the prox keeps zero rows at zero, and the design can leave their features out."""
    R = problem.regularizer
    if R is None or not R.is_absolutely_monotone or problem.smooth_terms:
        return False
    try:
        problem.design.narrowed(torch.arange(0, device=problem.design.device))
    except NotImplementedError:
        return False
    return True


def stationarity(problem: Problem, x: Tensor, grad: Tensor) -> Tensor:
    """Least element of the subdifferential at ``x``; ``grad`` is the smooth part's gradient."""
    penalised, _ = problem.design.split(x)
    weights_grad, bias_grad = problem.design.split(grad)
    tilted = weights_grad + 2 * problem.ridge * penalised
    R = problem.regularizer
    return problem.design.join(
        tilted if R is None else R.kkt_residual(penalised, tilted), bias_grad
    )


def select_working_set(problem: Problem, x: Tensor, scores: Tensor, smallest: int) -> WorkingSet:
    """Choose the non-zero rows and the zero rows with the largest KKT violations: half a pass.

    Of the latter as many as there are non-zero rows, at least ``smallest``, with the rest of their
    groups (rows that the penalty couples to them). If that is more than half, all rows.
    """
    value, grad = smooth_gradient(problem, x, scores)
    residual = stationarity(problem, x, grad)
    size = float(residual.norm())
    penalised, _ = problem.design.split(x)
    everything = penalised.new_ones(len(penalised), dtype=torch.bool)
    if not can_restrict(problem):
        return WorkingSet(everything, size, value, grad)
    alive = (penalised != 0).any(1)
    n_alive = int(alive.sum())
    step = problem.design.split(residual)[0]
    violation = torch.where(alive, 0.0, step.square().sum(1))
    count = min(max(smallest, n_alive), int((violation > 0).sum()))
    if 2 * (n_alive + count) > len(alive):
        return WorkingSet(everything, size, value, grad)
    rows = alive.clone()
    rows[violation.topk(count).indices] = True
    R = problem.regularizer
    assert R is not None
    rows |= R.active(torch.where(rows[:, None], penalised - step, penalised)).any(1)
    return WorkingSet(everything if 2 * int(rows.sum()) > len(rows) else rows, size, value, grad)
