"""Bounds on every coordinate, alone or together with a penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, check_step, check_strength, combination

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
    def definite(self) -> bool:
        return False

    def value(self, W: Tensor) -> Tensor:
        outside = (self.low > W) | (self.high < W)
        # W * 0 keeps the dtype, NaN and the graph
        return torch.where(outside, torch.inf, W * 0).sum()

    def prox(self, W: Tensor, step: float | Tensor) -> tuple[Tensor, Tensor]:
        check_step(step)
        out = W.clamp(self.low, self.high)
        return out, self.value(out)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        return _cut(self, W, grad)

    def settle(self, W: Tensor, rounding: float) -> Tensor:
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
        del grad_at_zero
        raise self._no_strength()

    def with_strength(self, strength: float) -> Box:
        """Return itself: a set has no strength."""
        check_strength(strength)
        return self

    def _no_strength(self) -> ValueError:
        return ValueError(
            f"critical_strength: {type(self).__name__} is a constraint, no strength changes it; "
            "add a penalty."
        )


@dataclass(frozen=True)
class NonNegative(Box):
    """Indicator of ``W_ij >= 0``; the prox is ``max(v, 0)``.

    With a penalty that depends on ``|W|`` only (any norm here but the nuclear one) the prox of both
    together is that of the penalty at ``max(v, 0)``.
    """

    low: float = field(default=0.0, init=False)
    high: float = field(default=math.inf, init=False)


@dataclass(frozen=True)
class Bounded(Regularizer):
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
    is_norm: bool = field(init=False, repr=False, compare=False)
    is_separable: bool = field(init=False, repr=False, compare=False)
    is_convex: bool = field(init=False, repr=False, compare=False)
    has_curvature: bool = field(init=False, repr=False, compare=False)
    exact_prox: bool = field(init=False, repr=False, compare=False)
    exact_kkt: bool = field(init=False, repr=False, compare=False)
    is_constraint = True

    def __post_init__(self) -> None:
        inner, box = self.inner, self.box
        if not _fits(inner, box):
            raise ValueError(
                f"inner: {type(inner).__name__} is not separable, and the bounds are not those of "
                "NonNegative: clipping is not the prox of the sum. Give both as terms of the "
                "problem."
            )
        for name in ("is_separable", "is_convex", "has_curvature", "exact_prox", "exact_kkt"):
            object.__setattr__(self, name, getattr(inner, name))
        cone = box.low == 0 and math.isinf(box.high)
        object.__setattr__(self, "is_norm", inner.is_norm and inner.is_absolute and cone)

    @property
    def strength(self) -> float:  # type: ignore[override]
        """That of the penalty."""
        return self.inner.strength

    @property
    def definite(self) -> bool:
        return self.inner.definite

    def value(self, W: Tensor) -> Tensor:
        return self.inner.value(W) + self.box.value(W)

    def prox(self, W: Tensor, step: float | Tensor) -> tuple[Tensor, Tensor]:
        if self.inner.is_separable:
            out = self.inner.prox(W, step)[0].clamp(self.box.low, self.box.high)
            return out, self.inner.value(out)
        return self.inner.prox(torch.relu(W), step)

    def prox_gap(self, W: Tensor, step: float) -> float:
        return self.inner.prox_gap(W if self.inner.is_separable else torch.relu(W), step)

    def settle(self, W: Tensor, rounding: float) -> Tensor:
        return self.box.settle(self.inner.settle(W, rounding), rounding)

    def definite_on(self, W: Tensor) -> bool:
        return self.inner.definite_on(W)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        if self.inner.is_separable:
            return _cut(self.box, W, self.inner.kkt_residual(W, grad))
        return self.inner.kkt_residual(W, _cut(self.box, W, grad))

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        """Gauge of the sum: the penalty's dual norm of ``max(U, 0)``."""
        return self.inner.dual_norm(torch.relu(U) if self.is_norm else U, at)

    def active(self, W: Tensor) -> Tensor:
        return self.inner.active(W) & self.box.active(W)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        return torch.where(self.active(W), self.inner.curvature_product(W, V), 0.0)

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """Of the penalty, for the part of ``-grad`` along which the bounds let 0 move."""
        up = torch.relu(-grad_at_zero) if self.box.high > 0 else torch.zeros_like(grad_at_zero)
        down = torch.relu(grad_at_zero) if self.box.low < 0 else torch.zeros_like(grad_at_zero)
        return self.inner.critical_strength(down - up)

    def with_strength(self, strength: float) -> Bounded:
        return replace(self, inner=self.inner.with_strength(strength))


def _fits(inner: Regularizer, box: Box) -> bool:
    cone = box.low == 0 and math.isinf(box.high)
    convex = inner.is_convex and not inner.is_constraint
    return convex and (inner.is_separable or (inner.is_absolute and cone))


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
