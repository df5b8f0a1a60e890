"""What the loops over neighbouring groups read besides the tensor, worked out once per set."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from .lanes import BLOCK, BLOCK_GROUPS, ROW, WIDEST, lanes, masks
from .spread import VECTOR, codes

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from proxmtl.kernels.layout import GroupLayout

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
    """Groups that tile a fibre, or several fibres, without the empty ones.

    Attributes
    ----------
    bounds, bits, longer : array
        As in `Tables`.
    most : int
        Groups of a block, a multiple of `ROW`.
    tag : tuple
        As many entries as lanes for the sums: most groups should fit into them.
    kept : array of int64, or None
        The groups of a fibre that aren't empty, where some are.
    times : int
        Number of fibres.
    known_cuts : dict
        What `cuts` has answered: each search waits for memory some twenty times.
    """

    bounds: NDArray[Any]
    bits: NDArray[np.uint8]
    longer: NDArray[Any]
    most: int
    tag: tuple[int, ...]
    kept: NDArray[np.int64] | None
    times: int
    known_cuts: dict[tuple[int, int], list[tuple[int, int]]]

    def tables(self, itemsize: int) -> Tables:
        """For entries of so many bytes."""
        return Tables(self.bounds, self.bits, self.longer, MASKS, CODES[itemsize])

    def weights(self, weights: tuple[NDArray[np.float64], int]) -> NDArray[np.float64]:
        """Weights of these groups, from those of a fibre's and the step between them."""
        each, stride = weights
        if not stride:
            return each
        each = each if self.kept is None else each[self.kept]
        return np.tile(each, self.times) if self.times > 1 else each

    def cuts(self, entries: int, n_pieces: int) -> list[tuple[int, int]]:
        """Cut the groups of all fibres, in memory order, into pieces of about equal length."""
        if (entries, n_pieces) not in self.known_cuts:
            if len(self.known_cuts) >= _MOST_CUTS:
                self.known_cuts.clear()
            self.known_cuts[entries, n_pieces] = self._cuts(entries, n_pieces)
        return self.known_cuts[entries, n_pieces]

    def _cuts(self, entries: int, n_pieces: int) -> list[tuple[int, int]]:
        length, n_groups = int(self.bounds[-1]), self.bounds.shape[0] - 1
        edges = []
        for k in range(n_pieces + 1):
            table, entry = divmod(entries * k // n_pieces, length)
            # in the dtype of the bounds: for another one they would be copied
            place = np.searchsorted(self.bounds, self.bounds.dtype.type(entry))
            edges.append(table * n_groups + int(place))
        return [(a, b) for a, b in itertools.pairwise(edges) if a < b]


# Answers that a set of tables keeps.
_MOST_CUTS = 64

_known: WeakKeyDictionary[GroupLayout, dict[int, Tiles]] = WeakKeyDictionary()


def tiles(layout: GroupLayout, outer: int) -> Tiles:
    """Tables of a layout that tiles each of ``outer`` fibres, at least one entry long."""
    times = min(outer, -(-_BLOCKS * BLOCK // layout.n_members))
    known = _known.setdefault(layout, {})
    if times not in known:
        known[times] = _made(layout, times)
    return known[times]


def _tag(sizes: NDArray[Any]) -> tuple[int, ...]:
    """As many lanes as take the least time for groups of these sizes."""

    def cycles(width: int) -> float:
        rounds = -(-sizes // width)
        return _CYCLES_EIGHT_LANES * width / ROW + _CYCLES_ROUND * float(rounds.mean())

    return lanes(min(_WIDTHS, key=cycles))


def _made(layout: GroupLayout, times: int) -> Tiles:
    indptr, n = layout.arrays[0], layout.n_members
    kept = np.flatnonzero(np.diff(indptr))
    starts = (np.arange(times)[:, None] * n + indptr[kept]).reshape(-1)
    length = times * n
    marks = np.zeros(length + _FURTHER_BITS, np.uint8)
    marks[np.append(starts[1:], length) - 1] = 1
    marks[length:] = np.resize(marks[:length], _FURTHER_BITS)
    narrow = np.int32 if length + BLOCK < np.iinfo(np.int32).max else np.int64
    bounds = np.append(starts, length).astype(narrow)
    tag = _tag(np.diff(bounds))
    return Tiles(
        bounds=bounds,
        bits=np.packbits(marks, bitorder="little"),
        longer=np.append(np.flatnonzero(np.diff(bounds) > len(tag)), starts.size).astype(narrow),
        most=min(BLOCK_GROUPS, max(ROW, _TYPICAL * kept.size // n // ROW * ROW)),
        tag=tag,
        kept=None if kept.size == layout.n_groups else kept,
        times=times,
        known_cuts={},
    )
