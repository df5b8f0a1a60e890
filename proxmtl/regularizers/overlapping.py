"""Overlapping group norm: exact prox through its dual, with its own gap."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.kernels import overlap_dual_sweep
from proxmtl.regularizers.base import Regularizer, check_step, check_strength, norm_ratio
from proxmtl.regularizers.group_layout import GroupLayout, zero_where_zero
from proxmtl.regularizers.smoothed import SmoothedGroupNorm

__all__ = ["DualProx", "OverlappingGroupL2"]


@dataclass(frozen=True)
class DualProx:
    """Prox of an overlapping group norm with its dual certificate.

    Attributes
    ----------
    primal : Tensor, shape (slices, items)
    dual : Tensor, shape (slices, memberships)
        ``xi``: one vector a group, smallest group first, inside its ball;
        ``primal = v - scatter(xi)``.
    gap : float
        Sum over slices of primal minus dual objective: ``||primal - exact||^2 <= 2 gap``.
    sweeps : int
        Most made for any slice.
    """

    primal: Tensor
    dual: Tensor
    gap: float
    sweeps: int


@dataclass(frozen=True)
class OverlappingGroupL2(Regularizer):
    """``R(S) = strength * sum_k sum_g w_g ||S[k, g]||_2`` for groups that may share items.

    No copy of the parameter is made for the overlap: the prox is computed through its dual,
    ``x = v - sum_g xi^g`` with ``||xi^g|| <= step strength w_g``, by block coordinate ascent.
    Groups are swept smallest first, so that on a tree one sweep is the exact prox. Blocks with
    ``||v_g||`` inside their ball are zero in the solution and are set so first (screening). The run
    stops on its own duality gap.

    Parameters
    ----------
    groups : Groups
        Any; items in no group are not penalised.
    strength : float
        ``>= 0``.
    axis : int
        The grouped axis.
    gap : float
        Relative accuracy of the prox: stop when the gap of each slice is below ``gap / 2 ||v||^2``
        (or what the precision allows).
    max_sweeps : int
        Limit on the sweeps; the gap reached is reported by :meth:`prox_gap`.

    References
    ----------
    Jenatton, Mairal, Obozinski, Bach, "Proximal methods for hierarchical sparse coding", JMLR 2011;
    Yuan, Liu, Ye, "Efficient methods for overlapping group lasso", NeurIPS 2011.
    """

    groups: Groups
    strength: float
    axis: int = -1
    gap: float = 1e-14
    max_sweeps: int = 2000
    plain: GroupLayout = field(init=False, repr=False, compare=False)  # groups as given
    layout: GroupLayout = field(init=False, repr=False, compare=False)  # smallest first: the dual
    order: Tensor = field(init=False, repr=False, compare=False)
    is_norm = True
    is_absolute = True
    is_smoothable = True
    exact_prox = False

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if not self.gap > 0 or self.max_sweeps < 1:
            raise ValueError(
                f"gap and max_sweeps: got {self.gap} and {self.max_sweeps}; use gap > 0 and at "
                "least one sweep."
            )
        by_size, order = _by_size(self.groups)
        object.__setattr__(self, "plain", GroupLayout(self.groups, self.axis))
        object.__setattr__(self, "layout", GroupLayout(by_size, self.axis))
        object.__setattr__(self, "order", order)

    @property
    def definite(self) -> bool:
        return self.strength > 0 and not self.groups.unpenalised

    def value(self, W: Tensor) -> Tensor:
        rows, _ = self.plain.rows(W)
        return self.strength * (self.plain.norms(rows) @ self.plain.weights(W)).sum()

    def prox(self, W: Tensor, step: float | Tensor) -> tuple[Tensor, Tensor]:
        check_step(step)
        rows, restore = self.plain.rows(W)
        if float(step) * self.strength == 0:
            return W.clone(), self.value(W)
        radius = (step * self.strength * self.plain.weights(W)).expand(len(rows), -1)
        out = restore(self.solve_dual(rows, radius, screen=True).primal)
        return out, self.value(out)

    def prox_gap(self, W: Tensor, step: float) -> float:
        rows, _ = self.plain.rows(W)
        radius = (step * self.strength * self.plain.weights(W)).expand(len(rows), -1)
        return self.solve_dual(rows, radius, screen=True).gap

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Exact: prox of the zero groups alone, at the gradient plus the active groups' pull."""
        rows, restore = self.plain.rows(W)
        grads, _ = self.plain.rows(grad)
        members, group_of = self.plain.indices(W.device)
        bound = (self.strength * self.plain.weights(W)).expand(len(rows), -1)
        norms = self.plain.norms(rows)
        pull = rows[:, members] * zero_where_zero(bound, norms)[:, group_of]
        pulled = grads + self.plain.scatter(pull, self.groups.n_items)
        return restore(
            self.solve_dual(pulled, torch.where(norms == 0, bound, 0.0), screen=True).primal
        )

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        """Upper bound from the prox's own dual, tight where ``U`` is a subgradient at ``at``.

        Without ``at`` it is the upper end of a bracket around the dual norm, closed to a relative
        2e-7 where the prox's accuracy allows.
        """
        rows, _ = self.plain.rows(U)
        free = self.groups.unpenalised
        if free and bool((rows[:, free] != 0).any()):
            return float("inf")
        if at is None:
            return self._dual_norm(rows)
        return self._dual_norm_at(rows, self.plain.rows(at)[0])

    def with_strength(self, strength: float) -> OverlappingGroupL2:
        return replace(self, strength=strength)

    def smoothed(self, smoothness: float) -> SmoothedGroupNorm:
        return SmoothedGroupNorm(self.groups, self.strength, smoothness, self.axis)

    # ------------------------------------------------------------------ the dual

    def solve_dual(self, rows: Tensor, radius: Tensor, *, screen: bool = False) -> DualProx:
        """Prox of (slices, items) with ball radii per slice and group, (slices, groups).

        With ``screen`` the dual vectors leave out what screening set to zero: the prox is right,
        the dual is no decomposition of ``rows`` minus it.

        Once the gap is reached as many sweeps again are made: the error of the dual vectors is the
        square root of the gap, and convergence is linear. Always in float64, for the same reason.
        """
        dtype = rows.dtype
        rows, radius = rows.to(torch.float64), radius.to(torch.float64)
        dual = rows.new_zeros(len(rows), len(self.groups.indices))
        primal = self._screen(rows, radius) if screen else rows.clone()
        radius = radius[:, self.order]
        # slices whose radii agree go together: all of them in a prox, one pattern of zero groups
        # each in a KKT residual
        patterns, member = torch.unique(radius, dim=0, return_inverse=True)
        gap, sweeps = 0.0, 0
        for p, weights in enumerate(patterns):
            chosen = torch.nonzero(member == p).flatten()
            x, xi = primal[chosen], dual[chosen]
            found, used = self._sweep(x, xi, weights)
            primal[chosen], dual[chosen] = x, xi
            gap, sweeps = gap + found, max(sweeps, used)
        return DualProx(primal.to(dtype), dual.to(dtype), gap, sweeps)

    def _sweep(self, x: Tensor, xi: Tensor, weights: Tensor) -> tuple[float, int]:
        """Sweep in place until each slice has its gap, then as often again; gap, most sweeps."""
        groups = self.layout.groups
        accuracy = max(self.gap / 2, 4 * torch.finfo(x.dtype).eps)
        target = (accuracy * x.square().sum(1)).to(torch.float64)
        gaps = torch.full_like(target, math.inf)

        def sweep(rows: Tensor, times: int) -> None:
            point, dual = x[rows], xi[rows]
            gaps[rows], _ = overlap_dual_sweep(
                point, dual, groups.indptr, groups.indices, weights, sweeps=times
            )
            x[rows], xi[rows] = point, dual

        free = (self._takers(x) == 0).to(x)
        left, used, chunk = torch.arange(len(x), device=x.device), 0, 4
        while len(left) and used < self.max_sweeps:
            sweep(left, chunk := min(chunk, self.max_sweeps - used))
            used += chunk
            chunk = used
            zero = left[self._zero_is_prox(x[left], xi[left], weights)]
            x[zero] = x[zero] * free  # items in no group of positive weight keep their value
            gaps[zero] = 0.0
            reached = ~(gaps[left] > target[left])  # NaN leaves too
            if not groups.is_tree and bool(reached.any()):
                sweep(left[reached], used)
            left = left[~reached]
        return max(float(gaps.sum()), 0.0), used

    def _zero_is_prox(self, x: Tensor, xi: Tensor, weights: Tensor) -> Tensor:
        """Slices for which what is left can be dealt out to the balls: their prox is 0, exactly.

        Near the critical strength the sweeps only creep towards that 0. The shares are put into
        the dual.
        """
        alpha = xi + self._shares(x)
        inside = (self.layout.member_norms(alpha) <= weights).all(1)
        xi[inside] = alpha[inside]
        return inside

    def _shares(self, missing: Tensor) -> Tensor:
        """What is missing of each item, dealt out evenly to its groups of positive weight."""
        members, group_of = self.layout.indices(missing.device)
        takes = (self.layout.weights(missing) > 0)[group_of]
        return (missing / self._takers(missing).clamp_min(1))[:, members] * takes

    def _takers(self, like: Tensor) -> Tensor:
        """Number of groups of positive weight that hold each item, shape (1, items)."""
        _, group_of = self.layout.indices(like.device)
        takes = (self.layout.weights(like) > 0).to(like)[group_of]
        return self.layout.scatter(takes[None], self.groups.n_items)

    def _screen(self, rows: Tensor, radius: Tensor) -> Tensor:
        """Zero the blocks inside their ball: they are zero in the prox; repeat while any is."""
        rows = rows.clone()
        while True:
            norms = self.plain.norms(rows)
            inside = ((norms <= radius) & (norms > 0)).to(rows.dtype)
            if not bool(inside.any()):
                return rows
            _, group_of = self.plain.indices(rows.device)
            hit = self.plain.scatter(inside[:, group_of], self.groups.n_items) > 0
            rows.masked_fill_(hit, 0.0)

    def _dual_norm_at(self, rows: Tensor, at: Tensor) -> float:
        """Bound by the decomposition that optimality asks for: tight where it holds.

        The share of a group that is not zero is its pull, ``w_g x_g / ||x_g||``, known in closed
        form; only what is left has to be dealt out to the zero groups. Where that does not fit the
        dual of the prox of ``at + u`` may, which deals out anew.
        """
        members, group_of = self.layout.indices(rows.device)
        norms = self.layout.norms(at)
        bound = (self.strength * self.layout.weights(rows)).expand(len(rows), -1)
        pull = at[:, members] * zero_where_zero(bound, norms)[:, group_of]
        left = rows - self.layout.scatter(pull, self.groups.n_items)
        plain = (self.strength * self.plain.weights(rows)).expand(len(rows), -1)
        zero_groups = torch.where(self.plain.norms(at) == 0, plain, 0.0)
        known = self._decomposition_norm(rows, pull + self.solve_dual(left, zero_groups).dual)
        if known <= 1:
            return known
        return min(known, self._decomposition_norm(rows, self.solve_dual(at + rows, plain).dual))

    def _decomposition_norm(self, rows: Tensor, dual: Tensor) -> float:
        alpha = dual + self._shares(rows - self.layout.scatter(dual, self.groups.n_items))
        largest = self.layout.member_norms(alpha).amax(0).tolist()
        pairs = zip(largest, self.layout.groups.weights.tolist(), strict=True)
        return max(norm_ratio(norm, self.strength * weight) for norm, weight in pairs)

    def _dual_norm(self, rows: Tensor) -> float:
        """Dinkelbach's iteration from below, certified by the decomposition from above.

        With ``x`` the prox of ``u`` at radius ``rho``, ``<u, x> / Omega(x)``, which is
        ``rho + ||x||^2 / Omega(x)``, is a larger lower bound, and the prox's dual an upper one.
        """
        weights = (self.strength * self.plain.weights(rows)).expand(len(rows), -1)
        upper = self._decomposition_norm(rows, rows.new_zeros(len(rows), len(self.groups.indices)))
        x, low = rows, 0.0
        for _ in range(100):
            norm = float((weights * self.plain.norms(x)).sum())
            ratio = float((rows * x).sum()) / norm if norm > 0 else 0.0
            if ratio <= low * (1 + 1e-15):
                break
            low = ratio
            # just above the bound the prox goes to 0 linearly; right at it, the sweeps crawl
            solved = self.solve_dual(rows, low * (1 + 1e-7) * weights)
            upper = min(upper, self._decomposition_norm(rows, solved.dual))
            if upper - low <= 2e-7 * upper:
                break
            x = solved.primal
        return upper


def _by_size(groups: Groups) -> tuple[Groups, Tensor]:
    """The same groups, smallest first, so that on a tree children come before parents."""
    order = torch.argsort(groups.sizes, stable=True)
    members = [groups.members(g) for g in order.tolist()]
    names = [groups.names[g] for g in order.tolist()]
    return Groups.from_lists(members, groups.n_items, names, groups.weights[order]), order
