"""Losses by name: the one table of what estimators, problems and commands accept as text."""

from __future__ import annotations

from typing import Any

from proxmtl.losses.base import Loss
from proxmtl.losses.huber import Huber
from proxmtl.losses.logistic import Logistic
from proxmtl.losses.smoothed_hinge import SmoothedHinge
from proxmtl.losses.squared import Squared
from proxmtl.losses.squared_hinge import SquaredHinge
from proxmtl.naming import no_such

__all__ = ["LOSS_NAMES", "loss_of"]

LOSS_NAMES: dict[str, Loss] = {
    "squared_hinge": SquaredHinge(),
    "logistic": Logistic(),
    "squared": Squared(),
    "smoothed_hinge": SmoothedHinge(),
    "huber": Huber(),
}
"""Name -> loss of a label, with the default of its parameter if it has one."""


def loss_of(given: Any) -> Loss:
    """Return a loss as it is, or the one with this name.

    Raises
    ------
    ValueError
        If it is neither a loss nor the name of one.
    """
    if isinstance(given, Loss):
        return given
    if isinstance(given, str):
        if given not in LOSS_NAMES:
            raise ValueError(f"loss: {no_such(given, LOSS_NAMES)}")
        return LOSS_NAMES[given]
    names = ", ".join(map(repr, LOSS_NAMES))
    kind = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
    raise ValueError(
        f"loss: got {kind}; give an object such as SquaredHinge() or WestonWatkins(3), or a name: "
        f"{names}."
    )
