"""The threshold that projections on simplices and L1 balls share."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["simplex_threshold"]


def simplex_threshold(rows: Tensor, radius: float | Tensor) -> Tensor:
    """``theta`` with ``sum_i max(rows_i - theta, 0) = radius`` for each row, shape (n, 1).

    ``max(row - theta, 0)`` is then the projection of the row on the simplex of that size. Entries
    of ``-inf`` take no part. By sorting, O(m log m) a row.

    Parameters
    ----------
    rows : Tensor, shape (n, m)
    radius : float or Tensor
        ``> 0``.

    References
    ----------
    Held, Wolfe, Crowder, "Validation of subgradient optimization", 1974.
    """
    descending = torch.sort(rows, dim=1, descending=True).values
    counts = torch.arange(1, rows.shape[1] + 1, dtype=rows.dtype, device=rows.device)
    levels = (descending.cumsum(1) - radius) / counts
    # the first always counts, though rounding may not show it for a tiny radius
    kept = (descending > levels).sum(1, keepdim=True).clamp_min(1)
    return levels.gather(1, kept - 1)
