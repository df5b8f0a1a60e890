"""Latent group norm: supports that are unions of groups, without duplicated columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.numerics import FAR, unit_of
from proxmtl.regularizers.base import Regularizer
from proxmtl.regularizers.group_norm import GroupNorm

__all__ = ["LatentOverlapGroupL2", "Parts"]


@dataclass(frozen=True)
class Parts:
    """A decomposition ``x = sum_g v^g`` of each slice with its certificate.

    Attributes
    ----------
    parts : Tensor, shape (slices, memberships)
        ``v^g``: one vector per group.
    dual : Tensor, shape (slices, items)
        ``u`` with ``||u_g|| <= radius_g``.
    gap : float
        Of all slices together.
    """

    parts: Tensor
    dual: Tensor
    gap: float


@dataclass(frozen=True)
class LatentOverlapGroupL2(GroupNorm):
    """``R(S) = strength * sum_k min { sum_g w_g ||v^g||_2 : sum_g v^g = S[k], v^g zero off g }``.

    The norm for supports that are *unions* of groups; with :class:`OverlappingGroupL2` they are
    complements of unions. It equals disjoint groups on duplicated columns, summed; no column is
    duplicated here. The prox is ``v`` minus its projection on the dual ball, and the value itself
    is a minimisation: both are solved to a certified gap by :func:`decompose`, all slices at once,
    on the CPU and in float64. Dual norm, in closed form: ``max ||U[k, g]|| / (strength w_g)``.

    Entries of a slice that lie twelve orders of magnitude apart leave the value six digits.

    Parameters
    ----------
    groups : Groups
        Every item in at least one of them, all weights positive.
    strength : float
        ``>= 0``.
    axis : int
        The grouped axis.
    gap : float
        Relative accuracy of prox and value: the gap sought is ``gap / 2`` of the smaller of
        ``||v||^2`` and ``sum_g radius_g ||v_g||``.

    Raises
    ------
    ValueError
        If an item is in no group or a weight is zero.

    References
    ----------
    Jacob, Obozinski, Vert, "Group lasso with overlap and graph lasso", ICML 2009; Obozinski, Jacob,
    Vert, "Group lasso with overlaps: the latent group lasso approach", 2011.
    """

    groups: Groups
    strength: float
    axis: int = -1
    gap: float = 1e-14
    exact_prox = False
    has_curvature = False
    is_smoothable = False
    smoothed = Regularizer.smoothed

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gap > 0:
            raise ValueError(f"gap: got {self.gap}; it must be > 0.")
        if self.groups.uncovered:
            raise ValueError(
                f"groups: items {self.groups.uncovered[:8]} are in no group, so no decomposition "
                "reaches them; use groups.covering()."
            )
        if bool((self.groups.weights == 0).any()):
            raise ValueError("groups: a weight is zero; leave out the penalty of those items.")

    def value(self, W: Tensor) -> Tensor:
        """Upper end of the certified bracket, relative to which the gap is ``gap / 2``."""
        rows, _ = self.layout.rows(W)
        if self.strength == 0:
            return W.new_zeros(())
        radius = self.strength * self.groups.weights
        found = self.decomposition(rows.detach(), radius, curvature=0.0)
        value = (self.layout.member_norms(found.parts) @ radius.to(found.parts)).sum().to(W.dtype)
        if W.requires_grad:  # the dual point is the gradient
            value = value + ((rows - rows.detach()) * found.dual.to(W)).sum()
        return value

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        rows, restore = self.layout.rows(W)
        scale = float(step) * self.strength
        if scale == 0:
            return W.clone(), self.value(W)
        found = self.decomposition(rows, scale * self.groups.weights, curvature=1.0)
        norms = self.layout.member_norms(found.parts)
        value = self.strength * (norms @ self.layout.weights(norms)).sum()
        out = self.layout.scatter(found.parts, self.groups.n_items)
        return restore(out.to(W.dtype)), value.to(W.dtype)

    def prox_gap(self, W: Tensor, step: float) -> float:
        if step * self.strength == 0:
            return 0.0
        radius = step * self.strength * self.groups.weights
        return self.decomposition(self.layout.rows(W)[0], radius, curvature=1.0).gap

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Exact: the subgradient is known on the groups in use, and projected elsewhere."""
        rows, restore = self.layout.rows(W)
        grads, _ = self.layout.rows(grad)
        if self.strength == 0:
            return grad.clone()
        radius = self.strength * self.groups.weights
        found = self.decomposition(rows, radius, curvature=0.0)
        _, group_of = self.layout.indices(W.device)
        n_items = self.groups.n_items
        norms = self.layout.member_norms(found.parts)
        used = (norms > 0).to(norms)
        fixed = self.layout.scatter(used[:, group_of], n_items) > 0
        pull = torch.where(fixed, found.dual, 0.0)
        left = radius.to(norms).square() - self.layout.norms(pull).square()
        floor = torch.finfo(norms.dtype).eps * radius.to(norms)  # the solver takes positive radii
        free = torch.where(fixed, 0.0, grads.to(torch.float64))
        apart = self.decomposition(free, torch.maximum(left, floor**2).sqrt(), curvature=1.0)
        residual = torch.where(fixed, grads + pull, self.layout.scatter(apart.parts, n_items))
        bad = ~torch.isfinite(rows).all(1, keepdim=True)
        return restore(torch.where(bad, torch.nan, residual).to(grad.dtype))

    def decomposition(self, rows: Tensor, radius: Tensor, *, curvature: float) -> Parts:
        """Parts of each slice's prox (curvature 1) or of the slice itself (curvature 0).

        Parameters
        ----------
        rows : Tensor, shape (slices, items)
        radius : Tensor, shape (groups,) or (slices, groups)
            ``> 0``.
        curvature : float
        """
        from proxmtl.regularizers.latent_interior import decompose  # noqa: PLC0415 - loads scipy

        v = rows.to("cpu", torch.float64).contiguous()  # sums depend on the strides
        radii = radius.to("cpu", torch.float64).expand(len(v), -1)
        scale = unit_of(v)
        if scale != 1:
            bounds = (radii / scale).clamp_max(FAR) if curvature else radii
            scaled = self.decomposition(v / scale, bounds, curvature=curvature)
            along = scale if curvature else 1.0
            return Parts(scaled.parts * scale, scaled.dual * along, scaled.gap * scale * along)
        sizes = v.norm(dim=1, keepdim=True)
        finite = torch.isfinite(sizes).flatten()
        norms = self.layout.norms(v)
        # where no group leaves its ball the projection is v itself
        live = finite & (norms > (radii if curvature else 0.0)).any(1)
        parts = v.new_zeros(len(v), len(self.groups.indices))
        dual = v.clone() if curvature else torch.zeros_like(v)
        parts[~finite], dual[~finite] = torch.nan, torch.nan
        chosen = torch.nonzero(live).flatten()
        gap = 0.0
        if len(chosen):
            unit = sizes[chosen] if curvature else torch.ones_like(sizes[chosen])
            size = sizes[chosen]
            scaled, bounds = v[chosen] / size, radii[chosen] / unit
            reach = (bounds * norms[chosen] / size).sum(1)
            lowest = float(reach.clamp_max(1.0).min() if curvature else reach.min())
            offset = torch.arange(len(chosen))[:, None]
            _, group_of = self.layout.indices(v.device)
            found = decompose(
                scaled.numpy().ravel(),
                (offset * len(self.groups) + group_of).numpy().ravel(),
                (offset * self.groups.n_items + self.groups.indices).numpy().ravel(),
                np.ascontiguousarray(bounds.numpy()).ravel(),
                curvature=curvature,
                tolerance=max(self.gap / 2, 4 * torch.finfo(v.dtype).eps) * lowest,
            )
            parts[chosen] = torch.from_numpy(found.parts).reshape(len(chosen), -1) * size
            dual[chosen] = torch.from_numpy(found.dual).reshape(len(chosen), -1) * unit
            gap = found.gap * float((size * unit).max())
        return Parts(parts.to(rows.device), dual.to(rows.device), gap)
