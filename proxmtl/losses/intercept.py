"""The intercept that minimises a loss when every weight is zero."""

from __future__ import annotations

import torch
from torch import Tensor

from proxmtl.losses.base import Loss
from proxmtl.targets import Targets

__all__ = ["best_intercept", "without_weights"]

DOUBLINGS = 200
HALVINGS = 300
NEWTON_STEPS = 200
ROUNDING = 1e-14


def best_intercept(loss: Loss, targets: Targets) -> Tensor:
    """``argmin_b sum_mi c_mi phi(b_m; y_mi)`` of the shape (M,), in the targets' precision.

    By safeguarded Newton steps on the derivative of each task, in a bracket that grows until it
    holds the minimiser; for a coupled loss by damped ones in all intercepts at once. Where several
    intercepts are optimal the residuals are the same for all of them.
    """
    if loss.coupled:
        return _newton(loss, targets)
    targets = condensed(targets)
    low = torch.full((targets.n_tasks,), -1.0, dtype=targets.dtype, device=targets.device)
    high = -low
    for _ in range(DOUBLINGS):
        short_low, short_high = _slope(loss, targets, low) > 0, _slope(loss, targets, high) < 0
        if not bool((short_low | short_high).any()):
            break
        low = torch.where(short_low, 2 * low, low)
        high = torch.where(short_high, 2 * high, high)
    return _root(loss, targets, low, high)


def _root(loss: Loss, targets: Targets, low: Tensor, high: Tensor) -> Tensor:
    """Zero of each task's derivative between two points, by Newton steps or halvings, (M,).

    A Newton step is taken if it stays in the bracket and is at most half the step before last;
    else the bracket is halved ("rtsafe" in Press et al., Numerical Recipes, section 9.4).
    """
    rounding = torch.finfo(low.dtype).eps
    point, last = (low + high) / 2, high - low
    before = last
    for _ in range(HALVINGS):
        scores = _scores(targets, point)
        terms = loss.grad(scores, targets.labels, targets.weights)
        bends = loss.curvature(scores, targets.labels) * targets.weights
        slope, size, bend = map(targets.per_task, (terms, terms.abs(), bends))
        low, high = torch.where(slope < 0, point, low), torch.where(slope < 0, high, point)
        newton = point - slope / bend
        found = slope.abs() <= rounding * size
        found |= (newton - point).abs() <= rounding * point.abs()
        # comparisons with NaN are false: without curvature the bracket is halved
        fits = (newton > low) & (newton < high) & (2 * (newton - point).abs() <= before)
        following = torch.where(fits, newton, (low + high) / 2)
        following = torch.where(found, point, following)
        if torch.equal(following, point):
            break
        before, last, point = last, (following - point).abs(), following
    return point


def without_weights(
    loss: Loss, targets: Targets, *, intercept: bool
) -> tuple[Tensor | None, float]:
    """Best intercept (M,) of zero weights, None without one, and the loss there; float64."""
    short = targets.to(torch.float64) if loss.coupled else condensed(targets, torch.float64)
    best = best_intercept(loss, short) if intercept else None
    scores = torch.zeros_like(short.labels)
    if best is not None:
        scores = scores + _scores(short, best)
    value = loss.value(scores, short.labels, short.weights)
    return best, float(short.ranks.total(value))


def condensed(targets: Targets, dtype: torch.dtype | None = None) -> Targets:
    """Targets of the same loss at scores that are one number a task, with one row for each sign.

    Real labels, of which there may be as many as samples, stay as they are, but for the places of
    missing ones. The precision is that of the targets unless another is given.
    """
    dtype = dtype or targets.dtype
    sums = torch.zeros(2, targets.n_tasks, dtype=torch.float64, device=targets.device)
    signs = True
    for part in targets.blocks():
        labels, weights = part.labels, part.weights
        known = weights > 0
        signs = signs and bool((labels.abs() == 1)[known].all())
        if not signs:
            break
        wide = weights.to(torch.float64)
        sums += torch.stack([part.per_task(wide * (labels == sign)) for sign in (1.0, -1.0)])
    if targets.ranks.largest(not signs):
        return _gathered(targets, targets.weights > 0).to(dtype)
    weights = targets.ranks.total(sums).to(dtype)
    labels = torch.ones_like(weights)
    labels[1] = -1
    return Targets(labels, weights, targets.n_tasks)


def _gathered(targets: Targets, known: Tensor) -> Targets:
    """Targets of as many rows as the task with the most labels has, where these are few."""
    most = int(known.sum(0).max()) if targets.task_of is None else len(known)
    if 2 * most > len(known):
        return targets
    tasks, rows = torch.nonzero(known.T, as_tuple=True)
    firsts = torch.searchsorted(tasks, torch.arange(known.shape[1], device=tasks.device))
    places = torch.arange(len(tasks), device=tasks.device) - firsts[tasks]
    labels, weights = targets.labels.new_zeros(2, most, known.shape[1])
    labels[places, tasks] = targets.labels[rows, tasks]
    weights[places, tasks] = targets.weights[rows, tasks]
    return targets.holding(labels, weights)


def _scores(targets: Targets, intercept: Tensor) -> Tensor:
    return targets.broadcast(intercept).expand(targets.shape)


def _slope(loss: Loss, targets: Targets, intercept: Tensor) -> Tensor:
    scores = _scores(targets, intercept)
    return targets.per_task(loss.grad(scores, targets.labels, targets.weights))


def _newton(loss: Loss, targets: Targets) -> Tensor:
    """Minimise over all intercepts together; the Hessian is of the shape (M, M)."""
    labels, weights = targets.labels, targets.weights
    point = labels.new_zeros(targets.n_tasks)
    directions = torch.eye(targets.n_tasks, dtype=labels.dtype, device=labels.device)

    def value_at(intercepts: Tensor) -> float:
        return float(targets.ranks.total(loss.value(_scores(targets, intercepts), labels, weights)))

    value = value_at(point)
    scale = float(targets.ranks.total(weights.sum()))
    for _ in range(NEWTON_STEPS):
        slope = _slope(loss, targets, point)
        if float(slope.norm()) <= ROUNDING * scale:
            break
        scores = _scores(targets, point)
        columns = [
            loss.curvature_product(scores, labels, weights, _scores(targets, direction))
            for direction in directions
        ]
        hessian = torch.stack([targets.per_task(column) for column in columns], dim=1)
        # a shift of all intercepts may change nothing: the smallest ridge makes a step unique
        damping = 1e-12 * float(hessian.diagonal().sum()) + ROUNDING * scale
        step = torch.linalg.solve(hessian + damping * directions, slope)
        length, decrease = 1.0, float(slope @ step)
        while length > ROUNDING:
            trial = point - length * step
            trial_value = value_at(trial)
            if trial_value <= value - 1e-4 * length * decrease:
                break
            length /= 2
        else:
            break  # the value no longer changes in this precision
        point, value = trial, trial_value
    return point
