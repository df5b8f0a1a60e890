"""Folded concave penalties: MCP and SCAD, on coordinates and on groups."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.regularizers.base import Regularizer
from proxmtl.regularizers.group_layout import GroupLayout, check_groups, zero_where_zero

__all__ = ["MCP", "SCAD", "FoldedConcave"]


@dataclass(frozen=True)
class FoldedConcave(Regularizer):
    """``R(W) = sum_b p(||W_b||; strength w_b)`` with ``p`` concave, linear at 0, flat far out.

    Blocks are single coordinates, or with ``groups`` the disjoint groups of an axis (group MCP,
    group SCAD). Not convex: there is no duality gap, the KKT residual is that of a stationary
    point, and ``critical_strength`` is where 0 becomes stationary. The prox is a global minimiser
    of its problem for every step: all pieces of ``p`` are compared.

    Parameters
    ----------
    strength : float
        Slope of ``p`` at 0, ``>= 0``. ``p`` is not proportional to it.
    concavity : float
        How far out the penalty bends away from the L1 norm; large values approach it.
    groups : Groups or None
        Disjoint; weights scale the slope. Items in no group are not penalised.
    axis : int
        The grouped axis.

    Attributes
    ----------
    least_concavity : float
        The concavity must be above it; a class attribute.
    """

    strength: float
    concavity: float
    groups: Groups | None = None
    axis: int = -1
    least_concavity: ClassVar[float] = -math.inf
    is_convex = False
    is_absolutely_monotone = True
    has_curvature = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups is not None:
            check_groups(self.groups)
            if not self.groups.is_disjoint:
                raise ValueError(
                    f"groups: {self.groups!r}; folded concave penalties take disjoint ones."
                )
        if not self.concavity > self.least_concavity:
            raise ValueError(
                f"concavity: got {self.concavity}; {type(self).__name__} needs one above "
                f"{self.least_concavity}."
            )

    @cached_property
    def layout(self) -> GroupLayout | None:
        """The groups on their axis; None where blocks are single coordinates."""
        return None if self.groups is None else GroupLayout(self.groups, self.axis)

    # ------------------------------------------------------------------ the scalar penalty

    @abstractmethod
    def penalty(self, r: Tensor, slope: Tensor) -> Tensor:
        """``p(r)`` for ``r >= 0`` with ``p'(0) = slope``."""

    @abstractmethod
    def derivative(self, r: Tensor, slope: Tensor) -> Tensor:
        """``p'(r)``."""

    @abstractmethod
    def bend(self, r: Tensor, slope: Tensor) -> Tensor:
        """``p''(r) <= 0``."""

    @abstractmethod
    def stationary(self, r: Tensor, slope: Tensor, step: float) -> list[Tensor]:
        """Minimisers over each piece of ``1/2 (x - r)^2 + step p(x)``, as far as it is convex."""

    # ------------------------------------------------------------------ the regularizer

    def is_coercive(self, W: Tensor) -> bool:
        return self.strength > 0 and (self.groups is None or not self.groups.unpenalised)

    def value(self, W: Tensor) -> Tensor:
        sizes, slopes, _ = self._blocks(W)
        return self.penalty(sizes, slopes).sum()

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        t = float(step)
        if t * self.strength == 0:
            return W.clone(), self.value(W)
        sizes, slopes, spread = self._blocks(W)
        best = torch.zeros_like(sizes)
        units = torch.where(sizes > 0, sizes, 1.0)
        whole = sizes / units  # 1, or 0
        least = whole / 2
        for point in self.stationary(sizes, slopes, t):
            # over the square of the size, which may overflow; p(c r; c s) = c^2 p(r; s)
            ratio = point / units
            cost = (ratio - whole).square() / 2 + t * self.penalty(ratio, slopes / units)
            better = cost < least
            best, least = torch.where(better, point, best), torch.where(better, cost, least)
        best = torch.where(slopes == 0, sizes, best)
        best = torch.where(torch.isnan(sizes), sizes, best)
        kept = best == sizes  # to the last digit, where the penalty is flat
        factor = torch.where(kept, 1.0, zero_where_zero(best, sizes))
        out = W * spread(factor, 1.0)
        return out, self.penalty(best, slopes).sum()

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        sizes, slopes, spread = self._blocks(W)
        steepness, _, _ = self._blocks(grad)
        shrunk = zero_where_zero(torch.relu(steepness - slopes), steepness)
        zero = sizes == 0
        direction = W / spread(torch.where(zero, 1.0, sizes), 1.0)
        pull = spread(torch.where(zero, 0.0, self.derivative(sizes, slopes)), 0.0)
        return grad * spread(torch.where(zero, shrunk, 1.0), 1.0) + direction * pull

    def active(self, W: Tensor) -> Tensor:
        sizes, slopes, spread = self._blocks(W)
        return spread((sizes > 0) | (slopes == 0), True)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        """``p'/n (v - u <u, v>) + p'' u <u, v>`` with ``n = ||x||``, ``u = x / n``, by block."""
        sizes, slopes, spread = self._blocks(W)
        across = zero_where_zero(self.derivative(sizes, slopes), sizes)
        direction = W / spread(torch.where(sizes == 0, 1.0, sizes), 1.0)
        change = (self.bend(sizes, slopes) - across) * self._inner(direction, V)
        return V * spread(across, 0.0) + direction * spread(change, 0.0)

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """Smallest strength at which 0 is a stationary point."""
        sizes, slopes, _ = self.with_strength(1.0)._blocks(grad_at_zero)  # noqa: SLF001
        if not sizes.numel():
            return 0.0
        if bool((sizes[slopes == 0] > 0).any()) or self._free_and_nonzero(grad_at_zero):
            return float("inf")
        return float(zero_where_zero(sizes, slopes).max())

    # ------------------------------------------------------------------ blocks

    def _blocks(self, W: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor, float], Tensor]]:
        """Size and slope of each block, and a map from blocks to the shape of ``W``.

        The map's second argument fills the entries that are in no block.
        """
        if self.layout is None:
            return W.abs(), torch.full_like(W, self.strength), lambda values, _: values
        layout = self.layout
        rows, restore = layout.rows(W)
        sizes = layout.norms(rows)
        slopes = (self.strength * layout.weights(W)).expand_as(sizes)
        return sizes, slopes, lambda values, outside: restore(layout.spread(values, outside))

    def _inner(self, W: Tensor, V: Tensor) -> Tensor:
        """``<x_b, v_b>`` of each block."""
        if self.layout is None:
            return W * V
        rows, _ = self.layout.rows(W)
        along, _ = self.layout.rows(V)
        members, group_of = self.layout.indices(W.device)
        products = (rows * along)[:, members]
        out = products.new_zeros(len(rows), len(self.layout.groups))
        return out.index_add_(1, group_of, products)

    def _free_and_nonzero(self, U: Tensor) -> bool:
        if self.layout is None or self.groups is None:
            return False
        rows, _ = self.layout.rows(U)
        free = self.groups.unpenalised
        return bool(free and bool((rows[:, free] != 0).any()))


@dataclass(frozen=True)
class MCP(FoldedConcave):
    """Minimax concave penalty: ``p(r) = s r - r^2 / (2 c)`` up to ``r = c s``, then ``c s^2 / 2``.

    ``s`` is the strength (times the group's weight), ``c = concavity > 1``.

    References
    ----------
    Zhang, "Nearly unbiased variable selection under minimax concave penalty", 2010; Huang, Breheny,
    Ma, "A selective review of group selection in high-dimensional models", 2012.
    """

    concavity: float = 3.0
    least_concavity = 1

    def penalty(self, r: Tensor, slope: Tensor) -> Tensor:
        inner = slope * r - r.square() / (2 * self.concavity)
        return torch.where(r > self.concavity * slope, self.concavity * slope.square() / 2, inner)

    def derivative(self, r: Tensor, slope: Tensor) -> Tensor:
        return torch.relu(slope - r / self.concavity)

    def bend(self, r: Tensor, slope: Tensor) -> Tensor:
        return -(r < self.concavity * slope).to(r.dtype) / self.concavity

    def stationary(self, r: Tensor, slope: Tensor, step: float) -> list[Tensor]:
        end = self.concavity * slope
        far = torch.maximum(r, end)
        if step >= self.concavity:  # the first piece is concave: its ends are 0 and that of `far`
            return [far]
        near = torch.relu(r - step * slope) / (1 - step / self.concavity)
        return [torch.minimum(near, end), far]


@dataclass(frozen=True)
class SCAD(FoldedConcave):
    """Smoothly clipped absolute deviation: slope ``s`` up to ``s``, falling to 0 at ``c s``.

    ``p(r) = s r`` for ``r <= s``; ``(2 c s r - r^2 - s^2) / (2 (c - 1))`` for ``s < r <= c s``;
    ``s^2 (c + 1) / 2`` beyond. ``s`` is the strength (times the group's weight) and
    ``c = concavity > 2``.

    References
    ----------
    Fan and Li, "Variable selection via nonconcave penalized likelihood and its oracle properties",
    2001.
    """

    concavity: float = 3.7
    least_concavity = 2

    def penalty(self, r: Tensor, slope: Tensor) -> Tensor:
        c = self.concavity
        middle = (2 * c * slope * r - r.square() - slope.square()) / (2 * (c - 1))
        far = slope.square() * (c + 1) / 2
        return torch.where(r <= slope, slope * r, torch.where(r > c * slope, far, middle))

    def derivative(self, r: Tensor, slope: Tensor) -> Tensor:
        falling = torch.relu(self.concavity * slope - r) / (self.concavity - 1)
        return torch.where(r <= slope, slope, falling)

    def bend(self, r: Tensor, slope: Tensor) -> Tensor:
        falling = (r > slope) & (r < self.concavity * slope)
        return -falling.to(r.dtype) / (self.concavity - 1)

    def stationary(self, r: Tensor, slope: Tensor, step: float) -> list[Tensor]:
        c, end = self.concavity, self.concavity * slope
        points = [torch.minimum(torch.relu(r - step * slope), slope), torch.maximum(r, end)]
        if step < c - 1:
            middle = ((c - 1) * r - step * end) / (c - 1 - step)
            points.append(torch.minimum(torch.maximum(middle, slope), end))
        return points
