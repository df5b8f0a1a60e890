"""Which point a run returns: never one that is higher than its start, or than zero weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, finfo

from proxmtl.result import Certificate

__all__ = ["Candidate", "Point", "lowest"]

X = TypeVar("X")

ROUNDING = 64
"""Objectives that differ by fewer units in the last place count as equal."""


@dataclass(frozen=True)
class Point(Generic[X]):
    """A point that may be returned, its certificate, and what it is."""

    solution: X
    certificate: Certificate
    name: str
    last: ClassVar[str] = "the last iterate"
    null: ClassVar[str] = "W = 0"


@dataclass(frozen=True)
class Candidate(Generic[X]):
    """A point that claims an objective; it is measured only where that is lower."""

    claimed: float
    measure: Callable[[], tuple[X, Certificate]]
    name: str


def lowest(last: Point[X], candidates: list[Candidate[X]]) -> Point[X]:
    """Return the last iterate, or the lowest candidate that is lower by more than rounding.

    A claim, made in the working precision, only decides which points are measured. The gap of one
    that is lower is also bounded by the last one's: a dual point bounds the optimum itself.
    """
    found = last
    for candidate in sorted(candidates, key=lambda each: each.claimed):
        if not _below(candidate.claimed, found):
            continue
        solution, certificate = candidate.measure()
        if _below(certificate.objective, found):
            found = Point(solution, _with_bound(certificate, last.certificate), candidate.name)
    return found


def _below(objective: float, than: Point[Any]) -> bool:
    own = than.certificate.objective
    if not math.isfinite(own):
        return math.isfinite(objective)
    return objective < own - ROUNDING * _eps(than.solution) * abs(own)


def _eps(point: Any) -> float:
    parts = point if isinstance(point, tuple) else (point,)
    return max((finfo(p.dtype).eps for p in parts if isinstance(p, Tensor)), default=0.0)


def _with_bound(certificate: Certificate, other: Certificate) -> Certificate:
    if certificate.gap is None or other.gap is None or not math.isfinite(other.objective):
        return certificate
    bound = certificate.objective - (other.objective - other.gap)
    return replace(certificate, gap=min(certificate.gap, max(bound, 0.0)))
