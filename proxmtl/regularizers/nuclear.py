"""Nuclear norm: the sum of singular values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, norm_ratio, scaled_value

__all__ = ["Nuclear"]


@dataclass(frozen=True)
class Nuclear(Regularizer):
    """``R(W) = strength * ||W||_*``, the sum of the singular values of a matrix.

    Prox: singular values soft-thresholded. Dual norm: the spectral norm over strength. Equal to
    the least of ``strength/2 (||L||_F^2 + ||S||_F^2)`` over ``W = L S``: the convex cousin of a
    shared latent matrix. Costs one singular value decomposition.

    Parameters
    ----------
    strength : float
        ``>= 0``.

    References
    ----------
    Fazel, Hindi, Boyd, "A rank minimization heuristic", 2001; Cai, Candes, Shen, "A singular value
    thresholding algorithm for matrix completion", 2010.
    """

    strength: float
    is_norm = True

    def value(self, W: Tensor) -> Tensor:
        _check_matrix(W)
        if bool(torch.isnan(W).any()):
            return W.sum()
        singular: Tensor = torch.linalg.svdvals(W)
        return scaled_value(self.strength, singular.sum(dtype=torch.float64), W)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        _check_matrix(W)
        threshold = float(step) * self.strength
        if threshold == 0:
            return W.clone(), self.value(W)
        if bool(torch.isnan(W).any()):
            return torch.full_like(W, torch.nan), W.sum()
        U, s, Vh = torch.linalg.svd(W, full_matrices=False)
        s = torch.relu(s - threshold)
        return (U * s) @ Vh, scaled_value(self.strength, s.sum(dtype=torch.float64), W)

    def snap(self, W: Tensor, rounding: float) -> Tensor:
        """Without the singular values that are only rounding: these hide the rank."""
        if not bool(torch.isfinite(W).all()):
            return W
        U, s, Vh = torch.linalg.svd(W, full_matrices=False)
        kept = s > rounding * max(W.shape) * s[:1].sum()
        settled: Tensor = (U * torch.where(kept, s, 0.0)) @ Vh
        return W if bool(kept.all()) else settled

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Polar factor on the tangent space, singular values of the rest shrunk by the strength.

        Singular values below the rounding of the largest count as zero.
        """
        _check_matrix(W)
        if bool(torch.isnan(W).any()):
            return torch.full_like(W, torch.nan)
        U, s, Vh = torch.linalg.svd(W, full_matrices=False)
        tiny = torch.finfo(W.dtype).eps * max(W.shape) * s[:1].sum()
        rank = int((s > tiny).sum())
        U, Vh = U[:, :rank], Vh[:rank]
        rest = grad - U @ (U.T @ grad)
        rest = rest - (rest @ Vh.T) @ Vh
        free, _ = self.prox(rest, 1.0)
        residual: Tensor = grad - rest + self.strength * (U @ Vh) + free
        return residual

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        _check_matrix(U)
        if bool(torch.isnan(U).any()):
            return float("nan")
        return norm_ratio(
            float(torch.linalg.svdvals(U).amax()) if U.numel() else 0.0, self.strength
        )


def _check_matrix(W: Tensor) -> None:
    if W.ndim != 2:
        raise ValueError(f"W: shape {tuple(W.shape)}; the nuclear norm takes a matrix.")
