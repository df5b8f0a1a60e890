"""Nesterov's smoothing of group norms, one group at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxmtl.kernels.dispatch import always
from proxmtl.kernels.ops.smoothed_group_grad import SmoothedGroup

from .loops import along, members_of, norm, number, to_float64, weights_of, written

if TYPE_CHECKING:
    from proxmtl.kernels.ops.smoothed_group_grad import SmoothedGroupArgs

supports = always


def run(args: SmoothedGroupArgs) -> SmoothedGroup:
    """Maximise over the dual block by block: α = projection of w s / ν on the unit ball."""
    array = to_float64(args.V)
    with np.errstate(invalid="ignore"):
        grad = 0.0 * array  # an item in no group has derivative 0, or NaN where it isn't finite
    groups = members_of(args.groups)
    weights = weights_of(args.weights, len(groups))
    value = penalty = dual_sqnorm = 0.0
    for fibre, slope in zip(along(array, args.axis), along(grad, args.axis), strict=True):
        for group, weight in zip(groups, weights, strict=True):
            image = [weight * float(fibre[item]) for item in group]
            length = norm(image)
            reach = length if not length <= args.smoothness else args.smoothness  # NaN too
            alpha = [entry / reach for entry in image]
            square = sum(entry * entry for entry in alpha)
            product = sum(a * c for a, c in zip(alpha, image, strict=True))
            value += product - args.smoothness / 2 * square
            penalty += length
            dual_sqnorm += square
            for item, entry in zip(group, alpha, strict=True):
                slope[item] += weight * entry
    return SmoothedGroup(
        number(value, args.V),
        written(grad, args.V, args.out),
        number(penalty, args.V),
        number(dual_sqnorm, args.V),
    )
