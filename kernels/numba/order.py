"""Groups that are pieces of a fibre, put in order, with further ones for what lies between them.

The loops over neighbouring groups then serve groups in any order, and items in no group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .tiles import NO_GROUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.kernels.group_index import GroupIndex

# Longest piece of items in no group: short enough to be shared among threads.
_PIECE = 1024


class Ordered(NamedTuple):
    """Groups that tile a fibre, none of them empty, and which of the caller's they are.

    Attributes
    ----------
    bounds : array (P + 1,), int64
        Where each begins, and the last one ends; read-only, as those of an index, since a loop is
        compiled anew for arrays that aren't.
    origin : array of int64, or None
        The caller's number of each group, -1 for items in none; None where they are as given.
    """

    bounds: NDArray[np.int64]
    origin: NDArray[np.int64] | None

    @property
    def n_groups(self) -> int:
        """Number of groups P."""
        return len(self.bounds) - 1

    def weights(self, given: NDArray[np.float64], stride: int) -> tuple[NDArray[np.float64], int]:
        """Weights of these groups and the step between them, from the caller's."""
        if self.origin is None or not (stride or (self.origin < 0).any()):
            return given, stride
        each, kept = np.full(self.origin.size, NO_GROUP), self.origin >= 0
        each[kept] = given[self.origin[kept]] if stride else given
        return each, 1


def ordered(groups: GroupIndex, n: int) -> Ordered | None:
    """Disjoint groups of ``range(n)`` in order; None where one isn't a piece of it."""
    return groups.derived(_ordered, n)


def _ordered(groups: GroupIndex, n: int) -> Ordered | None:
    (indptr, members), sizes = groups.arrays, groups.sizes
    if groups.tiles(n) and np.count_nonzero(sizes) == sizes.size:
        return Ordered(indptr, None)
    origin = np.flatnonzero(sizes)
    if groups.tiles(n):
        return Ordered(_read_only(np.append(indptr[origin], n)), origin)
    starts = np.minimum.reduceat(members, indptr[origin]) if origin.size else origin
    stops = np.maximum.reduceat(members, indptr[origin]) + 1 if origin.size else origin
    if not np.array_equal(stops - starts, sizes[origin]):
        return None
    order = np.argsort(starts)
    # Before each group, and after the last: as many pieces as what is left over there needs.
    begin, end = np.append(0, stops[order]), np.append(starts[order], n)
    pieces = -(-(end - begin) // _PIECE)
    where = np.repeat(np.arange(pieces.size), pieces)
    turn = np.arange(where.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    edges = np.concatenate([starts[order], begin[where] + turn * _PIECE])
    numbers = np.concatenate([origin[order], np.full(where.size, -1)])
    order = np.argsort(edges)
    return Ordered(_read_only(np.append(edges[order], n)), numbers[order])


def _read_only(bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    bounds.flags.writeable = False
    return bounds
