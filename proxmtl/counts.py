"""What a solve costs: products with the features, counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from proxmtl.designs import Design

__all__ = ["OracleCounts"]


@dataclass
class OracleCounts:
    """Products with the features, counted; certificates are not part of the count."""

    forward: float = 0
    adjoint: float = 0

    @property
    def passes(self) -> float:
        """A gradient is one pass: one product with X and one with its transpose."""
        return (self.forward + self.adjoint) / 2

    @contextmanager
    def curvature_of(self, design: Design) -> Iterator[None]:
        """Count the passes that a design makes to find its curvature."""
        before = design.curvature_passes
        yield
        self.forward += design.curvature_passes - before
        self.adjoint += design.curvature_passes - before
