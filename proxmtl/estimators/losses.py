"""The losses that estimators take: by name, since parameters of estimators are saved as text."""

from __future__ import annotations

from typing import Any

from proxmtl.losses import LOSS_NAMES, Loss, loss_of

__all__ = ["REAL_LOSSES", "check_real_loss", "resolve_loss"]

REAL_LOSSES = ("squared", "huber")
"""Names of the losses that take real labels."""


def check_real_loss(name: str) -> None:
    """Raise ``ValueError`` unless ``name`` is a loss of real labels."""
    if name not in REAL_LOSSES:
        known = " and ".join(map(repr, REAL_LOSSES))
        raise ValueError(f"loss: got {name!r}; known are {known}, the losses of real labels.")


def resolve_loss(name: Any) -> Loss:
    """Return the loss with this name.

    Raises
    ------
    ValueError
        If it is no name, or there is no such loss.
    """
    if not isinstance(name, str):
        names = ", ".join(map(repr, LOSS_NAMES))
        raise ValueError(f"loss: got {name!r}; an estimator takes the name of one: {names}.")
    return loss_of(name)
