"""Disjoint group norm: the paper's penalty on the rows of S."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.kernels import group_shrink
from proxmtl.regularizers.base import RowNorms, combination, scaled_value
from proxmtl.regularizers.group_layout import zero_where_zero
from proxmtl.regularizers.group_norm import GroupNorm

__all__ = ["GroupL2"]


@dataclass(frozen=True)
class GroupL2(GroupNorm):
    """``R(S) = strength * sum_k sum_g w_g ||S[k, g]||_2`` for disjoint groups, prox in closed form.

    With ``axis=-1`` and ``S`` of shape (K, M) this is the paper's penalty: ``S[k, g]`` are the
    entries of row ``k`` in the columns (tasks) of group ``g``. Any axis and any number of
    dimensions work; each slice along the other axes has its own norms. Items in no group are not
    penalised.

    Prox: each block is shrunk, ``v max(0, 1 - step strength w_g / ||v||)``. Dual norm:
    ``max ||U[k, g]|| / (strength w_g)``.

    Parameters
    ----------
    groups : Groups
        Disjoint; for overlapping groups use :class:`OverlappingGroupL2`.
    strength : float
        ``>= 0``; the paper's mu.
    axis : int
        The grouped axis.

    References
    ----------
    Abdulnabi et al. 2015, eq. 2; Yuan and Lin, "Model selection and estimation in regression with
    grouped variables", 2006.
    """

    groups: Groups
    strength: float
    axis: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.groups.is_disjoint:
            raise ValueError(
                f"groups: {self.groups!r}; GroupL2 takes disjoint groups, use OverlappingGroupL2."
            )

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        self.layout.rows(W)  # raises if the shape does not fit
        groups = self.groups
        out, value = group_shrink(
            W.contiguous(),
            groups.index,
            groups.weights,
            step=float(step) * self.strength,
            axis=self.axis,
        )
        return out, scaled_value(self.strength, value, W)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        rows, restore = self.layout.rows(W)
        grads, _ = self.layout.rows(grad)
        bound = self.layout.bounds(self.strength, W)
        norms, grad_norms = self.layout.norms(rows), self.layout.norms(grads)
        at_zero = zero_where_zero(torch.relu(grad_norms - bound), grad_norms)
        zero = norms == 0
        residual = grads * self.layout.spread(torch.where(zero, at_zero, 1.0), 1.0)
        # the direction first: the bound over a tiny norm is infinite
        direction = rows / self.layout.spread(torch.where(zero, 1.0, norms), 1.0)
        return restore(residual + direction * self.layout.spread(bound.expand_as(norms), 0.0))

    def active(self, W: Tensor) -> Tensor:
        """Blocks that are not zero, whole; items that are not penalised."""
        rows, restore = self.layout.rows(W)
        free = (self.layout.norms(rows) > 0) | (self.layout.bounds(self.strength, W) == 0)
        return restore(self.layout.spread(free, True))

    def as_row_norms(self, W: Tensor) -> RowNorms | None:
        if W.ndim != 2 or self.axis % 2 != 1:  # the groups are of features
            return None
        groups = self.groups
        of_task = torch.full((groups.n_items,), -1)
        sizes = groups.indptr.diff()
        of_task[groups.indices] = torch.arange(groups.n_groups).repeat_interleave(sizes)
        # a task in no group is one by itself, without a norm
        free = torch.nonzero(of_task < 0).flatten()
        of_task[free] = torch.arange(groups.n_groups, groups.n_groups + len(free))
        factors = groups.weights.new_zeros(groups.n_groups + len(free))
        factors[: groups.n_groups] = self.strength * groups.weights
        return RowNorms(of_task.to(W.device), factors.to(W.device)[:, None].expand(-1, len(W)), 0.0)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        """``strength w_g (v - x <x, v> / n^2) / n`` with ``n = ||x||``, block by block."""
        rows, restore = self.layout.rows(W)
        along, _ = self.layout.rows(V)
        members, group_of = self.layout.indices(W.device)
        norms = self.layout.norms(rows)
        direction = rows / self.layout.spread(torch.where(norms == 0, 1.0, norms), 1.0)
        inner = torch.zeros_like(norms).index_add_(1, group_of, (direction * along)[:, members])
        bend = zero_where_zero(self.layout.bounds(self.strength, W).expand_as(norms), norms)
        across = along - direction * self.layout.spread(inner, 0.0)
        return restore(across * self.layout.spread(bend, 0.0))


@combination(GroupL2, GroupL2)
def _add(a: GroupL2, b: GroupL2) -> GroupL2 | None:
    same = a.groups is b.groups and a.axis == b.axis
    return a.with_strength(a.strength + b.strength) if same else None
