"""The base of regularizers made of others: it forwards the whole contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

from torch import Tensor

from proxmtl.regularizers.base import Regularizer

__all__ = ["Wrapper", "forwarded"]


def forwarded(name: str, combine: Callable[[Iterable[bool]], bool] = all) -> Any:
    """A flag that holds where it holds for all members, or for any of them."""
    return cached_property(lambda self: combine(getattr(r, name) for r in self.members))


class Wrapper(Regularizer):
    """A regularizer made of others, whose flags and methods it forwards unless it overrides them.

    Flags are those that all :attr:`members` have. Methods are those of ``inner`` with a change of
    the argument: points, gradients and results go through the four methods that a subclass
    overrides, each the identity here. What is not forwarded: ``is_smoothable``, and the form that
    sums best (:meth:`Regularizer.for_parameter`), which is the wrapper itself.

    Attributes
    ----------
    inner : Regularizer
    """

    inner: Regularizer

    is_convex: bool = forwarded("is_convex")
    is_norm: bool = forwarded("is_norm")
    is_indicator: bool = forwarded("is_indicator")
    is_constraint: bool = forwarded("is_constraint", any)
    exact_kkt: bool = forwarded("exact_kkt")
    is_absolutely_monotone: bool = forwarded("is_absolutely_monotone")
    is_separable: bool = forwarded("is_separable")
    has_conjugate: bool = forwarded("has_conjugate")
    has_curvature: bool = forwarded("has_curvature")
    exact_prox: bool = forwarded("exact_prox")
    is_slicewise: bool = forwarded("stacks")
    value_vmaps: bool = forwarded("value_vmaps")

    @property
    def members(self) -> tuple[Regularizer, ...]:
        """The regularizers that flags are taken from."""
        return (self.inner,)

    @property
    def strength(self) -> float:  # type: ignore[override]
        """That of the inner regularizer."""
        return self.inner.strength

    # ------------------------------------------------------------------ the change of argument

    def _to_inner(self, W: Tensor) -> Tensor:
        """The point at which the inner regularizer is evaluated."""
        return W

    def _from_inner(self, moved: Tensor, W: Tensor) -> Tensor:
        """The point in the place of ``W`` that the inner one ``moved`` stands for."""
        return moved

    def _slope_to_inner(self, W: Tensor) -> Tensor:
        """As :meth:`_to_inner`, for a gradient or dual point ``W``."""
        return W

    def _slope_from_inner(self, moved: Tensor, W: Tensor) -> Tensor:
        """As :meth:`_from_inner`, for a gradient or dual point."""
        return moved

    # ------------------------------------------------------------------ the contract

    def with_strength(self, strength: float) -> Self:
        return replace(self, inner=self.inner.with_strength(strength))  # type: ignore[type-var]

    def is_coercive(self, W: Tensor) -> bool:
        return self.inner.is_coercive(self._to_inner(W))

    def value(self, W: Tensor) -> Tensor:
        return self.inner.value(self._to_inner(W))

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        start = None if warm_start is None else self._to_inner(warm_start)
        out, value = self.inner.prox(self._to_inner(W), step, warm_start=start)
        return self._from_inner(out, W), value

    def prox_gap(self, W: Tensor, step: float) -> float:
        return self.inner.prox_gap(self._to_inner(W), step)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        inner = self.inner.kkt_residual(self._to_inner(W), self._slope_to_inner(grad))
        return self._slope_from_inner(inner, grad)

    def snap(self, W: Tensor, rounding: float) -> Tensor:
        return self._from_inner(self.inner.snap(self._to_inner(W), rounding), W)

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        if not self.is_norm:
            return super().dual_norm(U, at)
        where = None if at is None else self._to_inner(at)
        return self.inner.dual_norm(self._slope_to_inner(U), where)

    def conjugate(self, U: Tensor) -> float:
        return self.inner.conjugate(self._slope_to_inner(U))

    def conjugate_limit(self, U: Tensor) -> float:
        return self.inner.conjugate_limit(self._slope_to_inner(U))

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        return self.inner.critical_strength(self._slope_to_inner(grad_at_zero))

    def active(self, W: Tensor) -> Tensor:
        return self.inner.active(self._to_inner(W))

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        return self.inner.curvature_product(self._to_inner(W), V)
