"""Squared Frobenius norm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, norm_ratio

__all__ = ["SquaredFrobenius", "ridged_prox"]


@dataclass(frozen=True)
class SquaredFrobenius(Regularizer):
    """``R(W) = strength * ||W||_F^2``, without a factor 1/2, as in the paper.

    Gradient ``2 strength W``; strong convexity modulus ``2 strength``; prox
    ``v / (1 + 2 step strength)``. Summed with any other regularizer it is composed exactly:
    ``prox_{t(R + s||.||^2)}(v) = prox_{t' R}(v / (1 + 2 t s))`` with ``t' = t / (1 + 2 t s)``.

    Parameters
    ----------
    strength : float
        ``>= 0``; the paper's lambda on the latent matrix L.
    """

    strength: float
    is_absolutely_monotone = True
    is_separable = True
    has_conjugate = True
    has_curvature = True

    def value(self, W: Tensor) -> Tensor:
        # of the squares themselves, some may overflow where the value does not
        return (math.sqrt(self.strength) * W).square().sum()

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        out = W / (1 + 2 * float(step) * self.strength)
        return out, self.value(out)

    @property
    def is_symmetric(self) -> bool:
        """Whether the norm of W is that of its transpose: it is."""
        return True

    def factor(self, gram: Tensor, step: float) -> tuple[Tensor, float]:
        """Matrix P with ``prox(W) = W P``, and the penalty there, of ``W'W``: a multiple of one.

        See :meth:`SharedPlusOwn.factor`.
        """
        shrink = 1 + 2 * step * self.strength
        P = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) / shrink
        return P, self.strength * float(gram.trace()) / shrink**2

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        return grad + 2 * self.strength * W

    def conjugate(self, U: Tensor) -> float:
        """``||U||^2 / (4 strength)``."""
        return norm_ratio(float(U.square().sum()), 4 * self.strength)

    def active(self, W: Tensor) -> Tensor:
        return torch.full_like(W, fill_value=True, dtype=torch.bool)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        del W
        return 2 * self.strength * V

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """A ridge never sets its argument to zero: infinite, unless the gradient is zero."""
        return float("inf") if bool((grad_at_zero != 0).any()) else 0.0


def ridged_prox(
    R: Regularizer | None,
    ridge: float,
    W: Tensor,
    step: float | Tensor,
    warm_start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Prox of ``R + ridge ||.||_F^2`` (``R`` None: of the ridge alone), and the value there.

    ``prox_{step R / c}(W / c)`` with ``c = 1 + 2 step ridge``, exactly. ``warm_start``
    is that of :meth:`Regularizer.prox`.
    """
    shrink = 1 + 2 * step * ridge
    if R is None:
        out, value = W / shrink, W.new_zeros(())
    else:
        out, value = R.prox(W if ridge == 0 else W / shrink, step / shrink, warm_start=warm_start)
    return out, value + (math.sqrt(ridge) * out).square().sum() if ridge else value
