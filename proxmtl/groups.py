"""Groups of items (tasks, attributes): the description that group norms and kernels share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from proxmtl.group_files import item_index, places_by_name, read_places
from proxmtl.kernels import GroupIndex
from proxmtl.naming import fitting
from proxmtl.shown import Shown

__all__ = ["Groups"]

Weights = Sequence[float] | np.ndarray | Tensor | Literal["sqrt_size"] | None


@dataclass(frozen=True, eq=False)
class Groups(Shown):
    """A family of weighted groups of items, which may overlap.

    Stored as CSR: the members of group ``g`` are ``indices[indptr[g]:indptr[g + 1]]``, ascending.
    Immutable, and validated at construction. Build one with :meth:`from_lists`,
    :meth:`from_labels`, :meth:`from_names`, :meth:`from_file`, :meth:`singletons` or
    :meth:`single`.

    Parameters
    ----------
    indptr : Tensor, shape (n_groups + 1,), int64
    indices : Tensor, shape (n_memberships,), int64
    weights : Tensor, shape (n_groups,), float64
        Non-negative weight of each group's norm; 1 in the paper.
    n_items : int
        Size of the grouped axis (tasks, for the paper's groups).
    names : tuple of str
        One name per group.

    Raises
    ------
    ValueError
        If a group is empty or has no name, an index is out of range or repeated in its group, a
        weight is negative or not finite, or the lengths disagree.
    """

    _SHOWN = ("n_groups", "n_items", "names", "is_disjoint", "max_overlap")
    indptr: Tensor
    indices: Tensor
    weights: Tensor
    n_items: int
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n_groups = len(self.indptr) - 1
        if n_groups < 1:
            raise ValueError("groups: there is no group; use Groups.singletons(n) for no grouping.")
        if len(self.weights) != n_groups or len(self.names) != n_groups:
            raise ValueError(
                f"groups: {n_groups} groups but {len(self.weights)} weights and "
                f"{len(self.names)} names; give one of each per group."
            )
        nameless = [g for g, name in enumerate(self.names) if not name.strip()]
        if nameless:
            raise ValueError(f"groups: group {nameless[0] + 1} of {n_groups} has no name; name it.")
        if len(set(self.names)) != n_groups:
            raise ValueError(f"groups: names repeat in {list(self.names)}; make them distinct.")
        if not bool(torch.isfinite(self.weights).all()) or bool((self.weights < 0).any()):
            raise ValueError(
                f"groups: weights must be finite and non-negative; got {self.weights.tolist()}."
            )
        if (
            int(self.indptr[0]) != 0
            or int(self.indptr[-1]) != len(self.indices)
            or bool((self.indptr[1:] < self.indptr[:-1]).any())  # differences may overflow
        ):
            raise ValueError(
                f"groups: indptr must rise from 0 to the {len(self.indices)} memberships; got "
                f"{self.indptr.tolist()[:8]}."
            )
        wrong = (self.indices < 0) | (self.indices >= self.n_items)
        wrong[1:] |= (self.group_of[1:] == self.group_of[:-1]) & (self.indices.diff() <= 0)
        suspects = torch.cat([self.group_of[wrong], torch.nonzero(self.sizes == 0).flatten()])
        for g in sorted(set(suspects.tolist())):
            self._check_members(self.names[g], self.members(g))
        _ = self.index  # cache it now: torch.compile cannot trace its construction

    def __reduce__(self) -> tuple[Any, ...]:
        # without caches, and as arrays: torch passes tensors to other processes by file descriptors
        arrays = (part.cpu().numpy() for part in (self.indptr, self.indices, self.weights))
        return _restored, (*arrays, self.n_items, self.names)

    def __deepcopy__(self, memo: Any) -> Groups:
        return self  # immutable

    def _check_members(self, name: str, members: list[int]) -> None:
        if not members:
            raise ValueError(f"groups: group {name!r} is empty; remove it or give it members.")
        if min(members) < 0 or max(members) >= self.n_items:
            bad = min(members) if min(members) < 0 else max(members)
            raise ValueError(
                f"groups: group {name!r} holds item {bad}, outside 0..{self.n_items - 1}; "
                "items count from 0."
            )
        if len(set(members)) != len(members):
            twice = next(item for item, count in Counter(members).items() if count > 1)
            raise ValueError(f"groups: group {name!r} holds an item twice: {twice}; keep it once.")
        if sorted(members) != members:
            raise ValueError(f"groups: group {name!r} is not in ascending order: {members}.")

    @classmethod
    def from_lists(
        cls,
        members: Iterable[Iterable[int]],
        n_items: int | None = None,
        names: Sequence[str] | None = None,
        weights: Weights = None,
    ) -> Groups:
        """Build from one list of item indices per group.

        Parameters
        ----------
        members : iterable of iterables of int
            Item indices from 0; groups may overlap.
        n_items : int, optional
            Number of items; default: the largest index + 1.
        names : sequence of str, optional
            Default ``"g0", "g1", ...``.
        weights : sequence of float, ``"sqrt_size"`` or None
            None: all 1 (the paper). ``"sqrt_size"``: square root of each group's size.
        """
        lists = [sorted(item_index(i) for i in group) for group in members]
        sizes = [len(group) for group in lists]
        flat = [i for group in lists for i in group]
        if n_items is None:
            n_items = max(flat, default=-1) + 1
        if names is None:
            names = [f"g{g}" for g in range(len(lists))]
        if isinstance(weights, str):
            if weights != "sqrt_size":
                raise ValueError(
                    f"weights: got {weights!r}; use 'sqrt_size', None or one number per group."
                )
            weights = [size**0.5 for size in sizes]
        elif weights is None:
            weights = [1.0] * len(lists)
        return cls(
            indptr=torch.tensor([0, *np.cumsum(sizes, dtype=np.int64).tolist()]),
            indices=torch.tensor(flat, dtype=torch.int64),
            weights=torch.as_tensor(weights, dtype=torch.float64).detach().clone(),
            n_items=int(n_items),
            names=tuple(str(name) for name in names),
        )

    @classmethod
    def from_labels(cls, labels: Sequence[Hashable], weights: Weights = None) -> Groups:
        """Build disjoint groups from the group label of each item, in order of first appearance."""
        order: dict[Hashable, list[int]] = {}
        for item, label in enumerate(labels):
            order.setdefault(label, []).append(item)
        return cls.from_lists(order.values(), len(labels), [str(label) for label in order], weights)

    @classmethod
    def from_names(
        cls,
        groups: Mapping[str, Iterable[str]],
        items: Sequence[str],
        weights: Weights = None,
    ) -> Groups:
        """Build from a mapping group name -> item names; ``items`` are the ordered item names.

        Raises
        ------
        TypeError, ValueError
            If a member is not one of ``items``; the message names it and its group. If ``groups``
            is no mapping.
        """
        lists = places_by_name(groups, items)
        return cls.from_lists(lists, len(items), list(groups), weights)

    @classmethod
    def from_file(cls, path: str | Path, items: Sequence[str]) -> Groups:
        """Read groups from a TOML, JSON or CSV file.

        TOML and JSON: a table ``group name = [item names]``, at the top or under the key
        ``groups``, with an optional table ``weights``, ``group name = number``, beside it. CSV: a
        header and two columns, group and item, one membership per row.

        Raises
        ------
        ValueError
            If the file's ending is none of ``.toml``, ``.json``, ``.csv``, its content is not as
            above, or it holds no group; the message begins with the path.
        """
        path = Path(path)
        table, weights = read_places(path, items)
        try:
            strengths = [weights.get(name, 1.0) for name in table]
            return cls.from_lists(table.values(), len(items), list(table), strengths)
        except ValueError as error:
            raise ValueError(f"{path}: {fitting(str(error))}") from error

    @classmethod
    def singletons(cls, n_items: int) -> Groups:
        """Build a group of its own for each item: the group norm becomes the L1 norm."""
        return cls.from_lists([[i] for i in range(n_items)], n_items)

    @classmethod
    def single(cls, n_items: int) -> Groups:
        """Build one group of all items: the group norm becomes the block L2 norm."""
        return cls.from_lists([range(n_items)], n_items, ["all"])

    # ------------------------------------------------------------------ structure

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self)

    def members(self, g: int) -> list[int]:
        """Items of group ``g``, ascending."""
        return self.indices[int(self.indptr[g]) : int(self.indptr[g + 1])].tolist()

    @cached_property
    def index(self) -> GroupIndex:
        """The memberships in the form that kernels take, without weights; cached."""
        return GroupIndex(self.indptr, self.indices)

    @cached_property
    def sizes(self) -> Tensor:
        """Number of items of each group, shape (n_groups,)."""
        return self.indptr.diff()

    @cached_property
    def group_of(self) -> Tensor:
        """Group of each membership, shape (n_memberships,): ``indptr`` in COO form."""
        return torch.repeat_interleave(torch.arange(len(self)), self.sizes)

    @cached_property
    def coverage(self) -> Tensor:
        """Number of groups that contain each item, shape (n_items,)."""
        return torch.bincount(self.indices, minlength=self.n_items)

    @property
    def max_overlap(self) -> int:
        """Largest number of groups that contain the same item; at most 1 if disjoint."""
        return int(self.coverage.max())

    @property
    def is_disjoint(self) -> bool:
        """Whether no item is in two groups."""
        return self.max_overlap <= 1

    @property
    def is_contiguous(self) -> bool:
        """Whether each group is a run of neighbouring items."""
        steps = self.indices.diff()
        within = self.group_of[1:] == self.group_of[:-1]
        return bool((steps[within] == 1).all())

    @cached_property
    def is_tree(self) -> bool:
        """Whether any two groups are either disjoint or nested."""
        # a tree: all items of a group agree on the next larger group that contains them
        rank = torch.empty(len(self), dtype=torch.int64)
        rank[torch.argsort(self.sizes, stable=True)] = torch.arange(len(self))
        level = rank[self.group_of]
        order = torch.argsort(self.indices * len(self) + level)
        item, level = self.indices[order], level[order]
        outer = torch.where(item[1:] == item[:-1], level[1:], len(self))
        outer = torch.cat([outer, outer.new_full((1,), len(self))])
        first = torch.full((len(self),), len(self)).scatter_reduce(0, level, outer, "amin")
        last = torch.zeros(len(self), dtype=torch.int64).scatter_reduce(0, level, outer, "amax")
        return bool((first == last).all())

    @cached_property
    def by_size(self) -> Groups:
        """The same groups, smallest first, so that in a tree children come before parents."""
        order = torch.argsort(self.sizes, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(self))
        return Groups(
            indptr=torch.cat([self.indptr[:1], self.sizes[order].cumsum(0)]),
            indices=self.indices[torch.argsort(place[self.group_of], stable=True)],
            weights=self.weights[order],
            n_items=self.n_items,
            names=tuple(self.names[g] for g in order.tolist()),
        )

    @property
    def uncovered(self) -> list[int]:
        """Items in no group; a group norm does not penalise their entries of the parameter."""
        return torch.nonzero(self.coverage == 0).flatten().tolist()

    @cached_property
    def unpenalised(self) -> list[int]:
        """Items in no group of positive weight; a group norm does not penalise their entries."""
        seen = self.indices[(self.weights > 0)[self.group_of]]
        return torch.nonzero(torch.bincount(seen, minlength=self.n_items) == 0).flatten().tolist()

    def covering(self) -> Groups:
        """Return the groups plus a singleton of weight 1 for each item in no group."""
        extra = self.uncovered
        if not extra:
            return self
        taken = set(self.names)
        names = [name if (name := f"item{i}") not in taken else f"item{i}'" for i in extra]
        return Groups.from_lists(
            [*(self.members(g) for g in range(len(self))), *([i] for i in extra)],
            self.n_items,
            [*self.names, *names],
            torch.cat([self.weights, torch.ones(len(extra), dtype=torch.float64)]),
        )

    def with_global(self, weight: float = 1.0, name: str = "all") -> Groups:
        """Return the groups plus one group of all items, which couples the others.

        Disjoint groups and a group of all items form a tree, for which the prox of the overlapping
        group norm is exact. If there is a group of all items already, returns the groups unchanged.

        Parameters
        ----------
        weight
            Weight of the group of all items, ``>= 0``.
        name
            Name of the group of all items.

        Raises
        ------
        ValueError
            If the weight is negative or not finite, the name is blank, or a smaller group has that
            name. The arguments are checked even if a group of all items exists.
        """
        top = Groups.from_lists([range(self.n_items)], self.n_items, [name], [weight])
        is_top = (self.sizes == self.n_items).tolist()
        others = [other for other, whole in zip(self.names, is_top, strict=True) if not whole]
        if top.names[0] in others:
            raise ValueError(f"groups: another group is named {name!r} already; give another name.")
        if any(is_top):
            return self
        return Groups.from_lists(
            [*(self.members(g) for g in range(len(self))), top.members(0)],
            self.n_items,
            [*self.names, *top.names],
            torch.cat([self.weights, top.weights]),
        )

    def restricted(self, items: Sequence[int]) -> Groups:
        """Return the groups restricted to some items, which are renumbered; drops empty groups.

        Parameters
        ----------
        items
            Items to keep, in their new order, each once.

        Raises
        ------
        ValueError
            If no group is left.
        """
        place = {item: i for i, item in enumerate(items)}
        lists = {
            g: [place[item] for item in self.members(g) if item in place] for g in range(len(self))
        }
        kept = [g for g, members in lists.items() if members]
        names = [self.names[g] for g in kept]
        return Groups.from_lists((lists[g] for g in kept), len(place), names, self.weights[kept])

    def to_dict(self, items: Sequence[str] | None = None) -> dict[str, Any]:
        """Return ``{"groups": {name: members}, "weights": {name: weight}}``, fit for JSON.

        Members are item names if ``items`` is given, else indices.
        """
        lists = {
            name: [items[i] if items is not None else i for i in self.members(g)]
            for g, name in enumerate(self.names)
        }
        weights = dict(zip(self.names, self.weights.tolist(), strict=True))
        return {"groups": lists, "weights": weights}

    def __repr__(self) -> str:
        kind = "disjoint" if self.is_disjoint else f"overlapping up to {self.max_overlap}"
        return f"Groups({len(self)} groups on {self.n_items} items, {kind})"


def _restored(
    indptr: np.ndarray, indices: np.ndarray, weights: np.ndarray, n_items: int, names: Any
) -> Groups:
    """Rebuild the groups from a pickle."""
    bounds, members, of_groups = (torch.tensor(part) for part in (indptr, indices, weights))
    return Groups(bounds, members, of_groups, n_items, names)
