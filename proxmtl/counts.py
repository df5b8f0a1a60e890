"""What a solve costs: products with the features, counted, and a limit that they never pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from proxmtl.designs import Design

__all__ = ["OracleCounts", "OutOfPassesError"]

ROUNDING = 1e-9
"""Passes by which a sum of shares may miss a limit."""


class OutOfPassesError(Exception):
    """Raised in place of a product that would lead beyond the limit; :func:`run` takes it.

    ``reached`` is a point that the iteration had come to, where it knows of one: it may be
    returned, but no run goes on from it.
    """

    def __init__(self, message: str, reached: Any = None) -> None:
        super().__init__(message)
        self.reached = reached


@dataclass
class OracleCounts:
    """Products with the features, counted; certificates have a count of their own.

    A certificate measures a point and moves none. Everything else is part of the passes: starts,
    curvatures, line searches and their refused steps.
    """

    forward: float = 0
    adjoint: float = 0
    limit: float = math.inf
    certificates: float = 0
    """Reads of the features by certificates, which are not part of the passes."""

    @property
    def passes(self) -> float:
        """A gradient is one pass: one product with X and one with its transpose."""
        return (self.forward + self.adjoint) / 2

    @property
    def left(self) -> float:
        """Passes that may still be made."""
        return max(self.limit - self.passes, 0.0)

    def charge(self, *, forward: float = 0.0, adjoint: float = 0.0) -> None:
        """Count products that are about to be made.

        Raises
        ------
        OutOfPassesError
            If they would lead beyond the limit; nothing is then counted.
        """
        if self.passes + (forward + adjoint) / 2 > self.limit + ROUNDING:
            raise OutOfPassesError(f"{self.limit:g} passes")
        self.forward += forward
        self.adjoint += adjoint

    @contextmanager
    def limited(self, most: float) -> Iterator[None]:
        """Allow so many more passes; a limit that is there already and is closer stays."""
        before = self.limit
        self.limit = min(before, self.passes + most)
        try:
            yield
        finally:
            self.limit = before

    @contextmanager
    def curvature_of(self, design: Design) -> Iterator[None]:
        """Count the passes that a design makes to find its curvature: half of what is left."""
        before = design.curvature_passes
        design.curvature_left = self.left / 2
        try:
            yield
        finally:
            design.curvature_left = math.inf
            self.forward += design.curvature_passes - before
            self.adjoint += design.curvature_passes - before
