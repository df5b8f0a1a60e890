"""The primal-dual path that the interior points of overlapping and latent group norms follow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proxmtl.regularizers.memberships import Memberships

if TYPE_CHECKING:
    from proxmtl.regularizers.memberships import Floats

    Direction = Callable[[Floats], tuple[Floats, Floats]]

__all__ = ["Candidate", "InteriorPath"]

_TO_THE_BOUNDARY = 0.995
_EPS = float(np.finfo(np.float64).eps)


class Candidate(NamedTuple):
    """A point, its dual and their gap; the multipliers of the balls."""

    point: Floats
    dual: Floats
    gap: float
    multiplier: Floats


@dataclass
class InteriorPath(ABC):
    """Vectors ``y_g`` within balls, ``||y_g|| <= radius_g``, with a multiplier for each group.

    With slacks ``s_g = (radius_g^2 - ||y_g||^2) / 2`` the path is ``multiplier_g s_g = tau``, taken
    in damped Newton steps with Mehrotra's predictor and corrector. ``y`` stays feasible, so that
    every step has a certificate. A subclass gives the rest of the optimality conditions.

    Attributes
    ----------
    v : array
        The vector given, over items that are all in a group.
    held : Memberships
    radius : array (groups,)
        ``> 0``.

    References
    ----------
    Mehrotra, "On the implementation of a primal-dual interior point method", 1992; Boyd and
    Vandenberghe, "Convex Optimization", 2004, section 11.7.
    """

    v: Floats
    held: Memberships
    radius: Floats
    shared_length = False
    """Whether ``y`` and the multipliers take steps of one length."""

    def __post_init__(self) -> None:
        self.square = self.radius**2

    @abstractmethod
    def start(self) -> Floats:
        """``y = 0``."""

    @abstractmethod
    def on_members(self, y: Floats) -> Floats:
        """Entries of ``y``, or of a move, by membership."""

    def squares(self, y: Floats) -> Floats:
        """``||y_g||^2``."""
        return self.held.over_groups(self.on_members(y) ** 2)

    @abstractmethod
    def candidate(
        self, y: Floats, multiplier: Floats, slack: Floats, tolerance: float
    ) -> Candidate:
        """The certified point of the present ``y``, with exact zeros where the gap allows them."""

    @abstractmethod
    def directions(self, y: Floats, multiplier: Floats, slack: Floats) -> Direction:
        """Map from targets ``tau`` to Newton directions of ``y`` and the multipliers."""

    def run(
        self, tolerance: float, max_steps: int, *, centring: float | None = None
    ) -> tuple[Candidate, int]:
        """Follow the path; the best candidate met and the number of steps.

        With ``centring`` given each step aims at that fraction of the present complementarity,
        without a corrector: slower, but always near the path.
        """
        y = self.start()
        multiplier = np.maximum(self.held.norms(self.v) / self.radius, 1e-8)
        best, behind = Candidate(self.v, y, float("inf"), multiplier), 0
        for step in range(max_steps + 1):
            slack = np.maximum((self.square - self.squares(y)) / 2, self.square * _EPS / 8)
            found = self.candidate(y, multiplier, slack, tolerance)
            behind = 0 if found.gap < 0.9 * best.gap else behind + 1
            best = min(best, found, key=lambda candidate: candidate.gap)
            patience = 4 if centring is None else 20
            if best.gap <= tolerance or behind > patience or step == max_steps:
                break
            try:
                move, change = self._step(y, multiplier, slack, centring)
            except np.linalg.LinAlgError:  # the precision is used up
                break
            y, multiplier = y + move, multiplier + change
        return best, step

    def _step(
        self, y: Floats, multiplier: Floats, slack: Floats, aim: float | None
    ) -> tuple[Floats, Floats]:
        """Damped step in ``y`` and the multipliers."""
        direction = self.directions(y, multiplier, slack)
        mean = float(multiplier @ slack) / len(multiplier)
        if aim is not None:
            return self._damped(y, multiplier, slack, direction(np.full_like(slack, aim * mean)))
        move, change = direction(np.zeros_like(slack))
        taken, changed = self._damped(y, multiplier, slack, (move, change))
        ahead = (self.square - self.squares(y + taken)) / 2
        reached = float((multiplier + changed) @ ahead) / len(multiplier)
        centring = max(reached / mean, 0.0) ** 3
        along = self.on_members(move)
        curved = change * -self.held.over_groups(self.on_members(y) * along)
        curved -= multiplier * self.held.over_groups(along**2) / 2
        corrected = direction(max(centring, 1e-4) * mean - curved)
        return self._damped(y, multiplier, slack, corrected)

    def _damped(
        self, y: Floats, multiplier: Floats, slack: Floats, step: tuple[Floats, Floats]
    ) -> tuple[Floats, Floats]:
        """The step cut short before the balls' boundary and before a multiplier of zero."""
        move, change = step
        along = self.on_members(move)
        quadratic = self.held.over_groups(along**2)
        linear = self.held.over_groups(self.on_members(y) * along)
        root = linear + np.sqrt(linear**2 + 2 * quadratic * slack)
        room = np.where(root > 0, 2 * slack / np.where(root > 0, root, 1.0), np.inf)
        falling = change < 0
        left = np.where(falling, -multiplier / np.where(falling, change, 1.0), np.inf)
        primal, dual = (min(1.0, _TO_THE_BOUNDARY * float(each.min())) for each in (room, left))
        if self.shared_length:
            primal = dual = min(primal, dual)
        return primal * move, dual * change
