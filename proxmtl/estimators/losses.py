"""The losses that classifiers of signs accept, by name."""

from __future__ import annotations

from proxmtl.losses import Huber, Logistic, Loss, SmoothedHinge, Squared, SquaredHinge

__all__ = ["LOSS_NAMES", "resolve_loss"]

LOSS_NAMES: dict[str, Loss] = {
    "squared_hinge": SquaredHinge(),
    "logistic": Logistic(),
    "squared": Squared(),
    "smoothed_hinge": SmoothedHinge(),
    "huber": Huber(),
}
"""Name -> loss of a label -1 or +1, with the default of its parameter if it has one."""


def resolve_loss(name: str) -> Loss:
    """Return the loss with a name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in LOSS_NAMES:
        raise ValueError(f"loss: got {name!r}; known are {', '.join(LOSS_NAMES)}.")
    return LOSS_NAMES[name]
