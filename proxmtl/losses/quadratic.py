"""What losses with a piecewise quadratic conjugate share."""

from __future__ import annotations

import torch
from torch import Tensor

from proxmtl.losses.base import DualBlocks
from proxmtl.numerics import row_blocks
from proxmtl.ranks import ALONE, Ranks

__all__ = [
    "Quadratic",
    "best_bounded_scale",
    "best_quadratic_scale",
    "rounding_of_scores",
    "within",
]


class Quadratic:
    """What losses of curvature 0 or 1 share whose conjugate is ``u^2 / 2 + y u`` on a cone."""

    def bregman_error(self, scores: Tensor, weights: Tensor, value: float) -> float:
        """Only the scores' own rounding is left: second order in the machine precision."""
        del value
        return rounding_of_scores(scores, weights, 1.0)

    def dual_scale(
        self,
        blocks: DualBlocks,
        largest: float,
        offset: float = 0.0,
        *,
        ranks: Ranks = ALONE,
    ) -> float:
        """Maximise the concave quadratic ``s offset - sum (c phi)*(s u)`` over ``[0, largest]``."""
        squares, linear, _ = dual_sums(blocks, ranks)
        return best_quadratic_scale(offset - linear, squares, largest)


def dual_sums(blocks: DualBlocks, ranks: Ranks) -> tuple[float, float, float]:
    """Sums of ``u^2 / c`` and of ``y u`` over the observed labels, and the largest ``|u / c|``."""
    sums, steepest = torch.zeros(2, dtype=torch.float64), 0.0
    for u, y, c in blocks:
        observed = c > 0
        slopes = u / torch.where(observed, c, 1.0).to(u)
        sums[0] += (u * slopes).sum().item()
        sums[1] += (y.to(u) * u)[observed].sum().item()
        steepest = max(steepest, slopes.abs().max().item() if slopes.numel() else 0.0)
    squares, linear = ranks.total(sums).tolist()
    return squares, linear, ranks.largest(steepest)


def best_bounded_scale(
    blocks: DualBlocks,
    largest: float,
    offset: float,
    *,
    ranks: Ranks,
    curvature: float = 1.0,
    bound: float = 1.0,
) -> float:
    """Maximise the concave ``s offset - sum (c phi)*(s u)`` over ``[0, largest]``.

    The conjugate is ``phi*(u; y) = curvature u^2 / 2 + y u`` where it is finite, and it is infinite
    for ``|u| > bound``.
    """
    squares, linear, steepest = dual_sums(blocks, ranks)
    limit = bound / steepest if steepest > 0 else float("inf")
    return best_quadratic_scale(offset - linear, curvature * squares, largest, limit)


def best_quadratic_scale(
    linear: float, squares: float, largest: float, limit: float = float("inf")
) -> float:
    """Maximise the concave ``s linear - s^2 squares / 2`` over ``0 <= s <= min(largest, limit)``.

    Without a quadratic term, which means a dual point of 0, return 1 where that is allowed.
    """
    largest = min(largest, limit)
    if squares == 0:
        return min(1.0, largest)
    return min(max(linear / squares, 0.0), largest)


def rounding_of_scores(
    scores: Tensor, weights: Tensor, curvature: float, unit: float = 1.0
) -> float:
    """Error of a Bregman distance that is a sum of squares: second order in the precision.

    Only the rounding of the scores themselves is left, and of their distance to the points where
    the loss bends, which are about ``unit`` away from the label: ``eps (|z| + unit)`` each.
    """
    blocks = zip(row_blocks(scores), row_blocks(weights), strict=True)
    size = sum(float((c * (z.square() + unit**2)).sum()) for z, c in blocks)
    return curvature * size * torch.finfo(scores.dtype).eps ** 2


def within(values: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Whether values are in an interval, but for rounding, and the values clipped to it.

    A dual variable is divided by the weight that it was multiplied with, so one at the end of the
    domain may come back a rounding beyond it.
    """
    slack = 4 * torch.finfo(values.dtype).eps * max(abs(low), abs(high))
    return (values >= low - slack) & (values <= high + slack), values.clamp(low, high)
