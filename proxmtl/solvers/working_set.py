"""Working sets: which rows of the weights to solve for next."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.designs import RestrictedDesign
from proxmtl.problem import Problem
from proxmtl.solvers.proximal import smooth_gradient

__all__ = ["WorkingSet", "can_restrict", "restrict_features", "select_working_set", "stationarity"]


class WorkingSet(NamedTuple):
    """What a pass over all features finds: rows to solve for, KKT residual, and the gradient."""

    rows: Tensor
    residual: float
    value: float
    grad: Tensor


def restrict_features(problem: Problem, rows: Tensor) -> Problem:
    """Return the problem on some rows of the weights, the others held at zero.

    Products read (a copy of) these rows' features only, and count as that share of a pass. Its
    certificates say nothing about the rows left out. The last design made for it is kept with the
    problem.
    """
    if bool(rows.all()):
        return problem
    kept: tuple[Tensor, RestrictedDesign] | None = problem.__dict__.get("_restricted_design")
    if kept is None or not torch.equal(kept[0], rows):
        kept = (rows.clone(), RestrictedDesign(problem.design, rows))
        problem.__dict__["_restricted_design"] = kept
    return problem.on(kept[1])


def can_restrict(problem: Problem) -> bool:
    """Whether rows that are zero stay zero under the prox, and the design can leave them out."""
    R = problem.regularizer
    if R is None or not R.is_absolutely_monotone or problem.smooth_terms:
        return False
    try:
        problem.design.narrowed(torch.arange(0, device=problem.design.device))
    except NotImplementedError:
        return False
    return True


def stationarity(problem: Problem, x: Tensor, grad: Tensor) -> Tensor:
    """Least element of the subdifferential at ``x``, ``grad`` being the smooth part's gradient."""
    penalised, _ = problem.design.split(x)
    weights_grad, bias_grad = problem.design.split(grad)
    tilted = weights_grad + 2 * problem.ridge * penalised
    R = problem.regularizer
    return problem.design.join(
        tilted if R is None else R.kkt_residual(penalised, tilted), bias_grad
    )


def select_working_set(problem: Problem, x: Tensor, scores: Tensor, smallest: int) -> WorkingSet:
    """Rows that are not zero, and as many again that violate optimality most: half a pass.

    At least ``smallest`` of the latter, where there are that many, with all that the penalty ties
    to them (the rest of their groups). All rows, if these are more than half.
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
