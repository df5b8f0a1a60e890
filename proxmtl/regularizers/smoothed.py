"""Nesterov's smoothing of norms of a linear image: group norms, fusion along edges."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.kernels import smoothed_group_grad
from proxmtl.regularizers.base import check_strength
from proxmtl.regularizers.group_layout import GroupLayout, check_groups

if TYPE_CHECKING:
    from proxmtl.regularizers.composed import Composed

__all__ = ["Smoothed", "SmoothedGroupNorm", "SmoothedL1Image"]


class Smoothed(ABC):
    """Smooth lower approximation of ``Omega(W) = max_{alpha in Q} <alpha, C W>``.

    ``f(W) = max_{alpha in Q} <alpha, C W> - smoothness/2 ||alpha||^2`` for ``Q`` a product of unit
    balls, one a block, so that ``C`` holds all weights. The maximiser is the projection of
    ``C W / smoothness`` on ``Q``, the gradient ``C' alpha``, its Lipschitz constant
    ``||C||^2 / smoothness``; ``Omega - smoothness * blocks / 2 <= f <= Omega``.

    A subclass gives the attribute ``smoothness`` and the four abstract methods.

    References
    ----------
    Nesterov, "Smooth minimization of non-smooth functions", 2005; Chen, Lin, Kim, Carbonell, Xing,
    "Smoothing proximal gradient method for general structured sparse regression", Annals of Applied
    Statistics 2012.
    """

    smoothness: float

    @abstractmethod
    def value_and_grad(self, W: Tensor) -> tuple[Tensor, Tensor]:
        """Value (0-d) and gradient (shape of ``W``)."""

    @property
    @abstractmethod
    def squared_operator_norm(self) -> float:
        """``||C||^2``, or a bound on it."""

    @abstractmethod
    def n_blocks(self, W: Tensor) -> int:
        """Number of balls that ``Q`` is the product of, for an argument like ``W``."""

    def check(self) -> None:
        """Raise ``ValueError`` unless the smoothness is finite and positive."""
        if not (math.isfinite(self.smoothness) and self.smoothness > 0):
            raise ValueError(f"smoothness: got {self.smoothness}; it must be finite and > 0.")

    def value(self, W: Tensor) -> Tensor:
        """Value, 0-d."""
        return self.value_and_grad(W)[0]

    def grad(self, W: Tensor) -> Tensor:
        """Gradient, shape of ``W``."""
        return self.value_and_grad(W)[1]

    @property
    def lipschitz(self) -> float:
        """Lipschitz constant of the gradient."""
        return self.squared_operator_norm / self.smoothness

    def error_bound(self, W: Tensor) -> float:
        """Largest gap between the norm and its approximation: ``smoothness * blocks / 2``."""
        return self.smoothness * self.n_blocks(W) / 2

    def huber(self, norms: Tensor) -> Tensor:
        """Sum of Huber functions of the block norms: ``n^2 / (2 s)`` up to s, ``n - s/2`` above."""
        inside = norms <= self.smoothness
        ratios = torch.where(inside, norms / self.smoothness, 1.0)
        return torch.where(inside, norms * ratios / 2, norms - self.smoothness / 2).sum()


@dataclass(frozen=True)
class SmoothedGroupNorm(Smoothed):
    """Smoothed ``Omega(S) = strength * sum_k sum_g w_g ||S[k, g]||_2``.

    Row block ``(k, g)`` of ``C`` is ``strength * w_g`` times the selection of ``S[k, g]``; ``Q`` is
    a product of unit L2 balls; ``||C||^2 = max_m sum_{g contains m} (strength w_g)^2`` exactly.

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
    """

    groups: Groups
    strength: float
    smoothness: float
    axis: int = -1

    def __post_init__(self) -> None:
        check_strength(self.strength)
        check_groups(self.groups)
        self.check()

    @cached_property
    def layout(self) -> GroupLayout:
        """The groups on their axis."""
        return GroupLayout(self.groups, self.axis)

    @cached_property
    def scaled(self) -> Tensor:
        """Weights of the groups, times the strength."""
        return self.strength * self.groups.weights

    def value_and_grad(self, W: Tensor) -> tuple[Tensor, Tensor]:
        self.layout.rows(W)  # raises if the shape does not fit
        smoothed = smoothed_group_grad(
            W, self.groups.index, self.scaled, self.smoothness, axis=self.axis
        )
        return smoothed.value.to(W.dtype), smoothed.grad

    @property
    def squared_operator_norm(self) -> float:
        groups = self.groups
        squares = self.scaled.square()
        per_item = torch.zeros(groups.n_items, dtype=torch.float64)
        per_item.index_add_(0, groups.indices, squares[groups.group_of])
        return per_item.max().item()

    def n_blocks(self, W: Tensor) -> int:
        return W.numel() // self.groups.n_items * len(self.groups)


@dataclass(frozen=True)
class SmoothedL1Image(Smoothed):
    """Smoothed ``Omega(W) = strength * ||K W||_1``: a Huber function of each entry of the image.

    ``C = strength K`` and ``Q`` is the unit box.

    Parameters
    ----------
    smoothness : float
        Nesterov's parameter, ``> 0``.
    penalty : Composed
        Gives ``K``; its ``inner`` is an :class:`L1` norm.
    """

    smoothness: float
    penalty: Composed

    def __post_init__(self) -> None:
        self.check()

    def value_and_grad(self, W: Tensor) -> tuple[Tensor, Tensor]:
        image = self.penalty.strength * self.penalty.forward(W)
        alpha = (image / self.smoothness).clamp(-1, 1)
        return self.huber(image.abs()), self.penalty.strength * self.penalty.transposed(alpha, W)

    @property
    def squared_operator_norm(self) -> float:
        strength = self.penalty.strength
        return strength * strength * self.penalty.squared_operator_norm(torch.empty(0))

    def n_blocks(self, W: Tensor) -> int:
        return self.penalty.forward(W).numel()
