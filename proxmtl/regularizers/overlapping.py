"""Overlapping group norm: exact prox through its dual, with its own gap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.numerics import unit_of
from proxmtl.regularizers.group_layout import GroupLayout, zero_where_zero
from proxmtl.regularizers.group_norm import GroupNorm
from proxmtl.regularizers.overlap_dual import OverlapDual
from proxmtl.regularizers.overlap_dual_norm import largest_dual_norm, ratios_of
from proxmtl.regularizers.splitting import Memberships

__all__ = ["OverlappingGroupL2"]

WORTH_OF_SWEEPS = 1_000_000
"""Memberships that sweeps pass in about the time of one interior-point solution."""


@dataclass(frozen=True)
class OverlappingGroupL2(GroupNorm):
    """``R(S) = strength * sum_k sum_g w_g ||S[k, g]||_2`` for groups that may share items.

    No copy of the parameter is made for the overlap: the prox is computed through its dual,
    ``x = v - sum_g xi^g`` with ``||xi^g|| <= step strength w_g``. Blocks with ``||v_g||`` inside
    their ball are zero in the solution and are set so first (screening). Then come sweeps of block
    coordinate ascent, and an interior-point method for the slices where these crawl; both stop on
    the duality gap. If the groups form a tree one sweep from the leaves up is the prox in closed
    form, and ``exact_prox`` holds.

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
        (or what the precision allows). What was reached is told by :meth:`prox_gap`.
    max_sweeps : int, optional
        Sweeps before a slice goes to the interior-point method; default: about as many as take the
        time of the latter, between 64 and 2000.

    References
    ----------
    Jenatton, Mairal, Obozinski, Bach, "Proximal methods for hierarchical sparse coding", JMLR 2011;
    Yuan, Liu, Ye, "Efficient methods for overlapping group lasso", NeurIPS 2011.
    """

    groups: Groups
    strength: float
    axis: int = -1
    gap: float = 1e-14
    max_sweeps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gap > 0 or self._most_sweeps < 1:
            raise ValueError(
                f"gap and max_sweeps: got {self.gap} and {self.max_sweeps}; use gap > 0 and at "
                "least one sweep."
            )
        _ = self.dual  # now: a compiler can't trace how it is made

    @property
    def _most_sweeps(self) -> int:
        if self.max_sweeps is not None:
            return self.max_sweeps
        return min(max(64, WORTH_OF_SWEEPS // len(self.groups.indices)), 2000)

    @cached_property
    def layout(self) -> GroupLayout:
        """The groups on their axis, the smallest first, as the dual takes them."""
        return GroupLayout(self.groups.by_size, self.axis)

    @cached_property
    def dual(self) -> OverlapDual:
        """Solver of the dual of the prox."""
        return OverlapDual(self.layout, self.gap, self._most_sweeps)

    @cached_property
    def splitting(self) -> Memberships | None:
        """Disjoint groups of copies; None for a tree, whose prox is one sweep."""
        return None if self.groups.is_tree else Memberships(self)

    @property
    def exact_prox(self) -> bool:  # type: ignore[override]
        """One sweep of a tree of groups is exact."""
        return self.groups.is_tree

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        rows, restore = self.layout.rows(W)
        if float(step) * self.strength == 0:
            return W.clone(), self.value(W)
        near = None if warm_start is None else self.layout.rows(warm_start)[0]
        radius = self._bound(rows, step * self.strength)
        out = restore(self.dual.solve(rows, radius, screen=True, near=near).primal)
        return out, self.value(out)

    def prox_gap(self, W: Tensor, step: float) -> float:
        if self.exact_prox:
            return 0.0
        rows, _ = self.layout.rows(W)
        return self.dual.solve(rows, self._bound(rows, step * self.strength), screen=True).gap

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Exact: prox of the zero groups alone, at the gradient plus the active groups' pull."""
        rows, restore = self.layout.rows(W)
        grads, _ = self.layout.rows(grad)
        bound, norms = self._bound(rows, self.strength), self.layout.norms(rows)
        pulled = grads + self.layout.scatter(self.pull(rows, norms), self.groups.n_items)
        zero_groups = torch.where(norms == 0, bound, 0.0)
        return restore(self.dual.solve(pulled, zero_groups, screen=True).primal)

    def active(self, W: Tensor) -> Tensor:
        """Items that are in no zero group of positive weight."""
        rows, restore = self.layout.rows(W)
        _, group_of = self.layout.indices(W.device)
        held = (self.layout.norms(rows) == 0) & (self._bound(rows, self.strength) > 0)
        count = self.layout.scatter(held[:, group_of].to(rows.dtype), self.groups.n_items)
        return restore(count == 0)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        """``sum_g w_g (V_g - x_g <x_g, V_g> / n_g^2) / n_g`` over groups of norm ``n_g > 0``."""
        rows, restore = self.layout.rows(W)
        along, _ = self.layout.rows(V)
        members, group_of = self.layout.indices(W.device)
        norms = self.layout.norms(rows)
        bend = zero_where_zero(self._bound(rows, self.strength), norms)
        move = along[:, members]
        direction = rows[:, members] / torch.where(norms == 0, 1.0, norms)[:, group_of]
        inner = torch.zeros_like(norms).index_add_(1, group_of, direction * move)
        product = (move - direction * inner[:, group_of]) * bend[:, group_of]
        summed = restore(self.layout.scatter(product, self.groups.n_items))
        return torch.where(self.active(W), summed, 0.0)

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        """Upper bound from the prox's own dual, tight where ``U`` is a subgradient at ``at``.

        Without ``at`` it is the upper end of a bracket around the dual norm, closed to a relative
        2e-7 by :func:`largest_dual_norm`, in some operations a membership and iteration.
        """
        rows, _ = self.layout.rows(U)
        if self._free_and_nonzero(rows):
            return float("inf")
        if at is None:
            wide = rows.to(torch.float64)
            unit = unit_of(wide)
            radius = self._bound(wide, self.strength)
            return unit * largest_dual_norm(self.layout, wide / unit, radius)
        return self._dual_norm_at(rows, self.layout.rows(at)[0])

    # ------------------------------------------------------------------ decompositions

    def _bound(self, rows: Tensor, scale: float | Tensor) -> Tensor:
        """Radius of each ball, (slices, groups)."""
        return self.layout.bounds(scale, rows).expand(len(rows), -1)

    def pull(self, rows: Tensor, norms: Tensor) -> Tensor:
        """Subgradient of each group that is not zero, by membership, given the groups' norms."""
        bound = self._bound(rows, self.strength)
        members, group_of = self.layout.indices(rows.device)
        # the direction first: the bound over a tiny norm is infinite
        direction = rows[:, members] / torch.where(norms == 0, 1.0, norms)[:, group_of]
        return direction * torch.where(norms == 0, 0.0, bound)[:, group_of]

    def _dual_norm_at(self, rows: Tensor, at: Tensor) -> float:
        """Bound by the decomposition that optimality asks for: tight where it holds.

        The share of a group that is not zero is its pull, ``w_g x_g / ||x_g||``, known in closed
        form; only what is left has to be dealt out to the zero groups. Where that does not fit the
        dual of the prox of ``at + u`` may, which deals out anew.
        """
        bound, norms = self._bound(rows, self.strength), self.layout.norms(at)
        pull = self.pull(at, norms)
        left = rows - self.layout.scatter(pull, self.groups.n_items)
        zero_groups = torch.where(norms == 0, bound, 0.0)
        known = self.decomposition_norm(rows, pull + self.dual.solve(left, zero_groups).dual)
        if known <= 1:
            return known
        anew = self.dual.solve(at + rows, bound, near=at)
        return min(known, self.decomposition_norm(rows, anew.dual))

    def decomposition_norm(self, rows: Tensor, dual: Tensor) -> float:
        """Upper bound on the dual norm by vectors of the groups, (slices, memberships).

        What is missing of their sum is dealt out evenly.
        """
        ratios = ratios_of(self.layout, rows, dual, self._bound(rows, self.strength))
        return float(ratios.amax()) if ratios.numel() else 0.0
