"""What the kernels need to know of a set of groups, worked out once per set and remembered."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from .capture import keep_if_captured

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class GroupLayout:
    """Groups in compressed rows: members of group g are ``indices[indptr[g]:indptr[g + 1]]``.

    Parameters
    ----------
    indptr : Tensor (G + 1,)
        int64, on the CPU, from 0, never decreasing.
    indices : Tensor (E,)
        int64, on the CPU, not negative; no item twice in one group.
    """

    indptr: torch.Tensor
    indices: torch.Tensor
    _copies: dict[torch.device, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = field(
        default_factory=dict, repr=False
    )
    _filled: dict[int, GroupLayout] = field(default_factory=dict, repr=False)
    _owners: dict[tuple[int, torch.device], torch.Tensor] = field(default_factory=dict, repr=False)

    @cached_property
    def n_groups(self) -> int:
        """Number of groups G."""
        return int(self.indptr.numel()) - 1

    @cached_property
    def n_members(self) -> int:
        """Number of memberships E, an item counted once per group that holds it."""
        return int(self.indices.numel())

    @cached_property
    def max_size(self) -> int:
        """Size of the largest group."""
        return int(self.indptr.diff().max()) if self.n_groups else 0

    @cached_property
    def uniform_size(self) -> int:
        """Size shared by all groups; 0 where they differ."""
        if not self.n_groups:
            return 0
        sizes = self.indptr.diff()
        return int(sizes[0]) if bool((sizes == sizes[0]).all()) else 0

    @cached_property
    def n_items_needed(self) -> int:
        """Smallest number of items that holds every member."""
        return int(self.indices.max()) + 1 if self.n_members else 0

    @cached_property
    def is_disjoint(self) -> bool:
        """Whether no item is in two groups."""
        return not self.n_members or int(torch.bincount(self.indices).max()) <= 1

    @cached_property
    def _is_range(self) -> bool:
        return torch.equal(self.indices, torch.arange(self.n_members))

    def tiles(self, n_items: int) -> bool:
        """Whether the groups, in order, cut ``range(n_items)`` into consecutive pieces."""
        return self.n_members == n_items and self._is_range

    @cached_property
    def group_of_member(self) -> torch.Tensor:
        """Group of each membership, (E,) int64 on the CPU."""
        return torch.repeat_interleave(torch.arange(self.n_groups), self.indptr.diff())

    def on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``indptr``, ``indices`` and ``group_of_member`` on a device; copied once."""
        if device not in self._copies:
            self._copies[device] = (
                self.indptr.to(device),
                self.indices.to(device),
                self.group_of_member.to(device),
            )
        keep_if_captured(*self._copies[device])
        return self._copies[device]

    @cached_property
    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """``indptr`` and ``indices`` as numpy arrays over the same memory."""
        return self.indptr.numpy(), self.indices.numpy()

    def uncovered(self, n_items: int) -> torch.Tensor:
        """Items of ``range(n_items)`` in no group, int64 on the CPU."""
        covered = torch.zeros(n_items, dtype=torch.bool)
        covered[self.indices] = True
        return (~covered).nonzero().squeeze(1)

    def filled(self, n_items: int) -> GroupLayout:
        """These groups, then the items of ``range(n_items)`` in none, in further groups."""
        if n_items not in self._filled:
            loose = self.uncovered(n_items)
            size = self.max_size or 1024
            if not loose.numel():
                self._filled[n_items] = self
            else:
                edges = torch.arange(0, loose.numel() + size, size).clamp_(max=loose.numel())
                self._filled[n_items] = GroupLayout(
                    torch.cat([self.indptr, self.n_members + edges[1:]]),
                    torch.cat([self.indices, loose]),
                )
        return self._filled[n_items]

    def owners(self, n_items: int, device: torch.device) -> torch.Tensor:
        """Groups of each item, (largest overlap, n_items) int64, -1 where an item has fewer."""
        key = (n_items, device)
        if key not in self._owners:
            order = torch.argsort(self.indices, stable=True)
            items, groups = self.indices[order], self.group_of_member[order]
            counts = torch.bincount(items, minlength=n_items)
            turn = torch.arange(items.numel()) - (counts.cumsum(0) - counts)[items]
            table = torch.full((int(counts.max()) if counts.numel() else 0, n_items), -1)
            table[turn, items] = groups
            self._owners[key] = table.to(device)
        keep_if_captured(self._owners[key])
        return self._owners[key]

    @cached_property
    def levels(self) -> list[torch.Tensor]:
        """Groups in batches of mutually disjoint ones that keep the order of dependent groups.

        A group's level is one more than the highest level among earlier groups that share an item
        with it, so processing level by level gives what processing group by group gives.
        """
        last_level = [0] * self.n_items_needed
        members = self.indices.tolist()
        bounds = self.indptr.tolist()
        batches: list[list[int]] = []
        for group in range(self.n_groups):
            items = members[bounds[group] : bounds[group + 1]]
            level = max((last_level[item] for item in items), default=0)
            if level == len(batches):
                batches.append([])
            batches[level].append(group)
            for item in items:
                last_level[item] = level + 1
        return [torch.tensor(batch) for batch in batches]


_Key = tuple[int, int]
_known: dict[_Key, tuple[tuple[Any, Any], tuple[int, int], GroupLayout]] = {}


def layout_of(indptr: torch.Tensor, indices: torch.Tensor) -> GroupLayout:
    """Return the checked layout of these two tensors, remembered while both live unmodified.

    Parameters
    ----------
    indptr : Tensor (G + 1,)
    indices : Tensor (E,)
        Integer tensors on any device; brought to the CPU on first sight.

    Returns
    -------
    GroupLayout

    Raises
    ------
    TypeError
        When one isn't an integer tensor.
    ValueError
        When they don't describe groups.
    """
    key = (id(indptr), id(indices))
    entry = _known.get(key)
    if entry is not None and entry[0][0]() is indptr and entry[0][1]() is indices:
        versions = (indptr._version, indices._version)  # noqa: SLF001 - torch has no public name
        if entry[1] == versions:
            return entry[2]
    layout = _checked(indptr, indices)
    if not (indptr.is_inference() or indices.is_inference()):

        def forget(_: Any, key: _Key = key) -> None:
            _known.pop(key, None)

        _known[key] = (
            (weakref.ref(indptr, forget), weakref.ref(indices, forget)),
            (indptr._version, indices._version),  # noqa: SLF001 - as above
            layout,
        )
    return layout


def _checked(indptr: torch.Tensor, indices: torch.Tensor) -> GroupLayout:
    for name, tensor in (("indptr", indptr), ("indices", indices)):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} is a {type(tensor).__name__}; pass an int64 tensor")
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise TypeError(f"{name} has dtype {tensor.dtype}; pass an int64 tensor")
        if tensor.dim() != 1:
            raise ValueError(f"{name} has {tensor.dim()} dimensions; pass one")
    # A copy, so that later writes into the caller's tensors can't reach a checked layout.
    bounds = indptr.detach().to("cpu", torch.int64, copy=True).contiguous()
    members = indices.detach().to("cpu", torch.int64, copy=True).contiguous()
    if not bounds.numel() or int(bounds[0]) != 0:
        raise ValueError("indptr must start with 0; pass [0, size_0, size_0 + size_1, ...]")
    if int(bounds[-1]) != members.numel():
        raise ValueError(
            f"indptr ends with {int(bounds[-1])} but indices has {members.numel()} entries; the "
            "last entry of indptr is the number of members"
        )
    if bounds.numel() > 1 and int(bounds.diff().min()) < 0:
        raise ValueError("indptr decreases; group g spans indices[indptr[g]:indptr[g + 1]]")
    if members.numel() and int(members.min()) < 0:
        raise ValueError(f"indices has the negative entry {int(members.min())}; count from 0")
    layout = GroupLayout(bounds, members)
    if not layout.is_disjoint:
        _refuse_repeats(layout)
    return layout


def _refuse_repeats(layout: GroupLayout) -> None:
    keys, _ = (layout.group_of_member * layout.n_items_needed + layout.indices).sort()
    twice = keys[1:][keys.diff() == 0]
    if twice.numel():
        group, item = divmod(int(twice[0]), layout.n_items_needed)
        raise ValueError(f"indices names item {item} twice in group {group}; name it once")
