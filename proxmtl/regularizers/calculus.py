"""A small calculus: regularizers made of others by a change of their argument."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, UnsupportedError
from proxmtl.regularizers.weighted_l1 import fitting, of_columns
from proxmtl.regularizers.wrapper import Wrapper

__all__ = ["Masked", "Scaled", "Shifted"]


def _check_no_constraint(inner: Regularizer) -> None:
    if inner.is_constraint:
        raise ValueError(
            f"inner: {type(inner).__name__} is a constraint, and rounding would put its "
            "boundary outside; change the bounds themselves."
        )


@dataclass(frozen=True)
class Scaled(Wrapper):
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
        _check_no_constraint(self.inner)

    def _to_inner(self, W: Tensor) -> Tensor:
        return self.factor * W

    def _from_inner(self, moved: Tensor, W: Tensor) -> Tensor:
        # entries that are not penalised stay to the last digit
        return torch.where(moved == self.factor * W, W, moved / self.factor)

    def _slope_to_inner(self, W: Tensor) -> Tensor:
        return W / self.factor

    def _slope_from_inner(self, moved: Tensor, W: Tensor) -> Tensor:
        return self.factor * moved

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return super().prox(W, step * self.factor * self.factor, warm_start=warm_start)

    def prox_gap(self, W: Tensor, step: float) -> float:
        square = self.factor * self.factor
        return super().prox_gap(W, step * square) / square

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        return self.factor * super().curvature_product(W, self.factor * V)


@dataclass(frozen=True, eq=False)
class Shifted(Wrapper):
    """``R(W) = inner(W - center)``: pulls towards a point other than 0.

    Parameters
    ----------
    inner : Regularizer
    center : Tensor
        Broadcasts to the shape of ``W``.
    """

    inner: Regularizer
    center: Tensor
    is_norm = False
    is_indicator = False
    is_absolutely_monotone = False
    is_slicewise = False

    def __post_init__(self) -> None:
        if not bool(torch.isfinite(self.center).all()):
            raise ValueError("center: holds NaN or infinite values.")
        _check_no_constraint(self.inner)

    def _to_inner(self, W: Tensor) -> Tensor:
        return W - self._at(W)

    def _from_inner(self, moved: Tensor, W: Tensor) -> Tensor:
        return moved + self._at(W)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        out, value = super().prox(W, step, warm_start=warm_start)
        # a prox that is the identity must not round
        return W.clone() if float(step) * self.strength == 0 else out, value

    def snap(self, W: Tensor, rounding: float) -> Tensor:
        moved = self._to_inner(W)
        snapped = self.inner.snap(moved, rounding)
        return torch.where(snapped == moved, W, self._from_inner(snapped, W))

    def conjugate(self, U: Tensor) -> float:
        """``inner*(U) + <center, U>``."""
        return self.inner.conjugate(U) + float((self._at(U) * U).sum())

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """Not defined: a large strength draws the solution to the center, not to 0."""
        raise UnsupportedError(
            "critical_strength: a Shifted regularizer pulls to its center; solve for W - center."
        )

    def _at(self, W: Tensor) -> Tensor:
        return fitting("center", self.center, W)


@dataclass(frozen=True, eq=False)
class Masked(Wrapper):
    """``R(W) = inner(mask * W)``: entries outside the mask are not penalised.

    Parameters
    ----------
    inner : Regularizer
        One that depends on ``|W|`` only and does not decrease as it grows.
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
        if not self.inner.is_absolutely_monotone:
            raise ValueError(
                f"inner: {type(self.inner).__name__} does not depend on |W| alone; only such "
                "regularizers can be masked."
            )

    @property
    def has_conjugate(self) -> bool:  # type: ignore[override]
        """Finite near 0 only if no entry is outside the mask."""
        return self.inner.has_conjugate and bool(self.mask.all())

    @property
    def is_slicewise(self) -> bool:  # type: ignore[override]
        """Masks of columns alone broadcast as before."""
        return self.inner.stacks and of_columns(self.mask)

    def is_coercive(self, W: Tensor) -> bool:
        return self.inner.is_coercive(W) and bool(self.mask.all())

    def _to_inner(self, W: Tensor) -> Tensor:
        return torch.where(self._on(W), W, 0.0)

    def _from_inner(self, moved: Tensor, W: Tensor) -> Tensor:
        return torch.where(self._on(W), moved, W)

    _slope_to_inner = _to_inner
    _slope_from_inner = _from_inner

    def conjugate(self, U: Tensor) -> float:
        outside = self._outside(U)
        return super().conjugate(U) if outside == 0 else outside

    def conjugate_limit(self, U: Tensor) -> float:
        outside = self._outside(U)
        return super().conjugate_limit(U) if outside == 0 else 1 / outside

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        free = self._outside(grad_at_zero) != 0
        return math.inf if free else super().critical_strength(grad_at_zero)

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        outside = self._outside(U) if self.is_norm else 0.0
        return super().dual_norm(U, at) if outside == 0 else outside

    def active(self, W: Tensor) -> Tensor:
        return super().active(W) | ~self._on(W)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        inside = super().curvature_product(W, self._to_inner(V))
        return torch.where(self._on(W), inside, 0.0)

    def _outside(self, U: Tensor) -> float:
        """0 if a dual point is zero outside the mask, else infinity, or NaN if it holds one."""
        if not bool((U[~self._on(U)] != 0).any()):
            return 0.0
        return math.nan if bool(torch.isnan(U).any()) else math.inf

    def _on(self, W: Tensor) -> Tensor:
        return fitting("mask", self.mask, W).to(torch.bool).expand_as(W)
