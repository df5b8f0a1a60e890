"""Vectorised norms of groups along the middle of (outer, n, inner)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.fibres import accumulation_dtype
from proxmtl.kernels.ranges import norms_in_range

if TYPE_CHECKING:
    from proxmtl.kernels.group_index import GroupIndex


def wide(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """Tensor as (outer, n, inner) in its accumulation dtype."""
    start, stop = tensor.shape[:axis].numel(), tensor.shape[axis + 1 :].numel()
    return tensor.to(accumulation_dtype(tensor)).reshape(start, tensor.shape[axis], stop)


def group_norms(blocks: torch.Tensor, groups: GroupIndex) -> torch.Tensor:
    """Euclidean norm of each group of each fibre, (outer, G, inner); none over- or underflows."""
    return norms_in_range(blocks, lambda scaled: _plain_norms(scaled, groups))


def _plain_norms(blocks: torch.Tensor, groups: GroupIndex) -> torch.Tensor:
    outer, n, inner = blocks.shape
    _, indices, owner = groups.on(blocks.device)
    if groups.uniform_size:
        members = blocks if groups.tiles(n) else blocks[:, indices]
        pieces = members.reshape(outer, groups.n_groups, groups.uniform_size, inner)
        norms: torch.Tensor = torch.linalg.vector_norm(pieces, dim=2)
        return norms
    squares = blocks.square()
    if not groups.tiles(n):
        squares = squares[:, indices]
    # one addition after another: float32 would lose the digits of a long group
    sums = squares.new_zeros(outer, groups.n_groups, inner, dtype=torch.float64)
    return sums.index_add_(1, owner, squares.to(torch.float64)).sqrt_().to(blocks.dtype)


def shrink_factors(norms: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """max(0, 1 - threshold / norm), 1 where the threshold is 0; NaN where the norm is."""
    factors = (1.0 - thresholds / norms).clamp_(min=0.0)
    return torch.where(thresholds == 0, 1.0, factors)


def spread(factors: torch.Tensor, blocks: torch.Tensor, groups: GroupIndex) -> torch.Tensor:
    """Blocks with each member scaled by the factor of its group, for disjoint groups."""
    outer, n, inner = blocks.shape
    if groups.uniform_size and groups.tiles(n):
        pieces = blocks.reshape(outer, groups.n_groups, groups.uniform_size, inner)
        return (pieces * factors.unsqueeze(2)).reshape(outer, n, inner)
    _, indices, owner = groups.on(blocks.device)
    scales = factors[:, owner]
    if not groups.tiles(n):
        scales = factors.new_ones(outer, n, inner).index_copy_(1, indices, scales)
    return blocks * scales


def weighted_total(norms: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum over fibres and groups of weight times norm, in float64."""
    return (norms.to(torch.float64) * weights).sum()


def column(weights: torch.Tensor) -> torch.Tensor:
    """Weights (G,) or (1,) as (G, 1) or (1, 1) in float64, which holds them times a step."""
    return weights.to(torch.float64).unsqueeze(1)


def delivered(blocks: torch.Tensor, like: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
    """Blocks in the shape and dtype of a tensor, or in ``out``."""
    if out is not None:
        return out.copy_(blocks.reshape(like.shape))
    return torch.empty_like(like).copy_(blocks.reshape(like.shape))
