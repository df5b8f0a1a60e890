"""Bases of the searches with a shared part: what they have in common, and that of a trace norm."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from proxmtl.estimators.base import Array
from proxmtl.estimators.cross_validated import OwnSearch
from proxmtl.estimators.refits import Refit
from proxmtl.estimators.scales import Scale
from proxmtl.estimators.scores import SharedPart, SharedScores, shared_part
from proxmtl.estimators.stages import Stage
from proxmtl.estimators.verdict import Candidate
from proxmtl.groups import Groups
from proxmtl.regularizers import SquaredFrobenius

__all__ = ["SharingSearch", "TraceSearch"]

SHARED = (0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08)
"""Candidate strengths of the shared part, relative to the critical one."""


AROUND = (10.0, math.sqrt(10), 1.0, math.sqrt(0.1))
"""Candidate ridges on features by relevance, over the best one on features as they were before."""
RELEVANCE = (1, 2)
"""Candidate powers of the relevance."""


class SharingSearch(OwnSearch):
    """Base of estimators whose attributes may share."""

    shares: ClassVar[tuple[float, ...]]
    """Candidate strengths of the shared part, in its unit."""

    groups: Any = None
    relevance: bool = True
    fallback: bool = True
    keep_single_task: bool = False

    sharing_: NDArray[np.bool_] = field(init=False)
    groups_: Groups = field(init=False)

    def _shared_stages(self) -> list[Stage]:
        return [*([self._by_relevance] if self.relevance else []), self._at_the_best]

    def _by_relevance(self, best: Candidate | None) -> list[list[Candidate]]:
        """Paths without a shared part, on features by their relevance in the best models so far."""
        assert best is not None
        scales = [Scale(best.scale.power, power, best.own) for power in RELEVANCE]
        return [[Candidate(math.inf, best.own * a, each) for a in AROUND] for each in scales]

    def _at_the_best(self, best: Candidate | None) -> list[list[Candidate]]:
        """Paths with a shared part, on features of the best scale.

        Own parts have a unit ridge, or else the best ridge without a shared part and ten times it:
        the more is shared, the less own parts have to model.
        """
        assert best is not None
        ridges = [1.0] if self.unit_own else [best.own, 10 * best.own]
        return [[Candidate(a, own, best.scale) for a in self.shares] for own in ridges]


class TraceSearch(SharedScores, SharingSearch):
    """Base of estimators that search over a shared part with a trace norm."""

    shares = SHARED

    def _has_shared_part(self, fitted: Refit) -> bool:
        return fitted.part is not None and fitted.part.rank > 0

    def _set_parts(self, coef: Array, fitted: Refit | None) -> None:
        if fitted is None or fitted.part is None:
            part = shared_part(SquaredFrobenius(1.0), torch.from_numpy(coef))
        else:
            whole = fitted.part
            part = whole._replace(
                coef=fitted.weights(whole.coef), directions=fitted.weights(whole.directions)
            )
        loadings = np.where(self.sharing_, part.loadings, 0.0)
        used = loadings.any(axis=1)
        self.n_shared_ = part.rank
        self._keep_shared(
            SharedPart(
                np.where(self.sharing_, part.coef, 0.0),
                part.directions[:, used],
                loadings[used],
                part.rank,
            )
        )
