"""Regularizers: one a file, value, prox and certificate of each."""

from proxmtl.regularizers.base import REGULARIZERS, Regularizer, UnsupportedError
from proxmtl.regularizers.frobenius import SquaredFrobenius
from proxmtl.regularizers.group_l2 import GroupL2
from proxmtl.regularizers.l1 import L1
from proxmtl.regularizers.overlapping import OverlappingGroupL2
from proxmtl.regularizers.smoothed import SmoothedGroupNorm

__all__ = [
    "L1",
    "REGULARIZERS",
    "GroupL2",
    "OverlappingGroupL2",
    "Regularizer",
    "SmoothedGroupNorm",
    "SquaredFrobenius",
    "UnsupportedError",
]
