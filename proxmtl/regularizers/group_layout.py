"""Group norms of every slice of a tensor: the one place that knows the memory layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.kernels.ranges import norms_in_range

__all__ = ["GroupLayout", "check_groups", "zero_where_zero"]


def check_groups(groups: object) -> None:
    """Raise ``ValueError`` unless they are :class:`~proxmtl.Groups`."""
    if not isinstance(groups, Groups):
        raise ValueError(
            f"groups: got {type(groups).__name__}; build them with Groups.from_lists, "
            "Groups.from_names or Groups.from_file."
        )


@dataclass(eq=False)
class GroupLayout:
    """Groups laid over one axis of a tensor; each slice along the other axes has its own norms."""

    groups: Groups
    axis: int

    def rows(self, W: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """``W`` as a matrix (slices, items), and the way back to the shape of ``W``.

        Raises
        ------
        ValueError
            If the grouped axis of ``W`` has not as many entries as there are items.
        """
        if (
            W.ndim == 0
            or not -W.ndim <= self.axis < W.ndim
            or W.shape[self.axis] != self.groups.n_items
        ):
            raise ValueError(self._misfit(W))
        moved = W.movedim(self.axis, -1)
        shape = moved.shape
        return moved.reshape(math.prod(shape[:-1]), shape[-1]), lambda M: M.reshape(shape).movedim(
            -1, self.axis
        )

    def _misfit(self, W: Tensor) -> str:
        """Say that the groups are of more or fewer items than a parameter has."""
        n, shape = self.groups.n_items, tuple(W.shape)
        if W.ndim != 2 or self.axis not in (-1, 0, 1):
            return f"groups: of {n} items, and W of shape {shape} has no {n} on axis {self.axis}."
        there = shape[self.axis]
        what, line = ("features", "row") if self.axis == 0 else ("tasks", "column")
        return (
            f"groups: of {n} {what}, and there are {there} (W has shape {shape}, a {line} each); "
            f"give groups of all {there} (Groups.from_lists(..., n_items={there}); who is in no "
            "group is not penalised), or another axis."
        )

    def indices(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Item of each membership, and group of each membership, on a device."""
        _, members, group_of = self.groups.index.on(device)
        return members, group_of

    @cached_property
    def whole(self) -> bool:
        """Whether there is a single group, of all items: a sum over an axis, nothing to gather."""
        return len(self.groups) == 1 and len(self.groups.indices) == self.groups.n_items

    def weights(self, like: Tensor) -> Tensor:
        """Group weights in the dtype and on the device of ``like``."""
        return self.groups.weights.to(like)

    def bounds(self, scale: float | Tensor, like: Tensor) -> Tensor:
        """``scale`` times the group weights in the dtype of ``like``, at most its largest number.

        The weights alone may not fit the dtype; and infinity times 0 is not 0.
        """
        if isinstance(scale, Tensor):
            scale = scale.to("cpu", torch.float64)
        return (scale * self.groups.weights).clamp_max(torch.finfo(like.dtype).max).to(like)

    def total(self, rows: Tensor) -> Tensor:
        """Sum over slices and groups of weight times norm, 0-d, in float64."""
        return (self.norms(rows).to(torch.float64) @ self.groups.weights.to(rows.device)).sum()

    def norms(self, rows: Tensor) -> Tensor:
        """``||rows[k, g]||_2`` for each slice and group, shape (slices, groups)."""
        members, group_of = self.indices(rows.device)
        return self.member_norms(rows if self.whole else rows[:, members], group_of)

    def member_norms(self, gathered: Tensor, group_of: Tensor | None = None) -> Tensor:
        """Norms of values given per membership, shape (slices, memberships)."""
        owners = self.indices(gathered.device)[1] if group_of is None else group_of

        def plain(entries: Tensor) -> Tensor:
            if self.whole:
                squares = entries.square().sum(1, keepdim=True)
            else:
                squares = entries.new_zeros(entries.shape[0], len(self.groups))
                squares = squares.index_add(1, owners, entries.square())
            if not squares.requires_grad:
                return squares.sqrt_()
            zero = squares == 0  # autograd of a norm at zero is NaN: choose the subgradient 0
            return torch.where(zero, 0.0, torch.where(zero, 1.0, squares).sqrt())

        # in float64, so that a long group loses no digits
        return norms_in_range(gathered.to(torch.float64), plain).to(gathered.dtype)

    def spread(self, per_group: Tensor, outside: float) -> Tensor:
        """Values per slice and group as values per item; items in no group get ``outside``.

        For disjoint groups: of an item in several, the last one's value stays.
        """
        if self.whole:
            return per_group.expand(-1, self.groups.n_items).contiguous()
        members, group_of = self.indices(per_group.device)
        out = per_group.new_full((len(per_group), self.groups.n_items), outside)
        out[:, members] = per_group[:, group_of]
        return out

    def scatter(self, per_member: Tensor, n_items: int) -> Tensor:
        """Sum values per membership into items: the adjoint of the gather."""
        members, _ = self.indices(per_member.device)
        out = per_member.new_zeros(per_member.shape[0], n_items)
        return out.index_add_(1, members, per_member)

    def takers(self, like: Tensor) -> Tensor:
        """Number of groups of positive weight that hold each item, shape (1, items)."""
        _, group_of = self.indices(like.device)
        takes = (self.weights(like) > 0).to(like)[group_of]
        return self.scatter(takes[None], like.shape[-1])

    def dealt(self, missing: Tensor) -> Tensor:
        """Values per item, dealt out evenly to its groups of positive weight: per membership."""
        members, group_of = self.indices(missing.device)
        takes = (self.weights(missing) > 0)[group_of]
        return (missing / self.takers(missing).clamp_min(1))[:, members] * takes


def zero_where_zero(numerator: Tensor, denominator: Tensor) -> Tensor:
    """``numerator / denominator``, and 0 where the denominator is 0 (NaN is kept)."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / torch.where(zero, 1.0, denominator))
