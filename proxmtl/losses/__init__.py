"""Losses on scores: one loss a file."""

from proxmtl.losses.base import LOSSES, Loss
from proxmtl.losses.huber import Huber
from proxmtl.losses.intercept import best_intercept, without_weights
from proxmtl.losses.logistic import Logistic
from proxmtl.losses.names import LOSS_NAMES, loss_of
from proxmtl.losses.smoothed_hinge import SmoothedHinge
from proxmtl.losses.squared import Squared
from proxmtl.losses.squared_hinge import SquaredHinge
from proxmtl.losses.weston_watkins import WestonWatkins

__all__ = [
    "LOSSES",
    "LOSS_NAMES",
    "Huber",
    "Logistic",
    "Loss",
    "SmoothedHinge",
    "Squared",
    "SquaredHinge",
    "WestonWatkins",
    "best_intercept",
    "loss_of",
    "without_weights",
]
