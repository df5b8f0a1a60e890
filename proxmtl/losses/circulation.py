"""Flows between classes made to conserve: what leaves a class is what enters it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["circulation"]

ROUNDING = 1e-13


def circulation(flows: Tensor) -> Tensor:
    """Non-negative factors (C, C) that turn flows ``A >= 0`` into a circulation ``A * factors``.

    All ones, up to rounding, where ``A`` is a circulation already. First
    ``1 - p_k + p_l`` with the potential ``p`` that solves the Laplacian system of ``A + A'``: the
    least change of the flows, in the metric ``1 / A``. If a factor is negative, or the system is
    too ill-conditioned to conserve, each pair of flows is cut to the smaller of the two, which
    always conserves.

    Parameters
    ----------
    flows : Tensor, shape (C, C)
        ``A[k, l]`` goes from class k to class l; the diagonal is ignored.
    """
    if not bool(torch.isfinite(flows).all()):
        return torch.full_like(flows, torch.nan)  # of a run that diverged
    wide = flows.to(torch.float64)
    wide = wide - torch.diag(wide.diagonal())
    joint = wide + wide.T
    laplacian = torch.diag(joint.sum(1)) - joint
    excess = wide.sum(0) - wide.sum(1)
    potential: Tensor = -torch.linalg.pinv(laplacian, hermitian=True) @ excess
    factors = 1 - potential[:, None] + potential[None, :]
    moved = wide * factors
    left = float((moved.sum(0) - moved.sum(1)).abs().max())
    if bool((factors[wide > 0] < 0).any()) or not left <= ROUNDING * float(wide.sum()):
        factors = torch.minimum(wide, wide.T) / torch.where(wide > 0, wide, 1.0)
    return factors.clamp_min(0).to(flows.dtype)
