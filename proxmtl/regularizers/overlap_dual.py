"""The dual of the overlapping prox: sweeps first, an interior point where they crawl."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from proxmtl.kernels import overlap_dual_sweep
from proxmtl.numerics import FAR, unit_of
from proxmtl.regularizers.group_layout import GroupLayout, zero_where_zero
from proxmtl.regularizers.overlap_zeros import zero_vanishing_groups

__all__ = ["DualProx", "OverlapDual"]

LARGEST_PATH = 100_000
"""Memberships that an interior point takes at once, so that what is kept of each stays in cache."""


@dataclass(frozen=True)
class DualProx:
    """Prox of an overlapping group norm with its dual certificate.

    Attributes
    ----------
    primal : Tensor, shape (slices, items)
    dual : Tensor, shape (slices, memberships)
        ``xi``: one vector per group, smallest group first, inside its ball;
        ``primal = v - scatter(xi)`` up to what was set to zero within the gap.
    gap : float
        Sum over slices of primal minus dual objective: ``||primal - exact||^2 <= 2 gap``.
    sweeps : int
        Most made for any slice.
    interior_steps : int
        Most interior-point steps made for any slice.
    """

    primal: Tensor
    dual: Tensor
    gap: float
    sweeps: int
    interior_steps: int = 0


@dataclass(frozen=True)
class OverlapDual:
    """Solver of ``min 1/2 ||v - sum_g xi^g||^2`` over ``||xi^g|| <= radius_g``, slice by slice.

    Block coordinate ascent, ``xi^g <- Proj_ball((x + xi^g)_g)`` with ``x = v - sum xi`` updated in
    place, costs little and is exact after one sweep of a tree, children first. Where groups end up
    near the boundary of their ball it crawls: slices that have not their gap after ``max_sweeps``
    go to :func:`interior_prox`. Groups that vanish are then set to zero exactly. Always in float64.

    Parameters
    ----------
    layout : GroupLayout
        Groups smallest first.
    gap : float
        Each slice is solved to a gap of ``gap / 2 ||v||^2``, or what the precision allows.
    max_sweeps : int
    """

    layout: GroupLayout
    gap: float
    max_sweeps: int

    @property
    def accuracy(self) -> float:
        """Gap sought relative to ``||v||^2``, within the precision."""
        return max(self.gap / 2, 4 * torch.finfo(torch.float64).eps)

    def solve(
        self, rows: Tensor, radius: Tensor, *, screen: bool = False, near: Tensor | None = None
    ) -> DualProx:
        """Prox of (slices, items) with ball radii per slice and group, (slices, groups).

        With ``screen`` the dual vectors leave out what screening set to zero: the prox is right,
        the dual is no decomposition of ``rows`` minus it. ``near`` is a point like ``rows`` from
        whose non-zero groups the dual starts: ``xi^g = radius_g near_g / ||near_g||``.

        Once the gap is reached by sweeps as many again are made: the error of the dual vectors is
        the square root of the gap, and convergence is linear.
        """
        dtype = rows.dtype
        rows, radius = rows.to(torch.float64), radius.to(torch.float64)
        unit = unit_of(rows)
        if unit != 1:
            radius = (radius / unit).clamp_max(FAR)
            scaled = self.solve(rows / unit, radius, screen=screen, near=near)
            return replace(
                scaled,
                primal=(scaled.primal * unit).to(dtype),
                dual=(scaled.dual * unit).to(dtype),
                gap=scaled.gap * unit * unit,
            )
        tree = self.layout.groups.is_tree
        primal = self._screen(rows, radius) if screen and not tree else rows.clone()
        dual = self._start(primal, radius, near if not tree else None)
        # slices whose radii agree go together: all of them in a prox, one pattern of zero groups
        # each in a KKT residual
        if bool((radius == radius[:1]).all()):
            patterns, member = radius[:1], torch.zeros(len(radius), dtype=torch.int64)
        else:
            patterns, member = torch.unique(radius, dim=0, return_inverse=True)
        gap, sweeps, steps = 0.0, 0, 0
        for p, weights in enumerate(patterns):
            chosen = torch.nonzero(member == p).flatten().to(rows.device)
            x, xi = primal[chosen], dual[chosen]
            if tree:
                groups = self.layout.groups
                overlap_dual_sweep(x, xi, groups.index, weights)
                found, used, inner = 0.0, 1, 0
            else:
                found, used, inner = self._sweep(x, xi, weights)
            primal[chosen], dual[chosen] = x, xi
            gap, sweeps, steps = gap + found, max(sweeps, used), max(steps, inner)
        return DualProx(primal.to(dtype), dual.to(dtype), gap, sweeps, steps)

    def _start(self, primal: Tensor, radius: Tensor, near: Tensor | None) -> Tensor:
        """First dual vectors; they are taken off ``primal``."""
        members, group_of = self.layout.indices(primal.device)
        if near is None:
            return primal.new_zeros(len(primal), len(members))
        near = torch.where(primal == 0, 0.0, near.to(primal))
        pull = zero_where_zero(radius, self.layout.norms(near))
        dual = near[:, members] * pull[:, group_of]
        primal -= self.layout.scatter(dual, primal.shape[1])
        return dual

    def _sweep(self, x: Tensor, xi: Tensor, weights: Tensor) -> tuple[float, int, int]:
        """Solve in place: gap, most sweeps, most interior-point steps."""
        groups = self.layout.groups
        v = x + self.layout.scatter(xi, x.shape[1])
        size = v.square().sum(1)
        target = self.accuracy * size
        gaps = torch.full_like(target, math.inf)

        def sweep(rows: Tensor, times: int) -> None:
            point, dual = x[rows], xi[rows]
            gaps[rows], _ = overlap_dual_sweep(point, dual, groups.index, weights, sweeps=times)
            x[rows], xi[rows] = point, dual

        left, used, chunk = torch.arange(len(x), device=x.device), 0, 4
        while len(left) and used < self.max_sweeps:
            sweep(left, chunk := min(chunk, self.max_sweeps - used))
            used += chunk
            chunk = used
            small = left[x[left].square().sum(1) <= size[left] / 100]
            self._settle_zeros(x, xi, weights, gaps, small)
            reached = ~(gaps[left] > target[left])  # NaN leaves too
            again = left[reached & (gaps[left] != 0)]
            if len(again):
                sweep(again, used)
            left = left[~reached]
        steps, together = 0, max(1, LARGEST_PATH // len(groups.indices))
        for first in range(0, len(left), together):
            rows = left[first : first + together]
            steps = max(steps, self._interior(x, xi, weights, gaps, rows))
        zero_vanishing_groups(self.layout, v, x, xi, radius=weights, gaps=gaps, target=target)
        return max(float(gaps.sum()), 0.0), used, steps

    def _interior(self, x: Tensor, xi: Tensor, radius: Tensor, gaps: Tensor, rows: Tensor) -> int:
        """Solve slices together, in place where the interior point makes better of them."""
        from proxmtl.regularizers.overlap_interior import interior_prox  # noqa: PLC0415 - scipy

        groups, n = self.layout.groups, x.shape[1]
        v = x[rows] + self.layout.scatter(xi[rows], n)
        unit = v.norm(dim=1, keepdim=True)  # slices of one size share one path
        offset = torch.arange(len(rows))[:, None]
        starts = offset * len(groups.indices) + groups.indptr[:-1]
        found = interior_prox(
            (v / unit).cpu().numpy().ravel(),
            torch.cat([starts.ravel(), torch.tensor([v.shape[0] * len(groups.indices)])]).numpy(),
            (offset * n + groups.indices).ravel().numpy(),
            (radius / unit).cpu().numpy().ravel(),
            tolerance=self.accuracy,
        )
        point = torch.from_numpy(found.primal).to(v).reshape_as(v) * unit
        dual = torch.from_numpy(found.dual).to(v).reshape(len(rows), -1) * unit
        members, _ = self.layout.indices(v.device)
        gap = self.layout.norms(point) @ radius - (point[:, members] * dual).sum(1)
        gap += (point + self.layout.scatter(dual, n) - v).square().sum(1) / 2
        better = gap < gaps[rows]
        rows = rows[better]
        x[rows], xi[rows], gaps[rows] = point[better], dual[better], gap[better].clamp_min(0)
        return found.steps

    def _settle_zeros(
        self, x: Tensor, xi: Tensor, weights: Tensor, gaps: Tensor, rows: Tensor
    ) -> None:
        """Set slices to zero for which what is left can be dealt out to the balls.

        Their prox is 0 exactly; near the critical strength the sweeps only creep towards it. The
        shares are put into the dual. Items in no group of positive weight keep their value.
        """
        if not len(rows):
            return
        alpha = xi[rows] + self.layout.dealt(x[rows])
        inside = (self.layout.member_norms(alpha) <= weights).all(1)
        settled = rows[inside]
        xi[settled] = alpha[inside]
        x[settled] *= (self.layout.takers(x) == 0).to(x)
        gaps[settled] = 0.0

    def _screen(self, rows: Tensor, radius: Tensor) -> Tensor:
        """Zero the blocks inside their ball: they are zero in the prox; repeat while any is."""
        rows = rows.clone()
        _, group_of = self.layout.indices(rows.device)
        while True:
            norms = self.layout.norms(rows)
            inside = ((norms <= radius) & (norms > 0)).to(rows.dtype)
            if not bool(inside.any()):
                return rows
            hit = self.layout.scatter(inside[:, group_of], rows.shape[1]) > 0
            rows.masked_fill_(hit, 0.0)
