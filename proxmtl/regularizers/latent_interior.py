"""Interior-point method for latent group norms: projection and norm by one path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proxmtl.regularizers.memberships import Memberships, renumbered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

__all__ = ["Decomposition", "decompose"]

_TO_THE_BOUNDARY = 0.995
_EPS = float(np.finfo(np.float64).eps)


class Decomposition(NamedTuple):
    """Parts ``v^g = multiplier_g u_g`` by membership, the dual point ``u``, and the gap."""

    parts: Floats
    dual: Floats
    gap: float
    steps: int


def decompose(
    v: Floats,
    group: Indices,
    item: Indices,
    radius: Floats,
    *,
    curvature: float,
    tolerance: float,
    max_steps: int = 60,
) -> Decomposition:
    """Maximise ``<u, v> - curvature/2 ||u||^2`` over ``||u_g|| <= radius_g``, all groups at once.

    With curvature 1 ``u`` is the projection of ``v`` on the dual ball of the latent norm, and
    what it leaves, ``v - u = sum_g v^g`` with ``v^g = multiplier_g u_g``, the prox and its
    decomposition. With curvature 0 the supremum is the norm of ``v`` and the parts sum to ``v``.

    Primal-dual path following: ``(curvature + sum_{g holds i} multiplier_g) u_i = v_i`` and
    ``multiplier_g (radius_g^2 - ||u_g||^2) / 2 = tau``, with Mehrotra's predictor and corrector.
    There is one unknown a group beside ``u``; a step solves one system with a row a group.

    Parameters
    ----------
    v : array (n,)
    group, item : arrays
        Memberships, groups ascending; each item with ``v != 0`` in at least one group.
    radius : array (groups,)
        ``> 0``.
    curvature : float
        1 or 0.
    tolerance : float
        Absolute gap to stop at, ``> 0``.
    max_steps : int

    References
    ----------
    Jacob, Obozinski, Vert, "Group lasso with overlap and graph lasso", ICML 2009; Mehrotra, "On
    the implementation of a primal-dual interior point method", 1992.
    """
    seen = v[item] != 0
    parts, dual = np.zeros(len(item)), np.zeros(len(v))
    if not seen.any():
        return Decomposition(parts, dual, 0.0, 0)
    used, groups = renumbered(group[seen], len(radius))
    items, places = renumbered(item[seen], len(v))
    held = Memberships(groups, places, len(used), len(items))
    path = _Path(v[items], held, radius[used], curvature)
    best, steps = path.run(tolerance, max_steps)
    if best.gap > tolerance:  # it left the path and hung at the boundary: hold on to it closely
        careful, more = path.run(tolerance, 4 * max_steps, centring=0.3)
        best, steps = min(best, careful, key=lambda candidate: candidate.gap), steps + more
    parts[seen] = best.multiplier[groups] * best.point[places]
    dual[items] = best.dual
    return Decomposition(parts, dual, best.gap, steps)


class _Candidate(NamedTuple):
    multiplier: Floats
    point: Floats  # the parts are multiplier times this
    dual: Floats  # feasible
    gap: float


@dataclass
class _Path:
    v: Floats
    held: Memberships
    radius: Floats
    curvature: float

    def __post_init__(self) -> None:
        self.square = self.radius**2

    def run(
        self, tolerance: float, max_steps: int, *, centring: float | None = None
    ) -> tuple[_Candidate, int]:
        """Follow the path; the best candidate met and the number of steps.

        With ``centring`` given each step aims at that fraction of the present complementarity,
        without a corrector: slower, but always near the path.
        """
        held = self.held
        u = np.zeros_like(self.v)
        multiplier = np.maximum(held.norms(self.v) / self.radius, 1e-8)
        best, behind = _Candidate(multiplier, u, u, float("inf")), 0
        for step in range(max_steps + 1):
            slack = np.maximum((self.square - held.norms(u) ** 2) / 2, self.square * _EPS / 8)
            found = self._best_candidate(u, multiplier, slack, tolerance)
            behind = 0 if found.gap < 0.9 * best.gap else behind + 1
            best = min(best, found, key=lambda candidate: candidate.gap)
            if (
                best.gap <= tolerance
                or behind > (4 if centring is None else 20)
                or step == max_steps
            ):
                break
            try:
                move, change = self._newton(u, multiplier, slack, centring)
            except np.linalg.LinAlgError:  # the precision is used up
                break
            u, multiplier = u + move, multiplier + change
        return best, step

    def _best_candidate(
        self, u: Floats, multiplier: Floats, slack: Floats, tolerance: float
    ) -> _Candidate:
        """The multipliers as they are, or with exact zeros if their gap is small enough too."""
        plain = self._candidate(u, multiplier)
        for margin in (1.0, 1e-2, 1e-4) if plain.gap <= tolerance else (1.0,):
            small = multiplier * self.square < margin * slack
            rounded = self._candidate(u, np.where(small, 0.0, multiplier))
            if rounded.gap <= max(tolerance, plain.gap):
                return rounded
        return plain

    def _candidate(self, u: Floats, multiplier: Floats) -> _Candidate:
        """Certificate of parts made with these multipliers, ``u`` being feasible."""
        held = self.held
        weight = held.over_items(multiplier[held.group])
        point = u
        if self.curvature == 0:  # the parts must sum to v
            if not bool((weight > 0).all()):
                return _Candidate(multiplier, u, u, float("inf"))
            point = self.v / weight
        norms = held.norms(point)
        inner = held.over_groups((point * u)[held.item])
        gap = float((multiplier * (self.radius * norms - inner)).sum())
        misfit = self.v - (weight * point + self.curvature * u)
        return _Candidate(multiplier, point, u, max(gap + float(misfit @ misfit) / 2, 0.0))

    def _newton(
        self, u: Floats, multiplier: Floats, slack: Floats, aim: float | None
    ) -> tuple[Floats, Floats]:
        """Damped predictor-corrector step in ``u`` and the multipliers."""
        held = self.held
        weight = self.curvature + held.over_items(multiplier[held.group])
        error = weight * u - self.v
        mine = u[held.item]
        solve = held.factor(slack / multiplier, mine, -weight[held.item])

        def direction(tau: Floats) -> tuple[Floats, Floats]:
            rhs = tau / multiplier - slack - held.over_groups(mine * (error / weight)[held.item])
            change = solve(rhs)
            return -(error + held.over_items(change[held.group] * mine)) / weight, change

        def lengths(move: Floats, change: Floats) -> tuple[float, float]:
            along = move[held.item]
            quadratic, linear = held.over_groups(along**2), held.over_groups(mine * along)
            root = linear + np.sqrt(linear**2 + 2 * quadratic * slack)
            room = np.where(root > 0, 2 * slack / np.where(root > 0, root, 1.0), np.inf)
            falling = change < 0
            left = np.where(falling, -multiplier / np.where(falling, change, 1.0), np.inf)
            return (
                min(1.0, _TO_THE_BOUNDARY * float(room.min())),
                min(1.0, _TO_THE_BOUNDARY * float(left.min())),
            )

        mean = float(multiplier @ slack) / len(multiplier)
        if aim is not None:
            move, change = direction(np.full_like(slack, aim * mean))
            length = min(lengths(move, change))
            return length * move, length * change
        move, change = direction(np.zeros_like(slack))
        length = min(lengths(move, change))
        ahead = (self.square - held.norms(u + length * move) ** 2) / 2
        reached = float((multiplier + length * change) @ ahead) / len(multiplier)
        centring = max(reached / mean, 0.0) ** 3
        along = move[held.item]
        curved = change * -held.over_groups(mine * along)
        curved -= multiplier * held.over_groups(along**2) / 2
        move, change = direction(max(centring, 1e-4) * mean - curved)
        length = min(lengths(move, change))  # stationarity couples u and the multipliers
        return length * move, length * change
