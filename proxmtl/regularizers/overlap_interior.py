"""Interior-point method for the dual of the overlapping prox: one vector, any groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

__all__ = ["InteriorProx", "interior_prox"]

WIDEST_BAND = 64
"""Half width up to which the systems are factored; beyond, conjugate gradients are faster."""

_TO_THE_BOUNDARY = 0.995
_EPS = float(np.finfo(np.float64).eps)


class InteriorProx(NamedTuple):
    """Prox point, its dual vectors by membership, their gap, and the Newton steps made."""

    primal: Floats
    dual: Floats
    gap: float
    steps: int


def interior_prox(
    v: Floats,
    indptr: Indices,
    indices: Indices,
    radius: Floats,
    *,
    tolerance: float,
    max_steps: int = 60,
) -> InteriorProx:
    """``argmin_x 1/2 ||x - v||^2 + sum_g radius_g ||x_g||`` to an absolute duality gap.

    Primal-dual path following on ``min 1/2 ||v - A xi||^2`` over ``||xi^g|| <= radius_g``, where
    ``A`` adds up the memberships: with ``s_g = (radius_g^2 - ||xi^g||^2) / 2`` and multipliers
    ``lambda_g``, Newton's steps on ``lambda_g xi^g = x_g``, ``lambda_g s_g = tau`` with
    Mehrotra's predictor and corrector. ``xi`` stays feasible, so every step has a certificate. A
    step reduces to one linear system with a row a group, sparse like the overlaps of the groups:
    for windows along a line it is banded, and the cost of a step is linear in the memberships.

    Of the groups whose multiplier vanishes the point is set to zero wherever the gap allows it.

    Parameters
    ----------
    v : array (n,)
    indptr, indices : arrays
        Groups as CSR.
    radius : array (groups,)
        ``>= 0``; a group of radius 0 has no part in it.
    tolerance : float
        Gap to stop at, ``> 0``.
    max_steps : int

    Returns
    -------
    InteriorProx
        With the gap reached, which may be above the tolerance.

    References
    ----------
    Mehrotra, "On the implementation of a primal-dual interior point method", 1992; Boyd and
    Vandenberghe, "Convex Optimization", 2004, section 11.7.
    """
    owner = np.repeat(np.arange(len(radius)), np.diff(indptr))
    seen = (v[indices] != 0) & (radius[owner] > 0)
    dual = np.zeros(len(indices))
    if not seen.any():
        return InteriorProx(v.copy(), dual, 0.0, 0)
    used, group = _renumbered(owner[seen], len(radius))
    items, item = _renumbered(indices[seen], len(v))
    unit = float(np.linalg.norm(v[items]))
    path = _Path(v[items] / unit, group, item, radius[used] / unit)
    best, steps = path.run(tolerance / unit**2, max_steps)
    primal = v.copy()
    primal[items] = best.point * unit
    dual[seen] = best.dual * unit
    return InteriorProx(primal, dual, best.gap * unit**2, steps)


def _renumbered(labels: Indices, n: int) -> tuple[Indices, Indices]:
    """Labels of ``range(n)`` that occur, ascending, and each label's place among them."""
    occurs = np.zeros(n, dtype=bool)
    occurs[labels] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[labels]


class _Candidate(NamedTuple):
    point: Floats
    dual: Floats
    gap: float


@dataclass
class _Path:
    """The path for groups that all have a positive radius, over items that are all in one."""

    v: Floats
    group: Indices  # of each membership, ascending
    item: Indices  # of each membership
    radius: Floats

    def __post_init__(self) -> None:
        self.starts = np.searchsorted(self.group, np.arange(len(self.radius)))
        self.square = self.radius**2
        self.solver = _factoring(self.group, self.item, len(self.radius))

    def over_groups(self, values: Floats) -> Floats:
        """Sum of values by membership over each group."""
        total: Floats = np.add.reduceat(values, self.starts)
        return total

    def over_items(self, values: Floats) -> Floats:
        """``A`` times values by membership."""
        return np.bincount(self.item, weights=values, minlength=len(self.v))

    def norms(self, point: Floats) -> Floats:
        """Norm of each group of a point."""
        norms: Floats = np.sqrt(self.over_groups(point[self.item] ** 2))
        return norms

    def run(self, tolerance: float, max_steps: int) -> tuple[_Candidate, int]:
        """Follow the path; the best candidate met and the number of steps."""
        xi = np.zeros(len(self.item))
        multiplier = np.maximum(self.norms(self.v) / self.radius, 1e-8)
        best = _Candidate(self.v, xi, float("inf"))
        behind = 0
        for step in range(max_steps + 1):
            x = self.v - self.over_items(xi)
            slack = np.maximum((self.square - self.over_groups(xi**2)) / 2, self.square * _EPS / 8)
            found = self._best_candidate(x, xi, multiplier, slack, tolerance)
            behind = 0 if found.gap < 0.9 * best.gap else behind + 1
            best = min(best, found, key=lambda candidate: candidate.gap)
            if best.gap <= tolerance or behind > 4 or step == max_steps:
                break
            try:
                move, change = self._newton(x, xi, multiplier, slack)
            except np.linalg.LinAlgError:  # the precision is used up
                break
            xi, multiplier = xi + move, multiplier + change
        return best, step

    def _best_candidate(
        self, x: Floats, xi: Floats, multiplier: Floats, slack: Floats, tolerance: float
    ) -> _Candidate:
        """The point of the dual, or the one with exact zeros if its gap is small enough too."""
        inner = self.over_groups(x[self.item] * xi)
        plain = float((self.radius * self.norms(x) - inner).sum())
        # complementarity tells the groups that vanish; the more clearly the later
        for margin in (1.0, 1e-2, 1e-4) if plain <= tolerance else (1.0,):
            zero = multiplier * self.square < margin * slack
            rounded = x.copy()
            rounded[self.item[zero[self.group]]] = 0.0
            inner = self.over_groups(rounded[self.item] * xi)
            misfit = float(((rounded - x) ** 2).sum()) / 2
            gap = misfit + float((self.radius * self.norms(rounded) - inner).sum())
            if gap <= max(tolerance, plain):
                return _Candidate(rounded, xi, max(gap, 0.0))
        return _Candidate(x, xi, max(plain, 0.0))

    def _newton(
        self, x: Floats, xi: Floats, multiplier: Floats, slack: Floats
    ) -> tuple[Floats, Floats]:
        """Damped predictor-corrector step in ``xi`` and the multipliers."""
        weight = 1 + self.over_items((1 / multiplier)[self.group])
        reach = slack + self.over_groups(xi**2)
        solve = self.solver(multiplier * reach, xi, weight[self.item])

        def block_inverse(b: Floats) -> Floats:
            along = self.over_groups(xi * b) / reach
            return np.asarray((b - xi * along[self.group]) / multiplier[self.group])

        def direction(tau: Floats) -> tuple[Floats, Floats]:
            b = x[self.item] - (tau / slack)[self.group] * xi
            y = self.over_items(block_inverse(b)) / weight
            along = solve(self.over_groups(xi * y[self.item]))
            w = y + self.over_items(along[self.group] * xi) / weight
            move = block_inverse(b - w[self.item])
            bend = multiplier * self.over_groups(xi * move)
            return move, (tau - multiplier * slack + bend) / slack

        def lengths(move: Floats, change: Floats) -> tuple[float, float]:
            quadratic = self.over_groups(move**2)
            linear = self.over_groups(xi * move)
            root = linear + np.sqrt(linear**2 + 2 * quadratic * slack)
            room = np.where(root > 0, 2 * slack / np.where(root > 0, root, 1.0), np.inf)
            falling = change < 0
            left = np.where(falling, -multiplier / np.where(falling, change, 1.0), np.inf)
            return (
                min(1.0, _TO_THE_BOUNDARY * float(room.min())),
                min(1.0, _TO_THE_BOUNDARY * float(left.min())),
            )

        mean = float(multiplier @ slack) / len(multiplier)
        move, change = direction(np.zeros_like(slack))
        primal, dual = lengths(move, change)
        ahead = (self.square - self.over_groups((xi + primal * move) ** 2)) / 2
        reached = float((multiplier + dual * change) @ ahead) / len(multiplier)
        centring = max(reached / mean, 0.0) ** 3
        curved = change * -self.over_groups(xi * move)
        curved -= multiplier * self.over_groups(move**2) / 2
        move, change = direction(max(centring, 1e-4) * mean - curved)
        primal, dual = lengths(move, change)
        return primal * move, dual * change


Solve = Callable[["Floats"], "Floats"]


def _factoring(
    group: Indices, item: Indices, n_groups: int
) -> Callable[[Floats, Floats, Floats], Solve]:
    """Factor ``diag(d) - Xi' diag(1/weight) Xi``, a matrix with one row a group.

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
    starts = np.searchsorted(group, np.arange(n_groups))
    graph = sparse.csr_matrix((np.ones(len(edges)), (rows, columns)), (n_groups, n_groups))
    order = np.asarray(reverse_cuthill_mckee(graph + graph.T, symmetric_mode=True))
    place = np.empty(n_groups, dtype=np.int64)
    place[order] = np.arange(n_groups)
    low, high = np.sort([place[rows], place[columns]], axis=0)
    width = int((high - low).max(initial=0))

    def entries(d: Floats, xi: Floats, weight: Floats) -> tuple[Floats, Floats]:
        scaled = xi / weight
        diagonal = d - np.add.reduceat(scaled * xi, starts)
        shared = -np.bincount(slot, weights=scaled[left] * xi[right], minlength=len(edges))
        return diagonal, shared

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
        diagonal, shared = entries(d, xi, weight)
        if not (diagonal > 0).all():
            raise np.linalg.LinAlgError
        half = sparse.csr_matrix((shared, (rows, columns)), (n_groups, n_groups))
        matrix: Any = half + half.T + sparse.diags(diagonal)
        jacobi: Any = sparse.diags(1 / diagonal)
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
