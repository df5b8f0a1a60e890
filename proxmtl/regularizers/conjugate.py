"""Conjugates and Moreau envelopes, by Moreau's identity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.numerics import norm
from proxmtl.regularizers.base import Regularizer
from proxmtl.regularizers.wrapper import Wrapper, forwarded

__all__ = ["Conjugate", "moreau_envelope"]

INEXACT = 1e-6
"""Relative error to expect of an iterative prox: the root of its gap, and a bit."""


@dataclass(frozen=True)
class Conjugate(Wrapper):
    """``R(U) = inner*(U)``: for a norm, the indicator of its dual ball.

    Prox by Moreau's identity: ``v - t prox_{inner / t}(v / t)``.

    Parameters
    ----------
    inner : Regularizer
        Convex; a norm or one with a conjugate in closed form.
    """

    inner: Regularizer
    is_convex = True
    is_norm = False
    is_indicator = forwarded("is_norm")
    is_constraint = forwarded("is_norm")
    exact_kkt = False
    has_conjugate = False
    has_curvature = False
    is_slicewise = False

    def __post_init__(self) -> None:
        if not (self.inner.is_convex and (self.inner.is_norm or self.inner.has_conjugate)):
            raise ValueError(
                f"inner: {type(self.inner).__name__} is no norm and has no conjugate in closed "
                "form."
            )

    # of its own, not of the inner regularizer
    conjugate = Regularizer.conjugate
    conjugate_limit = Regularizer.conjugate_limit
    critical_strength = Regularizer.critical_strength
    active = Regularizer.active
    curvature_product = Regularizer.curvature_product

    def is_coercive(self, W: Tensor) -> bool:
        """Not claimed: it depends on where the inner regularizer is finite."""
        return False

    def value(self, W: Tensor) -> Tensor:
        if not self.is_indicator:
            return W.new_tensor(self.inner.conjugate(W))
        if bool(torch.isnan(W).any()):
            return W.sum()
        # W * 0 keeps the dtype and the graph
        return torch.where(torch.tensor(self._inside(W)), (W * 0).sum(), torch.inf)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        t = 1.0 if self.is_indicator else float(step)  # a projection, whatever the step
        if t == 0:
            return W.clone(), self.value(W)
        scaled = W / t
        start = None if warm_start is None else (W - warm_start) / t
        rest, _ = self.inner.prox(scaled, 1 / t, warm_start=start)
        # 0 to the last digit where the inner prox changes nothing: items in no group, weights of 0
        out = torch.where(rest == scaled, 0.0, W - t * rest)
        if not self.is_indicator:
            return out, self.value(out)
        if self.exact_prox and not self._inside(out):
            # the digits of a small ball are lost in those of a large W
            size = self.inner.dual_norm(out)
            out = out / size if 1 < size < math.inf else out
        return out, W.new_zeros(())

    def prox_gap(self, W: Tensor, step: float) -> float:
        """``t^2`` times the gap of the inner prox: the two problems are dual to each other."""
        t = 1.0 if self.is_indicator else step
        return 0.0 if t == 0 else t * t * self.inner.prox_gap(W / t, 1 / t)

    def snap(self, W: Tensor, rounding: float) -> Tensor:
        if not self.is_indicator:
            return W
        size = self.inner.dual_norm(W)
        return W / size if 1 < size <= 1 + 64 * rounding else W

    def _inside(self, W: Tensor) -> bool:
        """Whether a point is in the dual ball: the prox of the norm is then zero.

        Up to the rounding of a projection, or the accuracy of an iterative prox.
        """
        scaled = W / (1 + (64 * torch.finfo(W.dtype).eps if self.exact_prox else INEXACT))
        rest, _ = self.inner.prox(scaled, 1.0)
        return norm(rest) <= math.sqrt(2 * self.inner.prox_gap(scaled, 1.0))

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
