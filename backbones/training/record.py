"""The figures of a training run, epoch by epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Epoch", "as_csv"]


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
    status, passes, relative_kkt, relative_gap, live_latents
        Of the solve; None where the head has no such figure.
    seconds
        Wall clock of the epoch.
    """

    epoch: int
    objective: float
    sgd_loss: float
    accuracy: float
    ap: float
    learning_rate: float
    status: str
    passes: float
    relative_kkt: float
    relative_gap: float | None
    live_latents: int | None
    seconds: float

    @property
    def solve(self) -> dict[str, Any]:
        """Figures of the solve alone."""
        names = ("status", "passes", "relative_kkt", "relative_gap", "live_latents")
        return {name: getattr(self, name) for name in names}


def as_csv(history: list[Epoch]) -> str:
    """One line an epoch; blank where a head has no such figure."""
    lines = [",".join(asdict(history[0]))]
    for record in history:
        cells = (
            "" if v is None else f"{v:.8g}" if isinstance(v, float) else str(v)
            for v in asdict(record).values()
        )
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"
