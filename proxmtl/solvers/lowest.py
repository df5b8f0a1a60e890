"""Choice of the point that a run returns, so that no candidate has a lower objective."""

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
"""Objectives that differ by at most this many units in the last place count as equal."""


@dataclass(frozen=True)
class Point(Generic[X]):
    """A point that may be returned, its certificate, and its description."""

    solution: X
    certificate: Certificate
    name: str
    last: ClassVar[str] = "the last iterate"
    null: ClassVar[str] = "W = 0"


@dataclass(frozen=True)
class Candidate(Generic[X]):
    """A point with a cheap estimate of its objective; measured only if that estimate is lower."""

    claimed: float
    measure: Callable[[], tuple[X, Certificate]]
    name: str


def lowest(last: Point[X], candidates: list[Candidate[X]]) -> Point[X]:
    """Return the last iterate, or the lowest candidate that is lower by more than rounding errors.

    ``claimed``, computed in the working precision, only decides which candidates are measured. The
    dual point of the last iterate bounds the optimum, and so the gap of a lower candidate, too.
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
