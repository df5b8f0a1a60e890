"""Nesterov's smoothing of group norms, overlapping or not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.regularizers.base import check_strength
from proxmtl.regularizers.group_layout import GroupLayout

__all__ = ["SmoothedGroupNorm"]


@dataclass(frozen=True)
class SmoothedGroupNorm:
    """Smooth lower approximation of ``Omega(S) = strength * sum_k sum_g w_g ||S[k, g]||_2``.

    ``f(S) = max_{||alpha_kg|| <= 1} <alpha, C S> - smoothness/2 ||alpha||^2`` where row block
    ``(k, g)`` of ``C`` is ``strength * w_g`` times the selection of ``S[k, g]``. The maximiser is
    the projection of ``C S / smoothness`` on unit balls, the gradient ``C' alpha``, its Lipschitz
    constant ``||C||^2 / smoothness`` with ``||C||^2 = max_m sum_{g contains m} (strength w_g)^2``
    exactly. ``Omega - smoothness * D <= f <= Omega`` with ``D = (number of blocks) / 2``.

    Parameters
    ----------
    groups : Groups
        Any, overlapping or not.
    strength : float
        Weight of the norm, ``>= 0``.
    smoothness : float
        Nesterov's parameter, ``> 0``: smaller is closer to the norm and harder to minimise.
    axis : int
        The grouped axis.

    References
    ----------
    Chen, Lin, Kim, Carbonell, Xing, "Smoothing proximal gradient method for general structured
    sparse regression", Annals of Applied Statistics 2012.
    """

    groups: Groups
    strength: float
    smoothness: float
    axis: int = -1
    layout: GroupLayout = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if not (math.isfinite(self.smoothness) and self.smoothness > 0):
            raise ValueError(f"smoothness: got {self.smoothness}; it must be finite and > 0.")
        object.__setattr__(self, "layout", GroupLayout(self.groups, self.axis))

    def value_and_grad(self, W: Tensor) -> tuple[Tensor, Tensor]:
        """Value (0-d) and gradient (shape of ``W``)."""
        rows, restore = self.layout.rows(W)
        members, group_of = self.layout.indices(W.device)
        scaled = rows[:, members] * (self.strength * self.layout.weights(W))[group_of]
        norms = self.layout.member_norms(scaled)
        # group Huber: quadratic inside the smoothness, a shifted norm outside
        inside = norms <= self.smoothness
        value = torch.where(
            inside, norms.square() / (2 * self.smoothness), norms - self.smoothness / 2
        ).sum()
        alpha = scaled / norms.clamp_min(self.smoothness)[:, group_of]
        weighted = alpha * (self.strength * self.layout.weights(W))[group_of]
        return value, restore(self.layout.scatter(weighted, self.groups.n_items))

    def value(self, W: Tensor) -> Tensor:
        """Value, 0-d."""
        return self.value_and_grad(W)[0]

    def grad(self, W: Tensor) -> Tensor:
        """Gradient, shape of ``W``."""
        return self.value_and_grad(W)[1]

    @property
    def squared_operator_norm(self) -> float:
        """``||C||^2``."""
        groups = self.groups
        squares = (self.strength * groups.weights).square()
        per_item = torch.zeros(groups.n_items, dtype=torch.float64)
        per_item.index_add_(0, groups.indices, squares[groups.group_of])
        return per_item.max().item()

    @property
    def lipschitz(self) -> float:
        """Lipschitz constant of the gradient."""
        return self.squared_operator_norm / self.smoothness

    def n_blocks(self, W: Tensor) -> int:
        """Number of (slice, group) blocks."""
        return W.numel() // self.groups.n_items * len(self.groups)

    def error_bound(self, W: Tensor) -> float:
        """Largest gap between the norm and its approximation: ``smoothness * blocks / 2``."""
        return self.smoothness * self.n_blocks(W) / 2
