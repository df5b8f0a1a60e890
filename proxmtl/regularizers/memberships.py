"""Sums over memberships and the linear systems of the interior points: one row per group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

__all__ = ["Memberships", "renumbered"]

WIDEST_BAND = 64
"""Half width up to which the systems are factored; beyond, conjugate gradients are faster."""

Solve = Callable[["Floats"], "Floats"]


@dataclass(eq=False)
class Memberships:
    """Items in groups, both numbered without holes; every group has a member.

    Parameters
    ----------
    group : array
        Group of each membership, ascending.
    item : array
        Item of each membership.
    n_groups, n_items : int
    """

    group: Indices
    item: Indices
    n_groups: int
    n_items: int

    def __post_init__(self) -> None:
        self.starts = np.searchsorted(self.group, np.arange(self.n_groups))
        self.factor = _factoring(self.group, self.item, self.n_groups)
        """``factor(d, xi, weight)`` solves with ``diag(d) - Xi' diag(1/weight) Xi``."""

    def over_groups(self, values: Floats) -> Floats:
        """Sum of values by membership over each group."""
        total: Floats = np.add.reduceat(values, self.starts)
        return total

    def over_items(self, values: Floats) -> Floats:
        """Sum of values by membership over each item."""
        total = np.bincount(self.item, weights=values, minlength=self.n_items)
        return np.asarray(total, dtype=np.float64)

    def norms(self, point: Floats) -> Floats:
        """Norm of each group of a point."""
        norms: Floats = np.sqrt(self.over_groups(point[self.item] ** 2))
        return norms


def renumbered(labels: Indices, n: int) -> tuple[Indices, Indices]:
    """Labels of ``range(n)`` that occur, ascending, and each label's place among them."""
    occurs = np.zeros(n, dtype=bool)
    occurs[labels] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[labels]


def _factoring(
    group: Indices, item: Indices, n_groups: int
) -> Callable[[Floats, Floats, Floats], Solve]:
    """Factor ``diag(d) - Xi' diag(1/weight) Xi``, a matrix with one row per group.

    Its off-diagonal entries are sums over the items that two groups share: the pattern is found
    here, once.
    """
    from scipy import sparse  # noqa: PLC0415 - only where an interior point is asked for
    from scipy.linalg import cho_solve_banded, cholesky_banded  # noqa: PLC0415
    from scipy.sparse.csgraph import reverse_cuthill_mckee  # noqa: PLC0415

    left, right = _pairs(item)
    keys = group[left] * np.int64(n_groups) + group[right]
    edges, slot = np.unique(keys, return_inverse=True)
    rows, columns = edges // n_groups, edges % n_groups
    bounds = np.searchsorted(group, np.arange(n_groups + 1))
    starts = bounds[:-1]
    graph = sparse.csr_matrix((np.ones(len(edges)), (rows, columns)), (n_groups, n_groups))
    order = np.asarray(reverse_cuthill_mckee(graph + graph.T, symmetric_mode=True))
    place = np.empty(n_groups, dtype=np.int64)
    place[order] = np.arange(n_groups)
    low, high = np.sort([place[rows], place[columns]], axis=0)
    width = int((high - low).max(initial=0))

    def entries(d: Floats, xi: Floats, weight: Floats) -> tuple[Floats, Floats]:
        scaled = xi / weight
        diagonal = d - np.add.reduceat(scaled * xi, starts)
        shared = np.bincount(slot, weights=scaled[left] * xi[right], minlength=len(edges))
        return diagonal, -np.asarray(shared, dtype=np.float64)

    def banded(d: Floats, xi: Floats, weight: Floats) -> Solve:
        diagonal, shared = entries(d, xi, weight)
        band = np.zeros((width + 1, n_groups))
        band[0] = diagonal[order]
        band[high - low, low] = shared
        factor = (cholesky_banded(band, lower=True, overwrite_ab=True, check_finite=False), True)

        def solve(rhs: Floats) -> Floats:
            out = np.empty_like(rhs)
            out[order] = cho_solve_banded(factor, rhs[order], check_finite=False)
            return out

        return solve

    def iterated(d: Floats, xi: Floats, weight: Floats) -> Solve:
        scaled = xi / weight
        diagonal = d - np.add.reduceat(scaled * xi, starts)
        if not (diagonal > 0).all():
            raise np.linalg.LinAlgError
        # by its factors: the matrix itself has an entry for every two groups that share an item
        shape = n_groups, int(item.max()) + 1
        left = sparse.csr_array((scaled, item, bounds), shape)
        right = sparse.csr_array((xi, item, bounds), shape).T
        matrix = sparse.linalg.LinearOperator(
            (n_groups, n_groups), lambda x: d * x - left @ (right @ x), dtype=np.float64
        )
        jacobi: Any = sparse.diags_array(1 / diagonal)
        cg = sparse.linalg.cg

        def solve(rhs: Floats) -> Floats:
            return np.asarray(cg(matrix, rhs, rtol=1e-10, maxiter=1000, M=jacobi)[0])

        return solve

    return banded if width <= WIDEST_BAND else iterated


def _pairs(item: Indices) -> tuple[Indices, Indices]:
    """Pairs of memberships of the same item."""
    by_item = np.argsort(item, kind="stable")
    held = item[by_item]
    left, right = [], []
    for apart in range(1, int(np.bincount(item).max())):
        same = held[apart:] == held[:-apart]
        left.append(by_item[:-apart][same])
        right.append(by_item[apart:][same])
    nothing = np.empty(0, dtype=np.int64)
    return np.concatenate([nothing, *left]), np.concatenate([nothing, *right])
