"""Proximal steps in a diagonal metric: a step length for each coordinate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer
from proxmtl.regularizers.elastic_net import ElasticNet
from proxmtl.regularizers.frobenius import SquaredFrobenius
from proxmtl.regularizers.group_l2 import GroupL2
from proxmtl.regularizers.l1 import L1, soft
from proxmtl.regularizers.l21 import L21
from proxmtl.regularizers.sparse_group import SparseGroupL2
from proxmtl.regularizers.sums import Sum
from proxmtl.regularizers.thresholded import Thresholded

__all__ = ["has_direct_form", "metric_prox"]

INNER_STEPS = 30
"""Of the iterative form: it starts where the last one ended, and goes on in the next call."""


def metric_prox(R: Regularizer, W: Tensor, steps: Tensor, near: Tensor) -> Tensor:
    """``argmin_X sum (X_i - W_i)^2 / (2 t_i) + R(X)``, t the steps.

    Exact for L1 norms, ridges and a disjoint group norm, alone or summed (a root in one dimension
    for each block), and for separable norms and bounds. For others some accelerated proximal
    gradient steps of that problem, from ``near``, with the least of the step lengths: where
    ``near`` is the solution it stays the solution, so an iteration that uses this settles at the
    right points, if slowly where the steps differ much.

    Parameters
    ----------
    R : Regularizer
        Convex.
    W, steps : Tensor, same shape
        Steps >= 0. A coordinate without a step stays, but for a bound, which holds all the same.
    near : Tensor, same shape
        A point near the result: the last iterate. Not read where :func:`has_direct_form`.
    """
    if R.is_separable and R.is_indicator:
        return R.prox(W, 1.0)[0]
    moves = steps > 0
    if not bool(moves.any()):  # a learning rate of zero: a warm-up, the end of a schedule
        return W
    parts = _parts(R, W)
    if parts is not None:
        found = _closed(parts, W, steps)
    else:
        steps = torch.where(moves, steps, steps[moves].min())  # nothing divides by zero
        if R.is_separable and R.is_norm:  # prox_{t R}(v) = t prox_R(v / t) in each coordinate
            found = steps * R.prox(W / steps, 1.0)[0]
        else:
            found = _iterated(R, W, steps, near)
    return torch.where(moves, found, W)


def has_direct_form(R: Regularizer, W: Tensor) -> bool:
    """Whether :func:`metric_prox` of a penalty needs no starting point."""
    separable = R.is_separable and (R.is_indicator or R.is_norm)
    return separable or _parts(R, W) is not None


@dataclass(frozen=True)
class _Parts:
    """``l1 ||.||_1 + ridge ||.||^2 +`` a group norm."""

    l1: float
    ridge: float
    group: GroupL2 | None


def _parts(R: Regularizer, W: Tensor) -> _Parts | None:
    """Split a penalty into what the closed form knows; None if something is left."""
    l1 = ridge = 0.0
    group: GroupL2 | None = None
    left = [R]
    while left:
        term = left.pop()
        if isinstance(term, Sum):
            left += [part.with_strength(term.strength * part.strength) for part in term.terms]
        elif isinstance(term, Thresholded):
            left += [term.inner, term.l1]
        elif isinstance(term, SparseGroupL2):
            left += [term.group, term.l1]
        elif isinstance(term, L21):
            left.append(term.for_parameter(W))
        elif isinstance(term, L1):
            l1 += term.strength
        elif isinstance(term, ElasticNet):
            l1, ridge = l1 + term.l1, ridge + term.l2 / 2
        elif isinstance(term, SquaredFrobenius):
            ridge += term.strength
        elif isinstance(term, GroupL2) and group is None:
            group = term
        else:
            return None
    return _Parts(l1, ridge, group)


def _closed(parts: _Parts, W: Tensor, steps: Tensor) -> Tensor:
    """``soft(v_i, t_i l1) / (1 + 2 t_i ridge + t_i c / n)``, n the norm of the block it is in."""
    wide = steps.to(torch.float64)
    # the metric takes up the ridge: (v, t) become (v, t) / (1 + 2 t ridge)
    shrink = 1 + 2 * parts.ridge * wide
    v, t = soft(W.to(torch.float64), parts.l1 * wide) / shrink, wide / shrink
    if parts.group is None or parts.group.strength == 0:
        return v.to(W)
    layout, c = parts.group.layout, parts.group.strength
    rows, restore = layout.rows(v)
    members, group_of = layout.indices(v.device)
    bound = (c * layout.weights(rows))[group_of]
    pull = layout.rows(t)[0][:, members] * bound  # t_i c
    norms = _block_norms(rows[:, members], pull, group_of, len(layout.groups))
    each = norms[:, group_of]
    kept = rows.clone()
    kept[:, members] = torch.where(each > 0, rows[:, members] * each / (each + pull), 0.0)
    kept[:, members] = torch.where(bound > 0, kept[:, members], rows[:, members])
    return restore(kept).to(W)


def _block_norms(v: Tensor, pull: Tensor, group_of: Tensor, n_groups: int) -> Tensor:
    """Norm n of each block of the prox: ``sum v_i^2 / (n + pull_i)^2 = 1``, or 0 if there is none.

    Newton's method on ``1 / ||v / (n + pull)|| = 1``, whose left side is concave and increasing in
    n: from a lower bound no step passes the root (the secular equation of trust regions).
    """

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(len(values), n_groups).index_add_(1, group_of, values)

    safe = torch.where(pull > 0, pull, 1.0)
    at_zero = torch.where(pull > 0, (v / safe).square(), torch.where(v == 0, 0.0, torch.inf))
    alive = total(at_zero) > 1
    index = group_of.expand_as(v)
    n = v.new_zeros(len(v), n_groups)
    n = n.scatter_reduce(1, index, v.abs() - pull, "amax").clamp_min(0.0)
    for _ in range(100):
        reach = n[:, group_of] + pull
        s = torch.where(v == 0, 0.0, v / reach)
        size = total(s.square()).sqrt()
        slope = total(torch.where(v == 0, 0.0, s.square() / reach))
        step = (size - 1) * size.square() / slope
        longer = torch.where(alive & (step > 0), n + step, n)
        if not bool((longer > n * (1 + 1e-15)).any()):
            break
        n = longer
    return torch.where(alive, n, 0.0)


def _iterated(R: Regularizer, W: Tensor, steps: Tensor, near: Tensor) -> Tensor:
    length = float(steps.min())
    ratio = (length / float(steps.max())) ** 0.5
    momentum = (1 - ratio) / (1 + ratio)
    last = ahead = near
    for _ in range(INNER_STEPS):
        moved = R.prox(ahead - length * (ahead - W) / steps, length, warm_start=ahead)[0]
        if torch.equal(moved, ahead):
            break
        last, ahead = moved, moved + momentum * (moved - last)
    return last
