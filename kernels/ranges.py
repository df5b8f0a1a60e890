"""Euclidean norms of numbers whose squares would overflow or underflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


class Range(NamedTuple):
    """Norms that a plain sum of squares gives to full accuracy, and powers of two beyond it."""

    low: float
    """A smaller norm may have lost squares to underflow, down to all of them."""
    high: float
    """A larger norm may have lost squares to overflow."""
    up: float
    """Brings every norm below ``low``, denormal numbers included, into the range."""
    down: float
    """Brings every norm above ``high`` into the range."""


RANGES = {
    torch.float64: Range(2.0**-450, 2.0**450, 2.0**700, 2.0**-700),
    torch.float32: Range(2.0**-50, 2.0**50, 2.0**90, 2.0**-90),
}


def norms_in_range(
    entries: torch.Tensor, plain: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Norms that ``plain`` takes of entries, computed with scaled entries where it loses them.

    As in Blue's algorithm a norm below the range is taken of entries times a large power of two,
    one above it of entries times a small one. Entries that are then lost are below the rounding
    of the norm.

    Parameters
    ----------
    entries : Tensor
        float64 or float32.
    plain : callable
        Square roots of sums of squares of the entries, of any shape; homogeneous.

    References
    ----------
    Blue, "A portable Fortran program to find the Euclidean norm of a vector", 1978.
    """
    low, high, up, down = RANGES[entries.dtype]
    norms = plain(entries)
    look = not entries.is_cuda  # there a look at the numbers waits for the device
    if look and norms.numel():
        least, most = norms.detach().aminmax()
        if float(least) >= low and float(most) <= high:  # not where one is NaN
            return norms
    small, large = norms < low, norms > high
    if not look or (bool(small.any()) and _loses_squares(entries, low)):
        norms = torch.where(small, plain(entries * up) / up, norms)
    if not look or bool(large.any()):
        norms = torch.where(large, plain(entries * down) / down, norms)
    return norms


def _loses_squares(entries: torch.Tensor, low: float) -> bool:
    """Whether an entry other than zero is so small that its square may be inexact."""
    sizes = entries.detach().abs()
    return bool(((sizes > 0) & (sizes < low)).any())
