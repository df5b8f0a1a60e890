"""Cost of a solve in products with the features: a counter with a hard limit.

A pass over the data is one product with the features X and one with their transpose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from proxmtl.designs import Design

__all__ = ["OracleCounts", "OutOfPassesError"]

ROUNDING = 1e-9
"""Rounding error of a sum of passes: a limit may be exceeded by so much."""


class OutOfPassesError(Exception):
    """Raised in place of a product that would exceed the limit; the loop of the solvers catches it.

    ``reached`` is the point that the interrupted iteration had reached, or None. The run may return
    it, but cannot be resumed from it.
    """

    def __init__(self, message: str, reached: Any = None) -> None:
        super().__init__(message)
        self.reached = reached


@dataclass
class OracleCounts:
    """Counts of products with the features (``forward``) and with their transpose (``adjoint``).

    A product with a part of the features counts as the fraction that it reads. Starts, Lipschitz
    estimates, line searches and rejected steps are counted; certificates are counted apart, in
    ``certificates``, since they only measure points.
    """

    forward: float = 0
    adjoint: float = 0
    limit: float = math.inf
    certificates: float = 0
    """Reads of the features by certificates, which ``passes`` does not include."""

    @property
    def passes(self) -> float:
        """Passes made, ``(forward + adjoint) / 2``: a gradient is one pass."""
        return (self.forward + self.adjoint) / 2

    @property
    def left(self) -> float:
        """Passes that remain within the limit."""
        return max(self.limit - self.passes, 0.0)

    def charge(self, *, forward: float = 0.0, adjoint: float = 0.0) -> None:
        """Count products that are about to be made.

        Raises
        ------
        OutOfPassesError
            If they would exceed the limit; nothing is counted then.
        """
        if self.passes + (forward + adjoint) / 2 > self.limit + ROUNDING:
            raise OutOfPassesError(f"{self.limit:g} passes")
        self.forward += forward
        self.adjoint += adjoint

    @contextmanager
    def limited(self, most: float) -> Iterator[None]:
        """Limit the block to ``most`` more passes; a tighter limit stays in force."""
        before = self.limit
        self.limit = min(before, self.passes + most)
        try:
            yield
        finally:
            self.limit = before

    @contextmanager
    def curvature_of(self, design: Design) -> Iterator[None]:
        """Count the passes of a design's Lipschitz estimate; it may use half of those left."""
        before = design.curvature_passes
        design.curvature_left = self.left / 2
        try:
            yield
        finally:
            design.curvature_left = math.inf
            self.forward += design.curvature_passes - before
            self.adjoint += design.curvature_passes - before
