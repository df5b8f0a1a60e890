"""What ``proxmtl train`` says of its epochs: a line each, one if it ends early, a summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxmtl.backbones.training.record import best_epoch
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxmtl.backbones.training import Epoch

__all__ = ["best", "epoch_line", "kept", "risen", "summary", "undone"]


def epoch_line(epoch: Epoch, epochs: int) -> str:
    """Figures of one epoch, for a log."""
    scores = f", accuracy {_percent(epoch.accuracy)}, mean AP {_percent(epoch.ap)}"
    return (
        f"epoch {epoch.epoch} of {epochs}: objective {epoch.objective:.4g}"
        f"{'' if np.isnan(epoch.accuracy) else scores}, {epoch.seconds:.1f} s"
    )


def kept(saved: int, *, forced: bool = False) -> str:
    """Say what is kept of a run, and how to go on.

    Parameters
    ----------
    saved
        The last epoch on the disk, or -1.
    forced
        Whether ``--force`` was given, which starts over each time.
    """
    if saved < 0:
        return "Nothing is kept of the first solve; the same command starts over."
    command = "the same command without --force" if forced else "the same command"
    return f"Epoch {saved} is kept; {command} goes on from there."


def summary(history: Sequence[Epoch], chosen: int, *, joint: bool) -> str:
    """From the frozen start to the end, and how good the last solve is.

    Parameters
    ----------
    history
        All epochs.
    chosen
        Epoch whose model is kept.
    joint
        Whether attributes share latent tasks; else each has an objective of its own.
    """
    first, last = history[0], history[chosen]

    def both(of: str) -> str:
        shown = [
            f"{value:.4g}" if of == "objective" else _percent(value)
            for value in (getattr(first, of), getattr(last, of))
        ]
        return shown[0] if last.epoch == 0 else " -> ".join(shown)

    during = "with frozen networks" if last.epoch == 0 else f"in {counted(last.epoch, 'epoch')}"
    scores = f", accuracy {both('accuracy')}, mean AP {both('ap')}"
    if np.isnan(last.accuracy):  # no held-out images
        scores = ""
    gap = "" if last.relative_gap is None else f", relative gap {last.relative_gap:.1e}"
    budget = " (its budget ran out: raise --max-passes)" if last.status == "BUDGET" else ""
    return (
        f"{'joint objective' if joint else 'objective'} {both('objective')}{scores} {during}; "
        f"{'last solve' if last.epoch else 'solve'} {last.status}{budget}, "
        f"residual {last.relative_kkt:.1e}{gap}"
    )


def undone(history: Sequence[Epoch], learning_rate: float) -> str | None:
    """Say how many epochs were undone, if any were."""
    count = sum(record.rejected is not None for record in history)
    if not count:
        return None
    return (
        f"{count} of {counted(history[-1].epoch, 'epoch')} {agree(count, 'was', 'were')} undone, "
        "because the objective had risen: the "
        f"rate {learning_rate:g} is too high for W; start with a lower --learning-rate, or raise "
        "the strengths."
    )


def best(history: Sequence[Epoch]) -> str | None:
    """Say whose epoch's model is kept, where the held-out images chose one before the last."""
    chosen = best_epoch(history)
    if chosen == history[-1].epoch:
        return None
    return (
        f"The model is that of epoch {chosen}, the best on the validation images: mean AP "
        f"{_percent(history[chosen].ap)}, and {_percent(history[-1].ap)} at the end."
    )


def risen(history: Sequence[Epoch]) -> str | None:
    """Say whose epoch's model is kept, where an epoch before had a lower objective."""
    through = [record for record in history if record.rejected is None]
    last, lowest = through[-1], min(through, key=lambda record: record.objective)
    if not last.objective > lowest.objective:
        return None
    return (
        f"The model is that of epoch {last.epoch}, with an objective of {last.objective:.6g}; that "
        f"of epoch {lowest.epoch} was lower, {lowest.objective:.6g}. Small rises are not undone."
    )


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1%}"
