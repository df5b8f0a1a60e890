"""Derivatives of the proximal operations; at a kink, the one of the side where the prox is 0."""

from __future__ import annotations

import torch

from proxmtl.kernels.group_index import GroupIndex

from .segments import column, group_norms, shrink_factors, spread, wide
from .soft_threshold import soft


def soft_threshold_backward(
    V: torch.Tensor,
    weights: torch.Tensor,
    step: float,
    result_grad: torch.Tensor,
    value_grad: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients with respect to V and to the weights, broadcast to V's shape."""
    wide_v = V.to(torch.float64)
    each = weights.to(torch.float64)
    thresholds = step * each
    alive = ~(wide_v.abs() <= thresholds) | (thresholds == 0)
    sign = wide_v.sign()
    incoming = torch.where(alive, result_grad.to(torch.float64) + value_grad * each * sign, 0.0)
    magnitude = soft(wide_v, thresholds).abs()
    return incoming.to(V.dtype), value_grad * magnitude - step * sign * incoming


def group_shrink_backward(
    V: torch.Tensor,
    groups: GroupIndex,
    weights: torch.Tensor,
    numbers: tuple[float, int, float],
    grads: tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients with respect to V and to each group's weight.

    With u = soft(v), n = ‖u_g‖, t = step w_g and factor f = 1 - t / n of an active group, the
    Jacobian of its shrinkage is f I + (t / n³) u uᵀ.
    """
    step, axis, l1 = numbers
    result_grad, value_grad = grads
    wide_v = V.to(torch.float64)
    blocks = wide(wide_v, axis)
    alive = ~(blocks.abs() <= step * l1) if l1 and step else torch.ones_like(blocks).bool()
    u = soft(blocks, step * l1)
    each = column(weights)
    thresholds = step * each
    norms = group_norms(u, groups)
    factors = shrink_factors(norms, thresholds)
    active = (factors != 0) & (norms != 0)
    inverse = torch.where(active, 1.0 / torch.where(norms == 0, 1.0, norms), 0.0)
    shrunk = spread(factors, u, groups)
    incoming = wide(result_grad.to(torch.float64), axis)
    incoming = incoming + value_grad * l1 * shrunk.sign()
    directions = _covered(spread(inverse, u, groups), groups)
    incoming = incoming + value_grad * spread(each.expand_as(norms), directions, groups)
    along = _group_sums(directions * incoming, groups)
    through = spread(factors, incoming, groups)
    through = through + spread(thresholds * inverse * along, directions, groups)
    gradient = torch.where(alive, through, 0.0).reshape(V.shape).to(V.dtype)
    lengths = value_grad * (norms * factors) - step * along
    return gradient, lengths.sum((0, 2))


def _group_sums(blocks: torch.Tensor, groups: GroupIndex) -> torch.Tensor:
    _, indices, owner = groups.on(blocks.device)
    outer, _, inner = blocks.shape
    return blocks.new_zeros(outer, groups.n_groups, inner).index_add_(1, owner, blocks[:, indices])


def _covered(blocks: torch.Tensor, groups: GroupIndex) -> torch.Tensor:
    """Blocks with zeros at items in no group."""
    loose = groups.uncovered(blocks.shape[1]).to(blocks.device)
    return blocks.index_fill(1, loose, 0.0) if loose.numel() else blocks
