"""Conjugates and Moreau envelopes, by Moreau's identity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, check_step
from proxmtl.regularizers.calculus import Wrapped

__all__ = ["Conjugate", "moreau_envelope"]


@dataclass(frozen=True)
class Conjugate(Wrapped):
    """``R(U) = inner*(U)``: for a norm, the indicator of its dual ball.

    Prox by Moreau's identity: ``v - t prox_{inner / t}(v / t)``.

    Parameters
    ----------
    inner : Regularizer
        Convex; a norm or one with a conjugate in closed form.
    """

    inner: Regularizer
    exact_kkt = False

    def __post_init__(self) -> None:
        if not (self.inner.is_convex and (self.inner.is_norm or self.inner.has_conjugate)):
            raise ValueError(
                f"inner: {type(self.inner).__name__} is no norm and has no conjugate in closed "
                "form."
            )
        object.__setattr__(self, "is_indicator", self.inner.is_norm)
        object.__setattr__(self, "is_constraint", self.inner.is_norm)
        self._take("is_absolute", "is_separable", "exact_prox")

    @property
    def definite(self) -> bool:
        return False

    def value(self, W: Tensor) -> Tensor:
        if not self.is_indicator:
            return W.new_tensor(self.inner.conjugate(W))
        # projections end on the boundary, up to rounding
        inside = self.inner.dual_norm(W) <= 1 + 64 * torch.finfo(W.dtype).eps
        return torch.where(torch.tensor(inside), (W * 0).sum(), torch.inf)

    def prox(self, W: Tensor, step: float | Tensor) -> tuple[Tensor, Tensor]:
        check_step(step)
        t = float(step)
        if t == 0:
            if not self.is_indicator:
                return W.clone(), self.value(W)
            t = 1.0  # a projection, whatever the step
        rest, _ = self.inner.prox(W / t, 1 / t)
        out = W - t * rest
        value = W.new_zeros(()) if self.is_indicator else self.value(out)
        return out, value

    def settle(self, W: Tensor, rounding: float) -> Tensor:
        if not self.is_indicator:
            return W
        size = self.inner.dual_norm(W)
        return W / size if 1 < size <= 1 + 64 * rounding else W

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Fixed-point residual ``W - prox(W - grad)``: 0 exactly at a minimiser."""
        return W - self.prox(W - grad, 1.0)[0]


def moreau_envelope(
    regularizer: Regularizer, W: Tensor, smoothness: float
) -> tuple[Tensor, Tensor]:
    """``min_X R(X) + ||X - W||^2 / (2 smoothness)`` and its gradient ``(W - prox) / smoothness``.

    The gradient is ``1/smoothness``-Lipschitz for convex ``R``. For disjoint groups this is their
    Nesterov smoothing.

    Raises
    ------
    ValueError
        Unless ``smoothness`` is finite and ``> 0``.
    """
    if not (math.isfinite(smoothness) and smoothness > 0):
        raise ValueError(f"smoothness: got {smoothness}; it must be finite and > 0.")
    point, value = regularizer.prox(W, smoothness)
    grad = (W - point) / smoothness
    return value + smoothness / 2 * grad.square().sum(), grad
