"""Bounds on the expected number of false positives of stability selection."""

from __future__ import annotations

import math

__all__ = ["unimodal_bound", "worst_case_bound"]


def worst_case_bound(mean_selected: float, n_items: int, threshold: float) -> float:
    """``q^2 / ((2 threshold - 1) p)``, for a threshold in (1/2, 1].

    Meinshausen and Buehlmann 2010, Theorem 1; Shah and Samworth 2013, Theorem 1.
    """
    _check(threshold)
    return mean_selected**2 / ((2 * threshold - 1) * n_items)


def unimodal_bound(mean_selected: float, n_items: int, threshold: float, n_pairs: int) -> float:
    """``C(threshold, B) q^2 / p`` for unimodal frequencies of simultaneous selection.

    ``C = 1 / (2 (2 threshold - 1 - 1 / (2 B)))`` up to a threshold of 3/4, and
    ``4 (1 - threshold + 1 / (2 B)) / (1 + 1 / B)`` above. Where the first does not hold (a
    threshold too near to 1/2) the worst case is returned.

    Shah and Samworth 2013, Theorem 2.
    """
    _check(threshold)
    share = mean_selected / n_items
    if share > 1 / math.sqrt(3):
        raise ValueError(
            f"assume: {mean_selected:g} of {n_items} items are selected on a half; the unimodal "
            "bound needs a share of at most 0.577. Use a larger strength."
        )
    half = 1 / (2 * n_pairs)
    worst = worst_case_bound(mean_selected, n_items, threshold)
    if threshold > 0.75:
        factor = 4 * (1 - threshold + half) / (1 + 2 * half)
    elif threshold > min(0.5 + share**2, 0.5 + half + 0.75 * share**2):
        factor = 1 / (2 * (2 * threshold - 1 - half)) if 2 * threshold - 1 > half else math.inf
    else:
        return worst
    return min(worst, factor * mean_selected * share)


def _check(threshold: float) -> None:
    if not 0.5 < threshold <= 1:
        raise ValueError(f"threshold: got {threshold}; it must lie in (1/2, 1].")
