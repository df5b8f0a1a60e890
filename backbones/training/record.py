"""The figures of a training run, epoch by epoch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Epoch", "as_csv", "best_epoch"]


@dataclass(frozen=True)
class Epoch:
    """Figures after an epoch; number 0 is the frozen start.

    Attributes
    ----------
    objective
        Joint objective at the solved head, on the features of the training images as they are.
    sgd_loss
        Mean of the batches' data terms while the networks moved, the head fixed; NaN at 0.
    accuracy, ap
        Means over the attributes, on the held-out images; NaN without any.
    learning_rate
        With which the networks moved.
    rejected
        Objective that the epoch had reached where it was undone, inf where the networks diverged;
        the other figures of the solve are then those of the epoch before. None: it was kept.
    status, passes, relative_kkt, relative_gap, live_latents
        Of the solve; None where the head has no such figure.
    data_loss
        Data term at the solved head, in the units of ``sgd_loss``: a sum over the attributes.
    coef_norm, coef_spectral_norm, coef_rank
        Frobenius norm, largest singular value and rank of W. What SGD can bear falls with the
        square of the second one, the curvature of the scores in the features.
    feature_scale
        Root mean square of the deviations of the features, in units of those at the frozen start.
    score_drift
        Largest change of an attribute's mean score since the last solve, by that of the mean
        features; NaN at 0.
    gradient_norm
        Mean over the steps of the norm of the networks' gradient; NaN at 0.
    seconds
        Wall clock of the epoch.
    """

    epoch: int = 0
    objective: float = math.nan
    sgd_loss: float = math.nan
    accuracy: float = math.nan
    ap: float = math.nan
    learning_rate: float = math.nan
    status: str = ""
    passes: float = 0.0
    relative_kkt: float = math.nan
    relative_gap: float | None = None
    live_latents: int | None = None
    data_loss: float = math.nan
    coef_norm: float = math.nan
    coef_spectral_norm: float = math.nan
    coef_rank: int = 0
    feature_scale: float = math.nan
    score_drift: float = math.nan
    gradient_norm: float = math.nan
    seconds: float = 0.0
    rejected: float | None = None

    @property
    def solve(self) -> dict[str, Any]:
        """Figures of the solve alone."""
        names = ("status", "passes", "relative_kkt", "relative_gap", "live_latents")
        return {name: getattr(self, name) for name in names}


def best_epoch(history: Sequence[Epoch]) -> int:
    """Number of the epoch with the highest average precision, the first of several; -1 of none."""
    # an epoch that was undone has the scores of the one before it, which is found first
    return max(range(len(history)), key=lambda epoch: history[epoch].ap, default=-1)


def as_csv(history: list[Epoch]) -> str:
    """One line per epoch; blank where a head has no such figure."""
    lines = [",".join(asdict(history[0]))]
    for record in history:
        cells = (
            "" if v is None else f"{v:.8g}" if isinstance(v, float) else str(v)
            for v in asdict(record).values()
        )
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"
