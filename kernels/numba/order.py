"""Groups that are pieces of a fibre, put in order, with further ones for what lies between them.

The loops over neighbouring groups then serve groups in any order, and items in no group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch

from proxmtl.kernels.layout import GroupLayout

from .tiles import NO_GROUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Longest piece of items in no group: short enough to be shared among threads.
_PIECE = 1024


class Ordered(NamedTuple):
    """Groups that tile a fibre, and which of the caller's they are.

    Attributes
    ----------
    layout : GroupLayout
        Tiles the fibre.
    origin : array of int64, or None
        The caller's number of each group, -1 for items in none; None where they are as given.
    """

    layout: GroupLayout
    origin: NDArray[np.int64] | None

    def weights(self, given: NDArray[np.float64], stride: int) -> tuple[NDArray[np.float64], int]:
        """Weights of these groups and the step between them, from the caller's."""
        if self.origin is None or not (stride or (self.origin < 0).any()):
            return given, stride
        each, kept = np.full(self.origin.size, NO_GROUP), self.origin >= 0
        each[kept] = given[self.origin[kept]] if stride else given
        return each, 1


_known: WeakKeyDictionary[GroupLayout, dict[int, Ordered | None]] = WeakKeyDictionary()


def ordered(layout: GroupLayout, n: int) -> Ordered | None:
    """Disjoint groups of ``range(n)`` in order; None where one isn't a piece of it."""
    if layout.tiles(n):
        return Ordered(layout, None)
    known = _known.setdefault(layout, {})
    if n not in known:
        known[n] = _ordered(layout, n)
    return known[n]


def _ordered(layout: GroupLayout, n: int) -> Ordered | None:
    indptr, members = layout.arrays
    origin = np.flatnonzero(np.diff(indptr))
    starts = np.minimum.reduceat(members, indptr[origin]) if origin.size else origin
    stops = np.maximum.reduceat(members, indptr[origin]) + 1 if origin.size else origin
    if not np.array_equal(stops - starts, np.diff(indptr)[origin]):
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
    bounds = torch.from_numpy(np.append(edges[order], n))
    return Ordered(GroupLayout(bounds, torch.arange(n)), numbers[order])
