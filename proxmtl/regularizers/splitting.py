"""Penalties as norms of a linear image, for solvers with a dual variable of that image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.regularizers.base import Regularizer
from proxmtl.regularizers.group_l2 import GroupL2

if TYPE_CHECKING:
    from proxmtl.regularizers.overlapping import OverlappingGroupL2

__all__ = ["Itself", "Memberships", "Splitting", "Subgradients"]


class Splitting(Protocol):
    """``R(W) = inner(K W)``, with a prox of ``inner`` that costs little.

    A solver that splits ``R`` this way has a dual variable ``Z`` of the shape of ``K W`` in the
    dual ball of ``inner``; at a solution ``K' Z`` is a subgradient of ``R``.
    """

    @property
    def inner(self) -> Regularizer:
        """The norm of the image."""

    def forward(self, W: Tensor) -> Tensor:
        """``K W``."""

    def transposed(self, Z: Tensor, like: Tensor) -> Tensor:
        """``K' Z``, in the shape of ``like``."""

    def squared_operator_norm(self, W: Tensor) -> float:
        """Upper bound on ``||K||^2`` for arguments of the shape of ``W``."""

    def settled(self, W: Tensor, Z: Tensor) -> Tensor:
        """``W`` with exact zeros where the dual variable tells that the solution has them."""

    def certified_by(self, Z: Tensor) -> Subgradients | None:
        """Certificates of ``R`` by the dual variable; None: ``R`` does as well alone."""


class Subgradients(Protocol):
    """What a certificate asks of a penalty: each as in :class:`Regularizer`, or an upper bound."""

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        """Dual norm of the penalty at ``U``."""

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Residual of the optimality condition at a point and the gradient of the rest."""

    def ridged_conjugate(self, U: Tensor, ridge: float) -> float:
        """Conjugate of the penalty plus ``ridge ||W||^2``."""


@dataclass(frozen=True)
class Itself:
    """A penalty that is not split: ``K`` is the identity."""

    inner: Regularizer

    def forward(self, W: Tensor) -> Tensor:
        return W

    def transposed(self, Z: Tensor, like: Tensor) -> Tensor:
        return Z

    def squared_operator_norm(self, W: Tensor) -> float:
        return 1.0

    def settled(self, W: Tensor, Z: Tensor) -> Tensor:
        return W

    def certified_by(self, Z: Tensor) -> None:
        return None


@dataclass(frozen=True)
class Memberships:
    """Overlapping groups as disjoint groups of copies: ``K`` copies an item into each of its own.

    The image has a row per slice and a column per membership. An iteration of a solver that splits
    the norm so is linear in the memberships, where the prox of the norm itself may take thousands
    of sweeps over them.
    """

    norm: OverlappingGroupL2

    @cached_property
    def inner(self) -> GroupL2:
        groups = self.norm.layout.groups
        n = self.size
        copies = Groups(groups.indptr, torch.arange(n), groups.weights, n, groups.names)
        return GroupL2(copies, self.norm.strength)

    @property
    def size(self) -> int:
        """Number of memberships."""
        return len(self.norm.groups.indices)

    def forward(self, W: Tensor) -> Tensor:
        rows, _ = self.norm.layout.rows(W)
        return rows[:, self.norm.layout.indices(W.device)[0]]

    def transposed(self, Z: Tensor, like: Tensor) -> Tensor:
        _, restore = self.norm.layout.rows(like)
        return restore(self.norm.layout.scatter(Z, self.norm.groups.n_items))

    def squared_operator_norm(self, W: Tensor) -> float:
        return float(self.norm.groups.max_overlap)

    def settled(self, W: Tensor, Z: Tensor) -> Tensor:
        """Groups are zero whose dual vector is inside its ball, where no subgradient else is."""
        layout = self.norm.layout
        rows, restore = layout.rows(W)
        _, group_of = layout.indices(W.device)
        radius = layout.bounds(self.norm.strength, rows)
        # the prox puts the others on the sphere, to the rounding of a norm
        inside = layout.member_norms(Z) < radius * (1 - 16 * torch.finfo(Z.dtype).eps)
        zero = layout.scatter(inside[:, group_of].to(rows.dtype), rows.shape[1]) > 0
        return restore(torch.where(zero, 0.0, rows))

    def certified_by(self, Z: Tensor) -> Decomposed:
        """In float64, and in the balls, which the rounding of a narrower dtype leaves."""
        shares = Z.to(torch.float64)
        radius = self.norm.layout.bounds(self.norm.strength, shares)
        norms = self.norm.layout.member_norms(shares)
        scale = torch.where(
            norms > radius, radius / norms.clamp_min(torch.finfo(norms.dtype).tiny), 1.0
        )
        return Decomposed(self.norm, shares * scale[:, self.norm.layout.indices(Z.device)[1]])


@dataclass(frozen=True)
class Decomposed:
    """Certificates of overlapping groups by a decomposition that a solver has found.

    They are upper bounds, tight at a solution. None takes the prox of the norm, which may be far
    more expensive than the solve.
    """

    norm: OverlappingGroupL2
    shares: Tensor
    """Dual vectors by membership, (slices, memberships)."""

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        rows, _ = self.norm.layout.rows(U)
        return self.norm.decomposition_norm(rows, self.shares)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """With the pull of groups that are not zero, and the dual vectors of those that are."""
        layout = self.norm.layout
        rows, restore = layout.rows(W)
        grads, _ = layout.rows(grad)
        norms = layout.norms(rows)
        zero = (norms == 0)[:, layout.indices(W.device)[1]]
        pull = self.norm.pull(rows, norms) + torch.where(zero, self.shares, 0.0)
        return restore(grads + layout.scatter(pull, rows.shape[1]))

    def ridged_conjugate(self, U: Tensor, ridge: float) -> float:
        """At most ``||U - sum_g Z_g||^2 / (4 ridge)``, for any dual vectors in their balls."""
        left = U - Memberships(self.norm).transposed(self.shares, U)
        return float(left.square().sum()) / (4 * ridge)
