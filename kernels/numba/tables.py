"""What the loops over neighbouring groups read besides the tensor, worked out once per set."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .jit import compiled
from .lanes import BLOCK, BLOCK_GROUPS, ROW, WIDEST, lanes, masks
from .order import Ordered, ordered
from .spread import VECTOR, codes

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from proxmtl.kernels.group_index import GroupIndex

# Blocks in the table of groups that a loop walks: several fibres where one is shorter.
_BLOCKS = 4
# What eight more lanes cost each group, and another round a group that has more members than lanes:
# most of it a wrong guess of the processor's.
_CYCLES_EIGHT_LANES, _CYCLES_ROUND = 2, 30
_WIDTHS = (8, 16, 24, 32, 48, WIDEST)
# Entries of a typical block.
_TYPICAL = 1280
# Bits beyond the table's end: a vector may begin in one fibre and end in the next.
_FURTHER_BITS = 192
_MOST_NARROW = np.iinfo(np.int32).max

MASKS = masks()
CODES = {size: codes(size) for size in (4, 8)}
VECTORS = {size: lanes(VECTOR // size) for size in (4, 8)}


class Tables(NamedTuple):
    """What a loop looks things up in; those of the first three belong to a set of groups.

    Attributes
    ----------
    bounds : array (G + 1,)
        Where each begins and the last one ends; int32 where that is enough.
    bits : array of uint8
        Bit i, lowest first, tells whether a group ends with entry i; the first entries follow
        again after the last.
    longer : array
        Groups with more members than lanes for the sums, in order, then G; dtype of the bounds.
    masks, codes : array
        As in `lanes.masks` and `spread.codes`.
    """

    bounds: NDArray[Any]
    bits: NDArray[np.uint8]
    longer: NDArray[Any]
    masks: NDArray[np.int64]
    codes: NDArray[np.uint8]


class Tiles(NamedTuple):
    """Groups that tile a fibre, or several fibres.

    Attributes
    ----------
    bounds, bits, longer : array
        As in `Tables`.
    most : int
        Groups of a block, a multiple of `ROW`.
    tag : tuple
        As many entries as lanes for the sums: most groups should fit into them.
    ordered : Ordered
        The groups of a fibre.
    times : int
        Number of fibres.
    """

    bounds: NDArray[Any]
    bits: NDArray[np.uint8]
    longer: NDArray[Any]
    most: int
    tag: tuple[int, ...]
    ordered: Ordered
    times: int

    def tables(self, itemsize: int) -> Tables:
        """For entries of so many bytes."""
        return Tables(self.bounds, self.bits, self.longer, MASKS, CODES[itemsize])

    def weights(self, given: NDArray[np.float64], stride: int) -> tuple[NDArray[np.float64], int]:
        """Weights of these groups and the step between them, from the caller's."""
        each, stride = self.ordered.weights(given, stride)
        if stride and self.times > 1:
            several = np.empty((self.times, each.size))
            several[:] = each
            each = several.reshape(-1)
        return each, stride

    def cuts(self, outer: int, n_pieces: int) -> list[tuple[int, int]]:
        """Cut the groups of ``outer`` fibres, in memory order, into pieces of about equal length.

        Pieces are given by their first group and the one after their last.
        """
        length, n_groups = int(self.bounds[-1]), self.bounds.shape[0] - 1
        entries, edges = length // self.times * outer, [0]
        for k in range(1, n_pieces):
            table, entry = divmod(entries * k // n_pieces, length)
            # in the dtype of the bounds: for another one they would be copied
            place = np.searchsorted(self.bounds, self.bounds.dtype.type(entry))
            edges.append(table * n_groups + int(place))
        edges.append(n_groups // self.times * outer)
        return [(a, b) for a, b in itertools.pairwise(edges) if a < b]


def tiles(groups: GroupIndex, n: int, outer: int) -> Tiles:
    """Tables of groups that are `ordered` pieces of each of ``outer`` fibres of n > 0 entries."""
    return groups.derived(_tiles, n, min(outer, -(-_BLOCKS * BLOCK // n)))


def _tiles(groups: GroupIndex, n: int, times: int) -> Tiles:
    pieces = ordered(groups, n)
    assert pieces is not None
    length, count = times * n, times * pieces.n_groups
    narrow = np.int32 if length + BLOCK < _MOST_NARROW else np.int64
    bounds, longer = np.empty(count + 1, narrow), np.empty(count + 1, narrow)
    bits = np.zeros(-(-(length + _FURTHER_BITS) // 8), np.uint8)
    width, n_longer = _fill(pieces.bounds, times, _FURTHER_BITS, bounds, bits, longer)
    return Tiles(
        bounds=bounds,
        bits=bits,
        longer=longer[:n_longer],
        most=min(BLOCK_GROUPS, max(ROW, _TYPICAL * pieces.n_groups // n // ROW * ROW)),
        tag=lanes(width),
        ordered=pieces,
        times=times,
    )


@compiled
def _fill(
    edges: NDArray[np.int64],
    times: int,
    further: int,
    bounds: NDArray[Any],
    bits: NDArray[np.uint8],
    longer: NDArray[Any],
) -> tuple[int, int]:
    """Fill the tables of so many fibres with groups that begin and end at ``edges``.

    Returns how many lanes take the least time, and the length of ``longer``.
    """
    n, n_groups = edges[-1], edges.shape[0] - 1
    least, best = np.inf, 0
    for width in _WIDTHS:
        rounds = 0
        for g in range(n_groups):
            rounds += (edges[g + 1] - edges[g] + width - 1) // width
        cycles = _CYCLES_EIGHT_LANES * width / ROW + _CYCLES_ROUND * (rounds / n_groups)
        if cycles < least:
            least, best = cycles, width
    found = 0
    for fibre in range(times):
        for g in range(n_groups):
            k = fibre * n_groups + g
            bounds[k] = fibre * n + edges[g]
            if edges[g + 1] - edges[g] > best:
                longer[found] = k
                found += 1
    bounds[times * n_groups] = times * n
    longer[found] = times * n_groups
    start = 0
    while start < times * n + further:
        for g in range(n_groups):
            last = start + edges[g + 1] - 1
            if last < times * n + further:
                bits[last >> 3] |= np.uint8(1 << (last & 7))
        start += n
    return best, found + 1
