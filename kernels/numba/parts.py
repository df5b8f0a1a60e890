"""Cut the groups of all fibres into pieces for threads, by the sizes of things alone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from .pool import cuts

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Fewest fibres side by side that are worth a piece of their own: shorter pieces of memory aren't
# fetched ahead.
_COLUMNS = 1024


def group_parts(bounds: NDArray[np.int64], outer: int, n_pieces: int) -> list[tuple[int, int]]:
    """Cut the (fibre, group) pairs, in memory order, into pieces with equally many entries."""
    n_groups, n = bounds.shape[0] - 1, int(bounds[-1])
    edges = [0]
    for k in range(1, n_pieces):
        fibre, item = divmod(outer * n * k // n_pieces, n)
        edge = fibre * n_groups + int(np.searchsorted(bounds, item, side="left"))
        edges.append(max(edges[-1], min(edge, outer * n_groups)))
    edges.append(outer * n_groups)
    return [(a, b) for a, b in itertools.pairwise(edges) if a < b]


def parts_across(
    bounds: NDArray[np.int64], outer: int, inner: int, n_pieces: int
) -> list[tuple[int, int, int, int]]:
    """Cut memory (outer, n, inner) into pieces: (block, group) pairs and fibres of each.

    By groups, and where there are few, by fibres too.
    """
    rows = group_parts(bounds, outer, n_pieces)
    columns = cuts(inner, max(1, min(n_pieces // len(rows), inner // _COLUMNS)))
    return [(*row, *column) for row, column in itertools.product(rows, columns)]
