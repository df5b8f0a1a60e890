"""Exact zeros for the overlapping prox: whole groups that a certificate lets vanish."""

from __future__ import annotations

import torch
from torch import Tensor

from proxmtl.regularizers.group_layout import GroupLayout

__all__ = ["zero_vanishing_groups"]


def zero_vanishing_groups(
    layout: GroupLayout,
    v: Tensor,
    x: Tensor,
    xi: Tensor,
    *,
    radius: Tensor,
    gaps: Tensor,
    target: Tensor,
) -> None:
    """Set the items of vanishing groups to zero, in place, and correct the gaps.

    A group that vanishes in the prox has a dual vector inside its ball, and what an iteration
    leaves of it is rounding: any size, any direction, and as far from a subgradient as the
    strength is large. A group is rounded to zero where that alone costs no gap,
    ``radius_g ||x_g|| - <x_g, xi^g> >= 1/2 ||x_g||^2``: about where ``||x_g||`` is at most twice
    the distance of ``xi^g`` from the sphere, that taken with its rounding. For the same dual the
    gap of the rounded point is
    ``1/2 ||x - (v - sum_g xi^g)||^2 + sum_g radius_g ||x_g|| - <x_g, xi^g>``; if it is above the
    target and the gap so far, the smaller groups are rounded, as many as the gap allows.

    Parameters
    ----------
    layout : GroupLayout
    v, x : Tensor, shape (slices, items)
        The point whose prox is sought, and the prox found.
    xi : Tensor, shape (slices, memberships)
        Feasible dual vectors.
    radius : Tensor, shape (groups,)
    gaps, target : Tensor, shape (slices,)
        Gaps of ``x`` and ``xi``, and what is sought. NaN stays.
    """
    members, group_of = layout.indices(x.device)

    def excess(point: Tensor, rows: Tensor) -> Tensor:
        """``radius_g ||x_g|| - <x_g, xi^g>``, shape (slices, groups)."""
        inner = point.new_zeros(len(point), len(radius))
        inner.index_add_(1, group_of, point[:, members] * xi[rows])
        return radius * layout.norms(point) - inner

    every = torch.arange(len(x), device=x.device)
    norms = layout.norms(x)
    rounding = 8 * torch.finfo(x.dtype).eps * radius * norms
    vanishing = (norms > 0) & (excess(x, every) + rounding >= norms.square() / 2)
    rows = torch.nonzero(vanishing.any(1)).flatten()
    if not len(rows):
        return
    smallest_first = torch.where(vanishing, norms, torch.inf)[rows].argsort(1).argsort(1)
    plain = v[rows] - layout.scatter(xi[rows], x.shape[1])
    allowed = torch.maximum(target[rows], gaps[rows])

    def rounded(count: Tensor) -> tuple[Tensor, Tensor]:
        """The points with so many groups at zero, and their gaps."""
        zero = (smallest_first < count[:, None])[:, group_of].to(x)
        point = x[rows].masked_fill(layout.scatter(zero, x.shape[1]) > 0, 0.0)
        gap = (point - plain).square().sum(1) / 2 + excess(point, rows).sum(1)
        return point, gap.clamp_min(0)

    # as many as pass, by bisection where not all do
    beyond = vanishing.sum(1)[rows] + 1
    count, tried = torch.zeros_like(beyond), beyond - 1
    while bool((beyond - count > 1).any()):
        passes = rounded(tried)[1] <= allowed
        count = torch.where(passes, tried, count)
        beyond = torch.where(passes, beyond, tried)
        tried = (count + beyond) // 2
    point, gap = rounded(count)
    some = count > 0
    x[rows[some]], gaps[rows[some]] = point[some], gap[some]
