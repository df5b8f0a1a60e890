"""Sparse features, column by column, for methods that move one weight at a time."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from proxmtl.designs.base import Design
from proxmtl.designs.shared import SharedDesign
from proxmtl.designs.shifted import ShiftedDesign
from proxmtl.kernels import Csc

__all__ = ["SparseColumns", "sparse_columns"]


class SparseColumns(NamedTuple):
    """Columns of sparse features that all tasks share, and the origin (D,) that is subtracted."""

    features: Csc
    origin: Tensor | None

    @property
    def entries(self) -> int:
        """Number of stored entries."""
        return self.features.values.numel()


def sparse_columns(design: Design) -> SparseColumns | None:
    """Columns of a design on shared sparse features; None for any other.

    They are the transpose that the design holds, not a copy.
    """
    base, origin = design, None
    if isinstance(design, ShiftedDesign):
        base, origin = design.base, design.origin
    if not isinstance(base, SharedDesign) or base.transpose is None:
        return None
    rows = base.transpose
    return SparseColumns(Csc(rows.crow_indices(), rows.col_indices(), rows.values()), origin)
