"""Fused kernels: one operation, four backends that agree.

Every operation of `proxmtl.kernels.ops` exists in plain float64 loops (``naive``, the oracle),
in torch, in numba for CPUs and in Triton for GPUs. See `proxmtl.kernels.dispatch` for how the
backend of a call is chosen.
"""

from __future__ import annotations

from .dispatch import BackendError, backends, operations, supports, use_backend
from .group_index import GroupIndex
from .ops import (
    CoordinateStep,
    Csc,
    HingeResult,
    SmoothedGroup,
    block_descent,
    chain_prox,
    coordinate_descent,
    group_shrink,
    hinge_value_and_grad,
    overlap_dual_sweep,
    sampled_adjoint,
    sampled_product,
    smoothed_group_grad,
    soft_threshold,
)
from .sampled import SampledEntries

__all__ = [
    "BackendError",
    "CoordinateStep",
    "Csc",
    "GroupIndex",
    "HingeResult",
    "SampledEntries",
    "SmoothedGroup",
    "backends",
    "block_descent",
    "chain_prox",
    "coordinate_descent",
    "group_shrink",
    "hinge_value_and_grad",
    "operations",
    "overlap_dual_sweep",
    "sampled_adjoint",
    "sampled_product",
    "smoothed_group_grad",
    "soft_threshold",
    "supports",
    "use_backend",
]
