"""Interior-point method for the dual of the overlapping prox: one vector, any groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proxmtl.regularizers.interior_path import Candidate, InteriorPath
from proxmtl.regularizers.memberships import Memberships, renumbered

if TYPE_CHECKING:
    from proxmtl.regularizers.interior_path import Direction
    from proxmtl.regularizers.memberships import Floats, Indices

__all__ = ["InteriorProx", "interior_prox"]


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
    ``A`` adds up the memberships; see :class:`InteriorPath`, here with ``lambda_g xi^g = x_g``. A
    step reduces to one linear system with a row for each group, sparse like the overlaps of the
    groups: for windows along a line it is banded, and the cost of a step is linear in the
    memberships.

    The point is set to zero on groups whose multiplier vanishes, wherever the gap allows it.

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


@dataclass
class _Path(InteriorPath):
    """``y`` is ``xi``, by membership."""

    def start(self) -> Floats:
        return np.zeros(len(self.held.item))

    def on_members(self, y: Floats) -> Floats:
        return y

    def candidate(
        self, y: Floats, multiplier: Floats, slack: Floats, tolerance: float
    ) -> Candidate:
        """The point of the dual, or the one with exact zeros if its gap is small enough too."""
        held, x = self.held, self._point(y)
        plain = float((self.radius * held.norms(x) - held.over_groups(x[held.item] * y)).sum())
        # complementarity tells the groups that vanish; the more clearly the later
        for margin in (1.0, 1e-2, 1e-4) if plain <= tolerance else (1.0,):
            zero = multiplier * self.square < margin * slack
            rounded = x.copy()
            rounded[held.item[zero[held.group]]] = 0.0
            inner = held.over_groups(rounded[held.item] * y)
            misfit = float(((rounded - x) ** 2).sum()) / 2
            gap = misfit + float((self.radius * held.norms(rounded) - inner).sum())
            if gap <= max(tolerance, plain):
                return Candidate(rounded, y, max(gap, 0.0), multiplier)
        return Candidate(x, y, max(plain, 0.0), multiplier)

    def directions(self, y: Floats, multiplier: Floats, slack: Floats) -> Direction:
        held, x = self.held, self._point(y)
        weight = 1 + held.over_items((1 / multiplier)[held.group])
        reach = slack + held.over_groups(y**2)
        solve = held.factor(multiplier * reach, y, weight[held.item])

        def block_inverse(b: Floats) -> Floats:
            along = held.over_groups(y * b) / reach
            return np.asarray((b - y * along[held.group]) / multiplier[held.group])

        def direction(tau: Floats) -> tuple[Floats, Floats]:
            b = x[held.item] - (tau / slack)[held.group] * y
            w = held.over_items(block_inverse(b)) / weight
            along = solve(held.over_groups(y * w[held.item]))
            w = w + held.over_items(along[held.group] * y) / weight
            move = block_inverse(b - w[held.item])
            bend = multiplier * held.over_groups(y * move)
            return move, (tau - multiplier * slack + bend) / slack

        return direction

    def _point(self, y: Floats) -> Floats:
        return self.v - self.held.over_items(y)
