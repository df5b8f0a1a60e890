"""L21 norm: the sum of the Euclidean norms of rows or columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.regularizers.base import Regularizer, RowNorms
from proxmtl.regularizers.group_l2 import GroupL2
from proxmtl.regularizers.l1 import L1

__all__ = ["L21"]


@dataclass(frozen=True)
class L21(Regularizer):
    """``R(W) = strength * sum_d ||W[d, :]||_2`` for ``axis=-1``: whole rows are kept or dropped.

    The norm runs along ``axis``: with ``axis=-1`` and ``W`` of shape (D, M) a feature is shared by
    all tasks or used by none ("all-sharing"); with ``axis=0`` each task is a block. The same as
    :class:`GroupL2` with a single group, without naming the size.

    Parameters
    ----------
    strength : float
        ``>= 0``.
    axis : int
        Axis along which the Euclidean norm is taken.

    References
    ----------
    Argyriou, Evgeniou, Pontil, "Convex multi-task feature learning", 2008; Obozinski, Taskar,
    Jordan, "Joint covariate selection and joint subspace selection", 2010.
    """

    strength: float
    axis: int = -1
    is_norm = True
    is_absolutely_monotone = True
    has_curvature = True
    is_slicewise = True

    def value(self, W: Tensor) -> Tensor:
        return self._on(W).value(W)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._on(W).prox(W, step)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        return self._on(W).kkt_residual(W, grad)

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        return self._on(U).dual_norm(U, at)

    def active(self, W: Tensor) -> Tensor:
        return self._on(W).active(W)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        return self._on(W).curvature_product(W, V)

    def as_row_norms(self, W: Tensor) -> RowNorms | None:
        return self._on(W).as_row_norms(W)

    def for_parameter(self, W: Tensor) -> Regularizer:
        """As disjoint groups, which sum with an L1 norm in one prox."""
        return self._on(W)

    def _on(self, W: Tensor) -> GroupL2 | L1:
        if not -W.ndim <= self.axis < W.ndim:
            raise ValueError(f"axis: got {self.axis} for a parameter of {W.ndim} axes.")
        if W.shape[self.axis] == 0:  # a group has members; without entries all norms are one
            return L1(self.strength)
        return _single(W.shape[self.axis], self.strength, self.axis)


@lru_cache(maxsize=64)
def _single(n_items: int, strength: float, axis: int) -> GroupL2:
    return GroupL2(_one_group(n_items), strength, axis)


@lru_cache(maxsize=64)
def _one_group(n_items: int) -> Groups:
    return Groups.single(n_items)
