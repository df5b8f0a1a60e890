"""Interior-point method for latent group norms: projection and norm by one path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proxmtl.regularizers.interior_path import Candidate, InteriorPath
from proxmtl.regularizers.memberships import Memberships, renumbered

if TYPE_CHECKING:
    from proxmtl.regularizers.interior_path import Direction
    from proxmtl.regularizers.memberships import Floats, Indices

__all__ = ["Decomposition", "decompose"]


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

    Primal-dual path following: see :class:`InteriorPath`, here with
    ``(curvature + sum_{g holds i} multiplier_g) u_i = v_i``. Beside ``u`` there is one unknown for
    each group; a step solves one system with a row for each group.

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
    Jacob, Obozinski, Vert, "Group lasso with overlap and graph lasso", ICML 2009.
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


@dataclass
class _Path(InteriorPath):
    """``y`` is ``u``, by item; the parts are the multiplier times the candidate's point."""

    curvature: float
    shared_length = True  # stationarity couples u and the multipliers

    def start(self) -> Floats:
        return np.zeros_like(self.v)

    def on_members(self, y: Floats) -> Floats:
        along: Floats = y[self.held.item]
        return along

    def squares(self, y: Floats) -> Floats:
        return self.held.norms(y) ** 2

    def candidate(
        self, y: Floats, multiplier: Floats, slack: Floats, tolerance: float
    ) -> Candidate:
        """The multipliers as they are, or with exact zeros if their gap is small enough too."""
        plain = self._certified(y, multiplier)
        for margin in (1.0, 1e-2, 1e-4) if plain.gap <= tolerance else (1.0,):
            small = multiplier * self.square < margin * slack
            rounded = self._certified(y, np.where(small, 0.0, multiplier))
            if rounded.gap <= max(tolerance, plain.gap):
                return rounded
        return plain

    def _certified(self, u: Floats, multiplier: Floats) -> Candidate:
        """Certificate of parts made with these multipliers, ``u`` being feasible."""
        held = self.held
        weight = held.over_items(multiplier[held.group])
        point = u
        if self.curvature == 0:  # the parts must sum to v
            if not bool((weight > 0).all()):
                return Candidate(u, u, float("inf"), multiplier)
            point = self.v / weight
        norms = held.norms(point)
        inner = held.over_groups((point * u)[held.item])
        gap = float((multiplier * (self.radius * norms - inner)).sum())
        misfit = self.v - (weight * point + self.curvature * u)
        return Candidate(point, u, max(gap + float(misfit @ misfit) / 2, 0.0), multiplier)

    def directions(self, y: Floats, multiplier: Floats, slack: Floats) -> Direction:
        held = self.held
        weight = self.curvature + held.over_items(multiplier[held.group])
        error = weight * y - self.v
        mine = y[held.item]
        solve = held.factor(slack / multiplier, mine, -weight[held.item])

        def direction(tau: Floats) -> tuple[Floats, Floats]:
            rhs = tau / multiplier - slack - held.over_groups(mine * (error / weight)[held.item])
            change = solve(rhs)
            return -(error + held.over_items(change[held.group] * mine)) / weight, change

        return direction
