"""The losses that estimators accept, by name."""

from __future__ import annotations

from proxmtl.losses import LOSS_NAMES, Loss

__all__ = ["REAL_LOSSES", "check_real_loss", "resolve_loss"]

REAL_LOSSES = ("squared", "huber")
"""Names of the losses that take real labels."""


def check_real_loss(name: str) -> None:
    """Raise ``ValueError`` unless ``name`` is a loss of real labels."""
    if name not in REAL_LOSSES:
        known = " and ".join(map(repr, REAL_LOSSES))
        raise ValueError(f"loss: got {name!r}; known are {known}, the losses of real labels.")


def resolve_loss(name: str) -> Loss:
    """Return the loss with this name.

    Raises
    ------
    ValueError
        If there is no such loss.
    """
    if name not in LOSS_NAMES:
        raise ValueError(f"loss: got {name!r}; known are {', '.join(LOSS_NAMES)}.")
    return LOSS_NAMES[name]
