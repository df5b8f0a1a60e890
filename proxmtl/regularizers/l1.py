"""L1 norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.kernels import soft_threshold
from proxmtl.regularizers.base import Regularizer, combination, norm_ratio, scaled_value

__all__ = ["L1", "soft"]

WORTH_FUSING = 150_000
"""Entries from which on one pass by the kernel is faster than torch's four, its call included."""


@dataclass(frozen=True)
class L1(Regularizer):
    """``R(W) = strength * sum |W_ij|``.

    Prox: ``sign(v) max(|v| - step * strength, 0)``. Dual norm: ``max |U_ij| / strength``.

    Parameters
    ----------
    strength : float
        ``>= 0``; the paper's gamma on the latent matrix L.
    """

    strength: float
    is_norm = True
    is_absolutely_monotone = True
    is_separable = True
    has_curvature = True
    is_slicewise = True
    value_vmaps = True

    def value(self, W: Tensor) -> Tensor:
        return scaled_value(self.strength, W.abs().sum(dtype=torch.float64), W)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        moving = W.requires_grad or (isinstance(step, Tensor) and step.requires_grad)
        if W.numel() >= WORTH_FUSING and not (moving and torch.is_grad_enabled()):
            out, value = soft_threshold(W, self.strength, step=step)
            return out, value.to(W.dtype)
        out = soft(W, step * self.strength)
        return out, self.value(out)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        at_zero = soft(grad, self.strength)
        # not W.sign(), which is 0 for NaN
        return torch.where(W == 0, at_zero, grad + self.strength * (W / W.abs()))

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        return norm_ratio(U.abs().max().item() if U.numel() else 0.0, self.strength)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        del W
        return torch.zeros_like(V)

    def as_elastic_net(self, W: Tensor) -> tuple[Tensor, float] | None:
        return W.new_tensor(self.strength, dtype=torch.float64).expand(W.shape), 0.0


@combination(L1, L1)
def _add(a: L1, b: L1) -> L1:
    return L1(a.strength + b.strength)


def soft(v: Tensor, threshold: float | Tensor) -> Tensor:
    """``sign(v) max(|v| - threshold, 0)``, entry by entry; NaN stays NaN."""
    # v - clamp(v) is exactly 0 inside the threshold, keeps NaN, and needs no sign and abs
    if isinstance(threshold, Tensor):
        return v - torch.minimum(torch.maximum(v, -threshold), threshold)
    return v - v.clamp(-threshold, threshold)
