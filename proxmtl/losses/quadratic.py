"""What losses with a piecewise quadratic conjugate share."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["best_quadratic_scale", "rounding_of_scores", "within"]


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
    size = float((weights * (scores.square() + unit**2)).sum())
    return curvature * size * torch.finfo(scores.dtype).eps ** 2


def within(values: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Whether values are in an interval, but for rounding, and the values clipped to it.

    A dual variable is divided by the weight that it was multiplied with, so one at the end of the
    domain may come back a rounding beyond it.
    """
    slack = 4 * torch.finfo(values.dtype).eps * max(abs(low), abs(high))
    return (values >= low - slack) & (values <= high + slack), values.clamp(low, high)
