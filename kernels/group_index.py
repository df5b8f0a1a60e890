"""Groups of positions along an axis, checked once, and what the kernels derive from them."""

from __future__ import annotations

import weakref
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import torch

from .capture import keep_if_captured

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["GroupIndex"]

SPARSE = 8
"""Items for each member above which counting by item costs more than sorting."""

MOST_DERIVED = 64
"""Tables and plans that an index keeps."""

GroupArgument: TypeAlias = "GroupIndex | tuple[torch.Tensor, torch.Tensor]"
Made = TypeVar("Made")


class GroupIndex:
    """Groups of positions along one axis, as operations on group norms take them.

    Members of group g are ``indices[indptr[g]:indptr[g + 1]]``. The groups are checked and copied
    here, once: the index never changes, whatever becomes of the two tensors. What an operation
    derives from the groups (tables, copies on a GPU) is kept with the index, so make one and pass
    it to every call. It may be shared between threads, devices and dtypes.

    Parameters
    ----------
    indptr : Tensor, shape (G + 1,)
        Integers, from 0, never decreasing; on any device.
    indices : Tensor, shape (E,)
        Integers, not negative; groups may overlap, but no item is in one group twice.

    Raises
    ------
    TypeError
        One of the two isn't an integer tensor.
    ValueError
        They don't describe groups; the message names the tensor and what was seen.

    Examples
    --------
    >>> import torch
    >>> from proxmtl.kernels import GroupIndex, group_shrink
    >>> groups = GroupIndex(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 2]))
    >>> x, value = group_shrink(torch.tensor([3.0, 4.0, 0.5]), groups, 1.0)
    >>> x
    tensor([2.4000, 3.2000, 0.0000])
    """

    def __init__(self, indptr: torch.Tensor, indices: torch.Tensor) -> None:
        bounds, members = _integers(indptr, "indptr"), _integers(indices, "indices")
        if not bounds.size or bounds[0] != 0:
            raise ValueError("indptr must start with 0; pass [0, size_0, size_0 + size_1, ...]")
        if bounds[-1] != members.size:
            raise ValueError(
                f"indptr ends with {bounds[-1]} but indices has {members.size} entries; the last "
                "entry of indptr is the number of members"
            )
        if (bounds[1:] < bounds[:-1]).any():  # differences may overflow
            raise ValueError("indptr decreases; group g spans indices[indptr[g]:indptr[g + 1]]")
        self._keep(bounds, members)
        if not self._is_range:
            if members.min() < 0:
                raise ValueError(f"indices has the negative entry {members.min()}; count from 0")
            if not self.is_disjoint:
                self._refuse_repeats()

    def _keep(self, bounds: NDArray[np.int64], members: NDArray[np.int64]) -> None:
        self.n_groups: int = bounds.size - 1
        """Number of groups G."""
        self.n_members: int = members.size
        """Number of memberships E, an item counted once for each group that holds it."""
        self.arrays = bounds, members
        """``indptr`` and ``indices``, int64; read-only."""
        self.sizes = bounds[1:] - bounds[:-1]
        """Number of members of each group, (G,) int64; read-only."""
        # the same memory, which nobody but custom ops gets to see; `as_index` finds the index again
        with torch.inference_mode(mode=False):
            self._tensors = torch.from_numpy(bounds), torch.from_numpy(members)
        self._tensors[0].group_index = weakref.ref(self)  # type: ignore[attr-defined]
        for array in (bounds, members, self.sizes):
            array.flags.writeable = False
        self._derived: dict[tuple[Any, ...], Any] = {}

    @classmethod
    def unchecked(cls, bounds: NDArray[np.int64], members: NDArray[np.int64]) -> GroupIndex:
        """Index of groups that are right by construction; the arrays are kept, not copied."""
        index = cls.__new__(cls)
        index._keep(bounds, members)  # noqa: SLF001 - its own
        return index

    def __repr__(self) -> str:
        kind = "disjoint" if self.is_disjoint else "overlapping"
        return f"GroupIndex({self.n_groups} groups, {self.n_members} members, {kind})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, self.arrays  # not tensors: other processes would get them by descriptors

    def __deepcopy__(self, memo: Any) -> GroupIndex:
        return self

    @property
    def indptr(self) -> torch.Tensor:
        """Where each group begins and the last one ends, (G + 1,) int64: a copy."""
        return self._tensors[0].clone()

    @property
    def indices(self) -> torch.Tensor:
        """Members of all groups, (E,) int64: a copy."""
        return self._tensors[1].clone()

    def derived(self, make: Callable[..., Made], *options: Any) -> Made:
        """``make(self, *options)``, made at the first call and kept with this index.

        All is forgotten after `MOST_DERIVED` different ones: options hold shapes, of which a
        program may have any number.
        """
        key = make, *options
        try:
            found: Made = self._derived[key]
        except KeyError:
            # whatever mode the first call is made in, later ones may need a gradient
            with torch.inference_mode(False):
                found = make(self, *options)
            if len(self._derived) >= MOST_DERIVED:
                self._derived.clear()
            self._derived[key] = found
        return found

    @cached_property
    def max_size(self) -> int:
        """Size of the largest group."""
        return int(self.sizes.max()) if self.n_groups else 0

    @cached_property
    def uniform_size(self) -> int:
        """Size shared by all groups; 0 where they differ."""
        if not self.n_groups:
            return 0
        return int(self.sizes[0]) if (self.sizes == self.sizes[0]).all() else 0

    @cached_property
    def n_items_needed(self) -> int:
        """Smallest number of items that holds every member."""
        if self._is_range:
            return self.n_members
        return int(self.arrays[1].max()) + 1

    @cached_property
    def is_disjoint(self) -> bool:
        """Whether no item is in two groups."""
        if self._is_range:
            return True
        members = self.arrays[1]
        if self.n_items_needed > SPARSE * members.size:
            return np.unique(members).size == members.size
        return int(np.bincount(members).max()) <= 1

    @cached_property
    def _is_range(self) -> bool:
        return bool((self.arrays[1] == np.arange(self.n_members)).all())

    def tiles(self, n_items: int) -> bool:
        """Whether the groups, in order, cut ``range(n_items)`` into consecutive pieces."""
        return self.n_members == n_items and self._is_range

    def on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``indptr``, ``indices`` and the group of each membership on a device; copied once.

        For backends: the memory is the index's, and not to be written to.
        """
        tables = self.derived(_on_device, device)
        keep_if_captured(*tables)
        return tables

    def uncovered(self, n_items: int) -> torch.Tensor:
        """Items of ``range(n_items)`` in no group, int64 on the CPU."""
        return torch.from_numpy(_uncovered(self, n_items))

    def filled(self, n_items: int) -> GroupIndex:
        """These groups, then the items of ``range(n_items)`` in none, in further groups."""
        if self.tiles(n_items):
            return self
        filled = self.derived(_filled, n_items)
        return self if filled is None else filled

    def owners(self, n_items: int, device: torch.device) -> torch.Tensor:
        """Groups of each item, (largest overlap, n_items) int64, -1 where an item has fewer."""
        table = self.derived(_owners, n_items, device)
        keep_if_captured(table)
        return table

    @cached_property
    def levels(self) -> list[NDArray[np.int64]]:
        """Groups in batches of mutually disjoint ones that keep the order of dependent groups.

        A group's level is one more than the highest level among earlier groups that share an item
        with it, so processing level by level gives what processing group by group gives.
        """
        last_level = [0] * self.n_items_needed
        bounds, members = (array.tolist() for array in self.arrays)
        batches: list[list[int]] = []
        for group in range(self.n_groups):
            items = members[bounds[group] : bounds[group + 1]]
            level = max((last_level[item] for item in items), default=0)
            if level == len(batches):
                batches.append([])
            batches[level].append(group)
            for item in items:
                last_level[item] = level + 1
        return [np.array(batch) for batch in batches]

    def _refuse_repeats(self) -> None:
        members = self.arrays[1]
        owner = np.repeat(np.arange(self.n_groups), self.sizes)
        order = np.lexsort((members, owner))
        owner, members = owner[order], members[order]
        twice = np.flatnonzero((owner[1:] == owner[:-1]) & (members[1:] == members[:-1]))
        if twice.size:
            group, item = owner[twice[0]], members[twice[0]]
            raise ValueError(f"indices names item {item} twice in group {group}; name it once")


def _restored(bounds: NDArray[np.int64], members: NDArray[np.int64]) -> GroupIndex:
    """The index that was pickled."""
    return GroupIndex.unchecked(np.array(bounds), np.array(members))


def as_index(groups: GroupArgument) -> GroupIndex:
    """The index that operations were given; one is made of a pair of tensors.

    Custom ops take tensors: by those of an index, which nobody writes to, it is found again.

    Raises
    ------
    TypeError, ValueError
        It is neither an index nor a pair, or as `GroupIndex` raises them.
    """
    if isinstance(groups, GroupIndex):
        return groups
    indptr, indices = as_pair(groups)
    owner = getattr(indptr, "group_index", None)
    known = None if owner is None else owner()
    if isinstance(known, GroupIndex) and as_pair(known)[1] is indices:
        return known
    return GroupIndex(indptr, indices)


def as_pair(groups: GroupArgument) -> tuple[torch.Tensor, torch.Tensor]:
    """``indptr`` and ``indices`` as custom ops take them.

    Raises
    ------
    TypeError
        It is neither an index nor a pair.
    """
    if isinstance(groups, GroupIndex):
        return groups._tensors  # noqa: SLF001 - of this module
    given: Any = groups
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        seen = f"of {len(given)}" if isinstance(given, (tuple, list)) else type(given).__name__
        raise TypeError(f"groups is {seen}; pass a GroupIndex, or the pair (indptr, indices)")
    return given[0], given[1]


def checked_groups(groups: GroupArgument, n_items: int, *, disjoint: bool = False) -> GroupIndex:
    """Index of groups whose members all lie in ``range(n_items)``.

    Raises
    ------
    ValueError
        A member is out of range, or two groups overlap that must not.
    """
    index = as_index(groups)
    if index.n_items_needed > n_items:
        raise ValueError(
            f"groups names item {index.n_items_needed - 1} but the axis of the groups has length "
            f"{n_items}; is axis the right one?"
        )
    if disjoint and not index.is_disjoint:
        raise ValueError(
            "the groups overlap, and shrinking them one by one isn't the prox of their sum; use "
            "overlap_dual_sweep"
        )
    return index


def _integers(tensor: torch.Tensor, name: str) -> NDArray[np.int64]:
    """Copy of an integer tensor: later writes into the caller's can't reach it."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}; pass an int64 tensor")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} has dtype {tensor.dtype}; pass an int64 tensor")
    if tensor.dim() != 1:
        raise ValueError(f"{name} has {tensor.dim()} dimensions; pass one")
    return np.array(tensor.detach().cpu().numpy(), dtype=np.int64)


def _on_device(
    groups: GroupIndex, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    owner = np.repeat(np.arange(groups.n_groups), groups.sizes)
    indptr, indices = as_pair(groups)
    return indptr.to(device), indices.to(device), torch.from_numpy(owner).to(device)


def _uncovered(groups: GroupIndex, n_items: int) -> NDArray[np.int64]:
    covered = np.zeros(n_items, np.bool_)
    covered[groups.arrays[1]] = True
    return np.flatnonzero(~covered)


def _filled(groups: GroupIndex, n_items: int) -> GroupIndex | None:
    loose = _uncovered(groups, n_items)
    if not loose.size:
        return None  # not the index itself, which would keep itself alive
    size = groups.max_size or 1024
    edges = np.minimum(np.arange(size, loose.size + size, size), loose.size)
    bounds, members = groups.arrays
    return GroupIndex.unchecked(
        np.concatenate([bounds, groups.n_members + edges]), np.concatenate([members, loose])
    )


def _owners(groups: GroupIndex, n_items: int, device: torch.device) -> torch.Tensor:
    members = groups.arrays[1]
    order = np.argsort(members, kind="stable")
    items = members[order]
    owner = np.repeat(np.arange(groups.n_groups), groups.sizes)[order]
    counts = np.bincount(items, minlength=n_items)
    turn = np.arange(items.size) - (counts.cumsum() - counts)[items]
    table = np.full((int(counts.max()) if counts.size else 0, n_items), -1)
    table[turn, items] = owner
    return torch.from_numpy(table).to(device)
