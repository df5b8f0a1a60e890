"""Total variation along an axis, and with an L1 norm the fused lasso: both exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.kernels import chain_prox
from proxmtl.numerics import unit_of
from proxmtl.regularizers.base import Regularizer, combination, norm_ratio
from proxmtl.regularizers.composed import Composed
from proxmtl.regularizers.l1 import L1

__all__ = ["FusedLasso", "TotalVariation"]


@dataclass(frozen=True)
class TotalVariation(Composed):
    """``R(W) = strength * sum |w_{i+1} - w_i|`` along one axis, the order of the items given.

    The solution is piecewise constant: neighbours are fused, exactly. The prox is direct and takes
    time linear in the items (Johnson's dynamic programme, :func:`proxmtl.kernels.chain_prox`). Not
    a norm but a gauge: constants are free, so there is a duality gap only beside a
    :class:`SquaredFrobenius` or an :class:`L1` term; with the latter it merges into
    :class:`FusedLasso`.

    Dual norm: ``max_i |u_1 + ... + u_i| / strength`` where each slice of ``U`` sums to zero (to a
    relative 1e-8), else infinite.

    Parameters
    ----------
    strength : float
        ``>= 0``.
    axis : int

    References
    ----------
    Rudin, Osher, Fatemi, 1992; Johnson, "A dynamic programming algorithm for the fused lasso and
    L0-segmentation", JCGS 2013.
    """

    strength: float
    axis: int = -1
    is_norm = True
    exact_prox = True
    exact_kkt = True
    value_vmaps = True
    is_slicewise = True

    @property
    def inner(self) -> L1:
        return L1(self.strength)

    def forward(self, W: Tensor) -> Tensor:
        """Differences of neighbours: one entry less on the axis.

        Raises
        ------
        ValueError
            If ``W`` has no such axis.
        """
        if not -W.ndim <= self.axis < W.ndim:
            raise ValueError(f"W: shape {tuple(W.shape)} has no axis {self.axis}; check the axis.")
        return W.diff(dim=self.axis)

    def transposed(self, Z: Tensor, like: Tensor) -> Tensor:
        shape = list(Z.shape)
        shape[self.axis] = 1
        end = Z.new_zeros(shape)
        return -torch.cat([end, Z, end], dim=self.axis).diff(dim=self.axis)

    def squared_operator_norm(self, W: Tensor) -> float:
        return 4.0

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        self.forward(W)  # raises if the shape does not fit
        if float(step) * self.strength == 0:
            return W.clone(), self.value(W)
        out, _ = chain_prox(W, self.strength, step=float(step), axis=self.axis)
        return out, self.value(out)

    def prox_gap(self, W: Tensor, step: float) -> float:
        return 0.0

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Exact: on each constant piece, the prox of its own total variation."""
        return _least(self, W, grad)

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        rows = U.to(torch.float64).movedim(self.axis, -1)
        sums = rows.cumsum(-1)
        largest = float(sums[..., :-1].abs().max()) if sums[..., :-1].numel() else 0.0
        if not rows.numel():
            return 0.0
        if math.isnan(float(rows.sum())):
            return math.nan
        if bool((sums[..., -1].abs() > 1e-8 * rows.abs().sum(-1)).any()):
            return math.inf
        return norm_ratio(largest, self.strength)

    def active(self, W: Tensor) -> Tensor:
        """Entries that differ from both neighbours."""
        if self.strength == 0 or not W.numel():
            return torch.full_like(W, fill_value=True, dtype=torch.bool)
        fused = self.forward(W) == 0
        end = torch.zeros_like(W.narrow(self.axis, 0, 1), dtype=torch.bool)
        left = torch.cat([end, fused], dim=self.axis)
        right = torch.cat([fused, end], dim=self.axis)
        return ~(left | right)


@dataclass(frozen=True)
class FusedLasso(Regularizer):
    """``R(W) = strength (l1_ratio ||W||_1 + (1 - l1_ratio) TV(W))``.

    The prox is that of the total variation, then the soft threshold: in this order the composition
    is exact. The dual norm comes from the prox, which is zero just where the step reaches it: a
    lower bound rises to it in Dinkelbach's iteration, and a step 1e-9 above certifies.

    Parameters
    ----------
    strength : float
        ``>= 0``.
    l1_ratio : float
        In [0, 1].
    axis : int
        The axis along which neighbours are fused.

    References
    ----------
    Tibshirani, Saunders, Rosset, Zhu, Knight, "Sparsity and smoothness via the fused lasso", 2005;
    Friedman, Hastie, Hoefling, Tibshirani, "Pathwise coordinate optimization", 2007 (prox).
    """

    strength: float
    l1_ratio: float
    axis: int = -1
    is_norm = True
    value_vmaps = True
    is_slicewise = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.l1_ratio <= 1:
            raise ValueError(f"l1_ratio: got {self.l1_ratio}; it must lie in [0, 1].")

    def is_coercive(self, W: Tensor) -> bool:
        return self.strength * self.l1_ratio > 0

    @property
    def l1(self) -> L1:
        """The L1 term, scaled."""
        return L1(self.strength * self.l1_ratio)

    @property
    def variation(self) -> TotalVariation:
        """The total variation, scaled."""
        return TotalVariation(self.strength * (1 - self.l1_ratio), self.axis)

    def value(self, W: Tensor) -> Tensor:
        return self.l1.value(W) + self.variation.value(W)

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        fused, _ = self.variation.prox(W, float(step))
        out, _ = self.l1.prox(fused, float(step))
        return out, self.value(out)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Exact: pieces that are zero leave what the prox of the sum leaves of the gradient."""
        zero = W == 0
        pull = self.l1.strength * torch.where(zero, 0.0, W / W.abs())
        rest = _least(self.variation, W, grad + pull)
        return torch.where(zero, self.l1.prox(rest, 1.0)[0], rest)

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        if math.isnan(float(U.sum())):
            return math.nan
        U = U.to(torch.float64)
        if not bool(U.any()):
            return 0.0
        unit = unit_of(U)
        if unit != 1:
            return unit * self.dual_norm(U / unit)
        if self.l1.strength == 0:
            return self.variation.dual_norm(U)
        x, low = U, 0.0
        for _ in range(100):
            low = max(float((U * x).sum()) / float(self.value(x)), low) * (1 + 1e-9)
            x, value = self.prox(U, low)
            if float(value) == 0:
                return low
        return self.l1.dual_norm(U)

    def active(self, W: Tensor) -> Tensor:
        return self.l1.active(W) & self.variation.active(W)


def _least(variation: TotalVariation, W: Tensor, grad: Tensor) -> Tensor:
    """Least element of ``grad`` plus the subdifferential of a total variation at ``W``.

    The subgradient is given at jumps and free within its bounds elsewhere: what remains on a
    constant piece is the prox of the piece's own total variation.
    """
    jumps = variation.forward(W)
    signs = torch.where(jumps == 0, 0.0, jumps / jumps.abs())  # keeps NaN
    pulled = grad + variation.transposed(variation.strength * signs, W)
    free = variation.strength * (jumps == 0).to(W.dtype)
    return chain_prox(pulled, free, axis=variation.axis)[0]


@combination(L1, TotalVariation)
def _merge(l1: L1, variation: TotalVariation) -> Regularizer | None:
    """Either alone if the other has no strength."""
    total = l1.strength + variation.strength
    if l1.strength == 0:
        return variation
    if variation.strength == 0:
        return l1
    return FusedLasso(total, l1.strength / total, variation.axis)


@combination(L1, FusedLasso)
def _add(l1: L1, both: FusedLasso) -> Regularizer | None:
    return _merge(L1(l1.strength + both.l1.strength), both.variation)
