"""A small calculus: regularizers made of others by a change of their argument."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, UnsupportedError, check_step
from proxmtl.regularizers.weighted_l1 import fitting

__all__ = ["Masked", "Scaled", "Shifted", "Wrapped"]


class Wrapped(Regularizer):
    """A regularizer of one other, whose strength it shows."""

    inner: Regularizer

    @property
    def strength(self) -> float:  # type: ignore[override]
        """That of the inner regularizer."""
        return self.inner.strength

    def with_strength(self, strength: float) -> Regularizer:
        return replace(self, inner=self.inner.with_strength(strength))  # type: ignore[type-var]

    def _idle(self, step: float | Tensor) -> bool:
        """Whether the prox is the identity, which a change of argument must not round."""
        return float(step) * self.strength == 0

    def _refuse_constraints(self) -> None:
        if self.inner.is_constraint:
            raise ValueError(
                f"inner: {type(self.inner).__name__} is a constraint, and rounding would put its "
                "boundary outside; change the bounds themselves."
            )

    def _take(self, *names: str) -> None:
        for name in names:
            object.__setattr__(self, name, getattr(self.inner, name))


@dataclass(frozen=True)
class Scaled(Wrapped):
    """``R(W) = inner(factor W)``; prox ``prox_{t factor^2 inner}(factor v) / factor``.

    Parameters
    ----------
    inner : Regularizer
    factor : float
        Finite, not 0.
    """

    inner: Regularizer
    factor: float

    def __post_init__(self) -> None:
        if self.factor == 0 or not math.isfinite(self.factor):
            raise ValueError(f"factor: got {self.factor}; it must be finite and not 0.")
        self._refuse_constraints()
        self._take("is_convex", "is_norm", "is_absolute", "is_separable", "has_conjugate")
        self._take("has_curvature", "exact_prox", "exact_kkt")

    @property
    def definite(self) -> bool:
        return self.inner.definite

    def definite_on(self, W: Tensor) -> bool:
        return self.inner.definite_on(W)

    def settle(self, W: Tensor, rounding: float) -> Tensor:
        moved = self.factor * W
        settled = self.inner.settle(moved, rounding)
        return torch.where(settled == moved, W, settled / self.factor)

    def value(self, W: Tensor) -> Tensor:
        return self.inner.value(self.factor * W)

    def prox(self, W: Tensor, step: float | Tensor) -> tuple[Tensor, Tensor]:
        check_step(step)
        moved = self.factor * W
        out, value = self.inner.prox(moved, step * self.factor * self.factor)
        # what is not penalised stays to the last digit
        return torch.where(out == moved, W, out / self.factor), value

    def prox_gap(self, W: Tensor, step: float) -> float:
        square = self.factor * self.factor
        return self.inner.prox_gap(self.factor * W, step * square) / square

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        return self.factor * self.inner.kkt_residual(self.factor * W, grad / self.factor)

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        where = None if at is None else self.factor * at
        return self.inner.dual_norm(U / self.factor, where)

    def conjugate(self, U: Tensor) -> float:
        return self.inner.conjugate(U / self.factor)

    def active(self, W: Tensor) -> Tensor:
        return self.inner.active(self.factor * W)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        return self.factor * self.inner.curvature_product(self.factor * W, self.factor * V)

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        return self.inner.critical_strength(grad_at_zero / self.factor)


@dataclass(frozen=True, eq=False)
class Shifted(Wrapped):
    """``R(W) = inner(W - center)``: pulls towards a point other than 0.

    Parameters
    ----------
    inner : Regularizer
    center : Tensor
        Broadcasts to the shape of ``W``.
    """

    inner: Regularizer
    center: Tensor

    def __post_init__(self) -> None:
        if not bool(torch.isfinite(self.center).all()):
            raise ValueError("center: holds NaN or infinite values.")
        self._refuse_constraints()
        self._take("is_convex", "is_separable", "has_conjugate", "has_curvature")
        self._take("exact_prox", "exact_kkt")

    def settle(self, W: Tensor, rounding: float) -> Tensor:
        moved = W - self._at(W)
        settled = self.inner.settle(moved, rounding)
        return torch.where(settled == moved, W, settled + self._at(W))

    def value(self, W: Tensor) -> Tensor:
        return self.inner.value(W - self._at(W))

    def prox(self, W: Tensor, step: float | Tensor) -> tuple[Tensor, Tensor]:
        check_step(step)
        center = self._at(W)
        out, value = self.inner.prox(W - center, step)
        return (W.clone() if self._idle(step) else out + center), value

    def prox_gap(self, W: Tensor, step: float) -> float:
        return self.inner.prox_gap(W - self._at(W), step)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        return self.inner.kkt_residual(W - self._at(W), grad)

    def conjugate(self, U: Tensor) -> float:
        """``inner*(U) + <center, U>``."""
        return self.inner.conjugate(U) + float((self._at(U) * U).sum())

    def active(self, W: Tensor) -> Tensor:
        return self.inner.active(W - self._at(W))

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        return self.inner.curvature_product(W - self._at(W), V)

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """Not defined: it is the center, not 0, that a large strength reaches."""
        del grad_at_zero
        raise UnsupportedError(
            "critical_strength: a Shifted regularizer pulls to its center; solve for W - center."
        )

    def _at(self, W: Tensor) -> Tensor:
        return fitting("center", self.center, W)


@dataclass(frozen=True, eq=False)
class Masked(Wrapped):
    """``R(W) = inner(mask * W)``: what is outside the mask is not penalised.

    Parameters
    ----------
    inner : Regularizer
        One that depends on ``|W|`` only and grows with it.
    mask : Tensor
        Bool; broadcasts to the shape of ``W``.

    Raises
    ------
    ValueError
        If the inner regularizer is of another kind: its prox would not be this simple.
    """

    inner: Regularizer
    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise ValueError(f"mask: dtype {self.mask.dtype}; give booleans.")
        if not self.inner.is_absolute:
            raise ValueError(
                f"inner: {type(self.inner).__name__} does not depend on |W| alone; only such "
                "regularizers can be masked."
            )
        self._take("is_convex", "is_norm", "is_absolute", "is_separable", "is_indicator")
        self._take("is_constraint", "has_curvature", "exact_prox", "exact_kkt")
        # what is outside the mask is free: the conjugate is finite near 0 only if nothing is
        everything = self.inner.has_conjugate and bool(self.mask.all())
        object.__setattr__(self, "has_conjugate", everything)

    @property
    def definite(self) -> bool:
        return self.inner.definite and bool(self.mask.all())

    def definite_on(self, W: Tensor) -> bool:
        return self.inner.definite_on(W) and bool(self.mask.all())

    def settle(self, W: Tensor, rounding: float) -> Tensor:
        mask = self._on(W)
        return torch.where(mask, self.inner.settle(torch.where(mask, W, 0.0), rounding), W)

    def conjugate(self, U: Tensor) -> float:
        mask = self._on(U)
        if bool((U[~mask] != 0).any()):
            return float("nan") if bool(torch.isnan(U).any()) else float("inf")
        return self.inner.conjugate(torch.where(mask, U, 0.0))

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        mask = self._on(grad_at_zero)
        if bool((grad_at_zero[~mask] != 0).any()):
            return float("inf")
        return self.inner.critical_strength(torch.where(mask, grad_at_zero, 0.0))

    def value(self, W: Tensor) -> Tensor:
        return self.inner.value(torch.where(self._on(W), W, 0.0))

    def prox(self, W: Tensor, step: float | Tensor) -> tuple[Tensor, Tensor]:
        mask = self._on(W)
        out, value = self.inner.prox(torch.where(mask, W, 0.0), step)
        return torch.where(mask, out, W), value

    def prox_gap(self, W: Tensor, step: float) -> float:
        return self.inner.prox_gap(torch.where(self._on(W), W, 0.0), step)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        mask = self._on(W)
        inside = self.inner.kkt_residual(torch.where(mask, W, 0.0), torch.where(mask, grad, 0.0))
        return torch.where(mask, inside, grad)

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        mask = self._on(U)
        if bool((U[~mask] != 0).any()):
            return float("nan") if bool(torch.isnan(U).any()) else float("inf")
        where = None if at is None else torch.where(mask, at, 0.0)
        return self.inner.dual_norm(torch.where(mask, U, 0.0), where)

    def active(self, W: Tensor) -> Tensor:
        mask = self._on(W)
        return self.inner.active(torch.where(mask, W, 0.0)) | ~mask

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        mask = self._on(W)
        inside = self.inner.curvature_product(torch.where(mask, W, 0.0), torch.where(mask, V, 0.0))
        return torch.where(mask, inside, 0.0)

    def _on(self, W: Tensor) -> Tensor:
        return fitting("mask", self.mask, W).to(torch.bool).expand_as(W)
