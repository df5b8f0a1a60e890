"""Bounds on every coordinate, alone or together with a penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, check_strength, combination
from proxmtl.regularizers.wrapper import Wrapper

__all__ = ["Bounded", "Box", "NonNegative"]


@dataclass(frozen=True)
class Box(Regularizer):
    """Indicator of ``low <= W_ij <= high``: 0 inside, infinite outside.

    The prox clips, whatever the step. Conjugate: ``sum max(low U_ij, high U_ij)``.

    Parameters
    ----------
    low, high : float
        ``low < high``; either may be infinite. The box must hold 0, where solvers start.
    """

    low: float
    high: float
    strength: float = field(default=1.0, init=False)
    is_indicator = True
    is_constraint = True
    is_separable = True
    has_curvature = True

    def __post_init__(self) -> None:
        if not (self.low <= 0 <= self.high and self.low < self.high):
            raise ValueError(
                f"low, high: got {self.low}, {self.high}; give low <= 0 <= high, not both 0."
            )

    @property
    def has_conjugate(self) -> bool:  # type: ignore[override]
        """Of use as a dual bound where it is finite: for a bounded box."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def is_non_negative(self) -> bool:
        """Whether the bounds are those of :class:`NonNegative`."""
        return self.low == 0 and math.isinf(self.high)

    def is_coercive(self, W: Tensor) -> bool:
        return self.has_conjugate

    def value(self, W: Tensor) -> Tensor:
        outside = (self.low > W) | (self.high < W)
        # W * 0 keeps the dtype, NaN and the graph
        return torch.where(outside, torch.inf, W * 0).sum()

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        out = W.clamp(self.low, self.high)
        return out, self.value(out)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        return _cut(self, W, grad)

    def snap(self, W: Tensor, rounding: float) -> Tensor:
        inside = W.clamp(self.low, self.high)
        near = (W - inside).abs() <= 4 * rounding * inside.abs().clamp_min(rounding)
        return torch.where(near, inside, W)

    def conjugate(self, U: Tensor) -> float:
        support = torch.where(U == 0, 0.0, torch.maximum(self.low * U, self.high * U))
        return float(support.sum())

    def active(self, W: Tensor) -> Tensor:
        return (self.low < W) & (self.high > W)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        del W
        return torch.zeros_like(V)

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        raise ValueError(
            f"critical_strength: {type(self).__name__} is a constraint, no strength changes it; "
            "add a penalty."
        )

    def with_strength(self, strength: float) -> Self:
        """Return itself: a set has no strength."""
        check_strength(strength)
        return self


@dataclass(frozen=True)
class NonNegative(Box):
    """Indicator of ``W_ij >= 0``; the prox is ``max(v, 0)``.

    With a penalty that depends on ``|W|`` only (any norm here but the nuclear one) the prox of both
    together is that of the penalty at ``max(v, 0)``.
    """

    low: float = field(default=0.0, init=False)
    high: float = field(default=math.inf, init=False)


@dataclass(frozen=True)
class Bounded(Wrapper):
    """A penalty within bounds: ``inner + box``, prox in closed form.

    For a separable penalty the prox is clipped, ``clip(prox_inner(v))``. For one that depends on
    ``|W|`` and grows with it, and a box of the non-negative numbers, it is
    ``prox_inner(max(v, 0))``. Problems build it where both terms are given.

    Parameters
    ----------
    inner : Regularizer
    box : Box

    Raises
    ------
    ValueError
        If neither of the two rules holds: clipping would not be the prox.

    References
    ----------
    Yu, "On decomposing the proximal map", 2013.
    """

    inner: Regularizer
    box: Box
    is_indicator = False
    is_constraint = True
    is_absolutely_monotone = False
    has_conjugate = False

    def __post_init__(self) -> None:
        if not _fits(self.inner, self.box):
            raise ValueError(
                f"inner: {type(self.inner).__name__} is not separable, and the bounds are not "
                "those of NonNegative: clipping is not the prox of the sum. Give both as terms of "
                "the problem."
            )

    @property
    def is_norm(self) -> bool:  # type: ignore[override]
        """Whether it is a gauge: a norm of ``|W|`` on the non-negative numbers."""
        return self.inner.is_norm and self.inner.is_absolutely_monotone and self.box.is_non_negative

    conjugate = Regularizer.conjugate  # from its own dual norm
    conjugate_limit = Regularizer.conjugate_limit

    def value(self, W: Tensor) -> Tensor:
        return self.inner.value(W) + self.box.value(W)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        out, value = self.inner.prox(self._clipped(W), step, warm_start=warm_start)
        if self.inner.is_separable:
            out = out.clamp(self.box.low, self.box.high)
            value = self.inner.value(out)
        return out, value

    def prox_gap(self, W: Tensor, step: float) -> float:
        return self.inner.prox_gap(self._clipped(W), step)

    def _clipped(self, W: Tensor) -> Tensor:
        """The argument of the inner prox, where the bounds come first."""
        return W if self.inner.is_separable else torch.relu(W)

    def snap(self, W: Tensor, rounding: float) -> Tensor:
        return self.box.snap(self.inner.snap(W, rounding), rounding)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        if self.inner.is_separable:
            return _cut(self.box, W, self.inner.kkt_residual(W, grad))
        return self.inner.kkt_residual(W, _cut(self.box, W, grad))

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        """Gauge of the sum: the penalty's dual norm of ``max(U, 0)``."""
        return super().dual_norm(torch.relu(U), at)

    def active(self, W: Tensor) -> Tensor:
        return self.inner.active(W) & self.box.active(W)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        return torch.where(self.active(W), self.inner.curvature_product(W, V), 0.0)

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """Of the penalty, for the part of ``-grad`` along which the bounds let 0 move."""
        up = torch.relu(-grad_at_zero) if self.box.high > 0 else torch.zeros_like(grad_at_zero)
        down = torch.relu(grad_at_zero) if self.box.low < 0 else torch.zeros_like(grad_at_zero)
        return self.inner.critical_strength(down - up)


def _fits(inner: Regularizer, box: Box) -> bool:
    if not inner.is_convex or inner.is_constraint:
        return False
    return inner.is_separable or (inner.is_absolutely_monotone and box.is_non_negative)


@combination(Box, Box)
def _intersect(a: Box, b: Box) -> Box | None:
    low, high = max(a.low, b.low), min(a.high, b.high)
    return Box(low, high) if low < high else None


@combination(Bounded, Box)
def _tighten(both: Bounded, box: Box) -> Regularizer | None:
    smaller = _intersect(both.box, box)
    return None if smaller is None else _bound(both.inner, smaller)


@combination(Regularizer, Box)
def _bound(inner: Regularizer, box: Box) -> Regularizer | None:
    return Bounded(inner, box) if _fits(inner, box) else None


def _cut(box: Box, W: Tensor, grad: Tensor) -> Tensor:
    """What the normal cone of the box leaves of ``grad``; infinite where ``W`` is outside."""
    cut = torch.where(torch.eq(W, box.low), grad.clamp_max(0), grad)
    cut = torch.where(torch.eq(W, box.high), grad.clamp_min(0), cut)
    outside = (box.low > W) | (box.high < W)
    return torch.where(outside, torch.inf, torch.where(torch.isnan(W), torch.nan, cut))
