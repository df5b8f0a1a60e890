"""A regularizer of a linear image: ``R(W) = inner(K W)``."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor

from proxmtl.numerics import FAR, unit_of
from proxmtl.regularizers.base import Regularizer

__all__ = ["Composed"]


class Composed(Regularizer):
    """``R(W) = inner(K W)`` for a norm ``inner`` with a prox and a linear map ``K``.

    PDHG works with ``K`` and the prox of ``inner`` directly. Where the prox of ``R`` itself is
    asked for it is computed through its dual, ``x = v - step K' alpha`` with ``alpha`` in the dual
    ball of ``inner``, by accelerated projected gradient, and stops on its own duality gap
    ``step (inner(K x) - <K x, alpha>)``.

    A subclass gives ``inner``, ``strength`` (which must be that of ``inner``) and the map.

    Attributes
    ----------
    inner : Regularizer
        A norm, weight included.
    gap : float
        Relative accuracy of the prox: stop when its gap is below ``gap`` times its objective,
        ``1/2 ||x - v||^2 + step R(x)`` (or what the precision allows). What ``K`` does not see of
        ``v`` has no part in either.
    max_iterations : int
        Limit on the iterations; the gap reached is reported by :meth:`prox_gap`.

    References
    ----------
    Beck and Teboulle, "Fast gradient-based algorithms for constrained total variation image
    denoising and deblurring problems", 2009 (the prox through the dual).
    """

    gap: float = 1e-12
    max_iterations: int = 5000
    exact_prox = False
    exact_kkt = False

    @property
    @abstractmethod
    def inner(self) -> Regularizer:
        """The norm of the image."""

    @abstractmethod
    def forward(self, W: Tensor) -> Tensor:
        """``K W``."""

    @abstractmethod
    def transposed(self, Z: Tensor, like: Tensor) -> Tensor:
        """``K' Z``, in the shape of ``like``."""

    @abstractmethod
    def squared_operator_norm(self, W: Tensor) -> float:
        """Upper bound on ``||K||^2`` for arguments of the shape of ``W``."""

    def dual_projection(self, Z: Tensor) -> Tensor:
        """Nearest point of the dual ball of ``inner``, by Moreau's identity.

        The digits of the ball are lost in those of ``Z`` if that is much larger: override it where
        the projection is known.
        """
        return Z - self.inner.prox(Z, 1.0)[0]

    @property
    def splitting(self) -> Self:
        return self

    def settled(self, W: Tensor, Z: Tensor) -> Tensor:
        """``W``: what ``K`` maps to zero is not a set of entries."""
        return W

    def certified_by(self, Z: Tensor) -> None:
        """Nothing more: certificates are those of the prox, or of the subclass."""

    def is_coercive(self, W: Tensor) -> bool:
        """Unless the subclass knows better: ``K`` may have a null space."""
        return False

    def value(self, W: Tensor) -> Tensor:
        return self.inner.value(self.forward(W))

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if float(step) * self.strength == 0:
            return W.clone(), self.value(W)
        unit = unit_of(W)
        if unit != 1:  # the penalty is homogeneous
            far = min(float(step) / unit, FAR / self.strength)
            out, value = self.prox(W / unit, far)
            return out * unit, value * unit
        out = self._solve(W, float(step))[0].to(W.dtype)
        return out, self.value(out)

    def prox_gap(self, W: Tensor, step: float) -> float:
        if step * self.strength == 0:
            return 0.0
        unit = unit_of(W)
        if unit != 1:
            return self.prox_gap(W / unit, min(step / unit, FAR / self.strength)) * unit * unit
        return self._solve(W, step)[2]

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Fixed-point residual ``W - prox(W - grad)``, not the least subgradient.

        0 exactly at a minimiser. ``K W`` is hardly ever zero to the last digit where it is zero in
        the solution, and there the least subgradient jumps; this residual does not.
        """
        return W - self.prox(W - grad, 1.0)[0]

    def _solve(self, W: Tensor, step: float) -> tuple[Tensor, Tensor, float]:
        """Prox point, dual variable and gap; in float64."""
        v = W.to(torch.float64)
        # what K does not see of v, such as a large common level, takes no digits of the iterates:
        # they are formed from the image of v, and K x = K v - step K K' alpha
        image = self.forward(v)
        floor = 4 * torch.finfo(v.dtype).eps * step * float(self.inner.value(image))
        curvature = step * self.squared_operator_norm(v)
        alpha = torch.zeros_like(image)
        if curvature == 0:
            return v, alpha, 0.0
        ahead, momentum, gap, x = alpha, 1.0, math.inf, v
        for _ in range(self.max_iterations):
            slope = image - step * self.forward(self.transposed(ahead, v))
            moved = ahead + slope / curvature
            new = self.dual_projection(moved)
            pull = step * self.transposed(new, v)
            x, seen = v - pull, image - self.forward(pull)
            penalty = step * float(self.inner.value(seen))
            gap = penalty - step * float((seen * new).sum())
            objective = float(pull.square().sum()) / 2 + penalty
            if not gap > max(self.gap * objective, floor):
                return x, new, max(gap, 0.0)
            if float(((ahead - new) * (new - alpha)).sum()) > 0:
                momentum = 1.0
            theta = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = torch.lerp(alpha, new, 1 + (momentum - 1) / theta)
            alpha, momentum = new, theta
        return x, alpha, max(gap, 0.0)
