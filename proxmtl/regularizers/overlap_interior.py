"""Interior-point method for the dual of the overlapping prox: one vector, any groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proxmtl.regularizers.memberships import Memberships, renumbered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

__all__ = ["InteriorProx", "interior_prox"]

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
    used, group = renumbered(owner[seen], len(radius))
    items, item = renumbered(indices[seen], len(v))
    unit = float(np.linalg.norm(v[items]))
    held = Memberships(group, item, len(used), len(items))
    path = _Path(v[items] / unit, held, radius[used] / unit)
    best, steps = path.run(tolerance / unit**2, max_steps)
    primal = v.copy()
    primal[items] = best.point * unit
    dual[seen] = best.dual * unit
    return InteriorProx(primal, dual, best.gap * unit**2, steps)


class _Candidate(NamedTuple):
    point: Floats
    dual: Floats
    gap: float


@dataclass
class _Path:
    """The path for groups that all have a positive radius, over items that are all in one."""

    v: Floats
    held: Memberships
    radius: Floats

    def __post_init__(self) -> None:
        self.square = self.radius**2

    def run(self, tolerance: float, max_steps: int) -> tuple[_Candidate, int]:
        """Follow the path; the best candidate met and the number of steps."""
        xi = np.zeros(len(self.held.item))
        multiplier = np.maximum(self.held.norms(self.v) / self.radius, 1e-8)
        best = _Candidate(self.v, xi, float("inf"))
        behind = 0
        for step in range(max_steps + 1):
            x = self.v - self.held.over_items(xi)
            left = self.square - self.held.over_groups(xi**2)
            slack = np.maximum(left / 2, self.square * _EPS / 8)
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
        inner = self.held.over_groups(x[self.held.item] * xi)
        plain = float((self.radius * self.held.norms(x) - inner).sum())
        # complementarity tells the groups that vanish; the more clearly the later
        for margin in (1.0, 1e-2, 1e-4) if plain <= tolerance else (1.0,):
            zero = multiplier * self.square < margin * slack
            rounded = x.copy()
            rounded[self.held.item[zero[self.held.group]]] = 0.0
            inner = self.held.over_groups(rounded[self.held.item] * xi)
            misfit = float(((rounded - x) ** 2).sum()) / 2
            gap = misfit + float((self.radius * self.held.norms(rounded) - inner).sum())
            if gap <= max(tolerance, plain):
                return _Candidate(rounded, xi, max(gap, 0.0))
        return _Candidate(x, xi, max(plain, 0.0))

    def _newton(
        self, x: Floats, xi: Floats, multiplier: Floats, slack: Floats
    ) -> tuple[Floats, Floats]:
        """Damped predictor-corrector step in ``xi`` and the multipliers."""
        weight = 1 + self.held.over_items((1 / multiplier)[self.held.group])
        reach = slack + self.held.over_groups(xi**2)
        solve = self.held.factor(multiplier * reach, xi, weight[self.held.item])

        def block_inverse(b: Floats) -> Floats:
            along = self.held.over_groups(xi * b) / reach
            return np.asarray((b - xi * along[self.held.group]) / multiplier[self.held.group])

        def direction(tau: Floats) -> tuple[Floats, Floats]:
            b = x[self.held.item] - (tau / slack)[self.held.group] * xi
            y = self.held.over_items(block_inverse(b)) / weight
            along = solve(self.held.over_groups(xi * y[self.held.item]))
            w = y + self.held.over_items(along[self.held.group] * xi) / weight
            move = block_inverse(b - w[self.held.item])
            bend = multiplier * self.held.over_groups(xi * move)
            return move, (tau - multiplier * slack + bend) / slack

        def lengths(move: Floats, change: Floats) -> tuple[float, float]:
            quadratic = self.held.over_groups(move**2)
            linear = self.held.over_groups(xi * move)
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
        ahead = (self.square - self.held.over_groups((xi + primal * move) ** 2)) / 2
        reached = float((multiplier + dual * change) @ ahead) / len(multiplier)
        centring = max(reached / mean, 0.0) ** 3
        curved = change * -self.held.over_groups(xi * move)
        curved -= multiplier * self.held.over_groups(move**2) / 2
        move, change = direction(max(centring, 1e-4) * mean - curved)
        primal, dual = lengths(move, change)
        return primal * move, dual * change
