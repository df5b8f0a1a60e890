"""Losses on scores: one loss a file."""

from proxmtl.losses.base import LOSSES, Loss
from proxmtl.losses.intercept import best_intercept
from proxmtl.losses.squared_hinge import SquaredHinge

__all__ = ["LOSSES", "Loss", "SquaredHinge", "best_intercept"]
