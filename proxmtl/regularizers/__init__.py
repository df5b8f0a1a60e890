"""Regularizers: value, prox and certificate of each, one file per regularizer."""

from proxmtl.regularizers.base import (
    COMBINATIONS,
    REGULARIZERS,
    Regularizer,
    RowNorms,
    UnsupportedError,
    combination,
)
from proxmtl.regularizers.calculus import Masked, Scaled, Shifted
from proxmtl.regularizers.composed import Composed
from proxmtl.regularizers.conjugate import Conjugate, moreau_envelope
from proxmtl.regularizers.constraints import Bounded, Box, NonNegative
from proxmtl.regularizers.elastic_net import ElasticNet
from proxmtl.regularizers.folded import MCP, SCAD, FoldedConcave
from proxmtl.regularizers.frobenius import SquaredFrobenius
from proxmtl.regularizers.graph_fused import GraphFused
from proxmtl.regularizers.group_l2 import GroupL2
from proxmtl.regularizers.l1 import L1
from proxmtl.regularizers.l21 import L21
from proxmtl.regularizers.latent_overlap import LatentOverlapGroupL2
from proxmtl.regularizers.max_norm import LInf
from proxmtl.regularizers.nuclear import Nuclear
from proxmtl.regularizers.overlapping import OverlappingGroupL2
from proxmtl.regularizers.separable import Separable
from proxmtl.regularizers.shared_plus_own import SharedPlusOwn
from proxmtl.regularizers.smoothed import Smoothed, SmoothedGroupNorm, SmoothedL1Image
from proxmtl.regularizers.sparse_group import SparseGroupL2
from proxmtl.regularizers.squared_group import SquaredGroupL2
from proxmtl.regularizers.squared_l1 import ExclusiveL1
from proxmtl.regularizers.sums import Sum, add
from proxmtl.regularizers.thresholded import Thresholded
from proxmtl.regularizers.total_variation import FusedLasso, TotalVariation
from proxmtl.regularizers.weighted_frobenius import WeightedFrobenius
from proxmtl.regularizers.weighted_l1 import WeightedL1

__all__ = [
    "COMBINATIONS",
    "L1",
    "L21",
    "MCP",
    "REGULARIZERS",
    "SCAD",
    "Bounded",
    "Box",
    "Composed",
    "Conjugate",
    "ElasticNet",
    "ExclusiveL1",
    "FoldedConcave",
    "FusedLasso",
    "GraphFused",
    "GroupL2",
    "LInf",
    "LatentOverlapGroupL2",
    "Masked",
    "NonNegative",
    "Nuclear",
    "OverlappingGroupL2",
    "Regularizer",
    "RowNorms",
    "Scaled",
    "Separable",
    "SharedPlusOwn",
    "Shifted",
    "Smoothed",
    "SmoothedGroupNorm",
    "SmoothedL1Image",
    "SparseGroupL2",
    "SquaredFrobenius",
    "SquaredGroupL2",
    "Sum",
    "Thresholded",
    "TotalVariation",
    "UnsupportedError",
    "WeightedFrobenius",
    "WeightedL1",
    "add",
    "combination",
    "moreau_envelope",
]
