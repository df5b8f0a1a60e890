"""Group prox, one fibre, one group, one number at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxmtl.kernels.dispatch import always

from .loops import (
    along,
    members_of,
    norm,
    number,
    shrink_factor,
    soft,
    to_float64,
    weights_of,
    written,
)

if TYPE_CHECKING:
    import torch

    from proxmtl.kernels.ops.group_shrink import GroupShrinkArgs

supports = always


def run(args: GroupShrinkArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft-threshold every entry, then shrink every group; value of the penalty there."""
    array = to_float64(args.V)
    groups = members_of(args.groups)
    weights = weights_of(args.weights, len(groups))
    value = 0.0
    for fibre in along(array, args.axis):
        for item in range(fibre.shape[0]):
            fibre[item] = soft(float(fibre[item]), args.step * args.l1)
        for group, weight in zip(groups, weights, strict=True):
            entries = [float(fibre[item]) for item in group]
            factor = shrink_factor(norm(entries), args.step * weight)
            for item in group:
                fibre[item] *= factor
            value += weight * norm([float(fibre[item]) for item in group])
        value += args.l1 * sum(abs(float(entry)) for entry in fibre)
    return written(array, args.V, args.out), number(value, args.V)
