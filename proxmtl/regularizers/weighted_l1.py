"""L1 norm with a weight for each coordinate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, combination, norm_ratio
from proxmtl.regularizers.l1 import L1, soft

__all__ = ["WeightedL1"]


@dataclass(frozen=True, eq=False)
class WeightedL1(Regularizer):
    """``R(W) = strength * sum a_ij |W_ij|``.

    Prox: ``sign(v) max(|v| - step * strength * a, 0)``. Dual norm: ``max |U_ij| / (strength a_ij)``
    (infinite where an entry of ``U`` has weight 0).

    Parameters
    ----------
    weights : Tensor
        ``a >= 0``; broadcasts to the shape of ``W``. A column (D, 1) weighs features, a row (1, M)
        or a vector (M,) weighs tasks.
    strength : float
        ``>= 0``.

    Raises
    ------
    ValueError
        If a weight is negative, infinite or NaN.

    References
    ----------
    Zou, "The adaptive lasso and its oracle properties", 2006.
    """

    weights: Tensor
    strength: float
    is_norm = True
    is_absolutely_monotone = True
    is_separable = True
    has_curvature = True
    value_vmaps = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weights", checked_weights(self.weights))

    @property
    def is_slicewise(self) -> bool:  # type: ignore[override]
        """Weights of columns alone broadcast as before."""
        return of_columns(self.weights)

    def is_coercive(self, W: Tensor) -> bool:
        return self.strength > 0 and bool((self.weights > 0).all())

    def value(self, W: Tensor) -> Tensor:
        bounds = self.strength * fitting("weights", self.weights, W.to(torch.float64))
        return (bounds * W.abs()).sum().to(W.dtype)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        out = soft(W, step * self._bounds(W))
        return out, self.value(out)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        bounds = self._bounds(W)
        return torch.where(W == 0, soft(grad, bounds), grad + bounds * (W / W.abs()))

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        bounds = self._bounds(U).expand_as(U)
        if bool((U[bounds == 0] != 0).any()):
            return float("nan") if bool(torch.isnan(U).any()) else float("inf")
        ratios = torch.where(bounds == 0, 0.0, U.abs() / torch.where(bounds == 0, 1.0, bounds))
        return norm_ratio(ratios.max().item() if U.numel() else 0.0, 1.0)

    def active(self, W: Tensor) -> Tensor:
        return (W != 0) | (self._bounds(W) == 0)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        del W
        return torch.zeros_like(V)

    def as_elastic_net(self, W: Tensor) -> tuple[Tensor, float] | None:
        return self._bounds(W.to(torch.float64)).expand(W.shape), 0.0

    def _bounds(self, W: Tensor) -> Tensor:
        return scaled_weights("weights", self.strength, self.weights, W)


@combination(WeightedL1, L1)
def _add_plain(a: WeightedL1, b: L1) -> WeightedL1:
    return WeightedL1(a.strength * a.weights + b.strength, 1.0)


@combination(WeightedL1, WeightedL1)
def _add(a: WeightedL1, b: WeightedL1) -> WeightedL1:
    return WeightedL1(a.strength * a.weights + b.strength * b.weights.to(a.weights.device), 1.0)


def checked_weights(weights: Tensor) -> Tensor:
    """Weights in float64; raise ``ValueError`` unless they are finite and non-negative."""
    weights = torch.as_tensor(weights, dtype=torch.float64)
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise ValueError("weights: hold a negative, infinite or NaN value; give finite ones >= 0.")
    return weights


def scaled_weights(name: str, scale: float, weights: Tensor, W: Tensor) -> Tensor:
    """``scale * weights`` like ``W``, at most the largest number of its dtype.

    The weights alone may not fit the dtype; and infinity times 0 is not 0.
    """
    scaled = scale * fitting(name, weights, W.to(torch.float64))
    return scaled.clamp_max(torch.finfo(W.dtype).max).to(W.dtype)


def of_columns(given: Tensor) -> bool:
    """Whether a tensor that broadcasts to matrices is the same for all rows."""
    return given.ndim < 2 or len(given) == 1


def fitting(name: str, given: Tensor, W: Tensor) -> Tensor:
    """``given`` like ``W``; raise ``ValueError`` unless it broadcasts to the shape of ``W``."""
    sizes = list(zip(reversed(given.shape), reversed(W.shape), strict=False))
    if given.ndim > W.ndim or any(a not in (1, b) for a, b in sizes):
        raise ValueError(
            f"{name}: shape {tuple(given.shape)} does not broadcast to that of the parameter, "
            f"{tuple(W.shape)}."
        )
    return given.to(W)
