"""Regularizers: one a file, value, prox and certificate of each."""

from proxmtl.regularizers.base import REGULARIZERS, Regularizer, UnsupportedError
from proxmtl.regularizers.composed import Composed
from proxmtl.regularizers.frobenius import SquaredFrobenius
from proxmtl.regularizers.group_l2 import GroupL2
from proxmtl.regularizers.l1 import L1
from proxmtl.regularizers.overlapping import OverlappingGroupL2
from proxmtl.regularizers.smoothed import SmoothedGroupNorm
from proxmtl.regularizers.sums import Sum, add

__all__ = [
    "L1",
    "REGULARIZERS",
    "Composed",
    "GroupL2",
    "OverlappingGroupL2",
    "Regularizer",
    "SmoothedGroupNorm",
    "SquaredFrobenius",
    "Sum",
    "UnsupportedError",
    "add",
]
