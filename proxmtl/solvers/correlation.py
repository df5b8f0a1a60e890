"""Whether features are correlated, by a few of their rows."""

from __future__ import annotations

import math

import torch

from proxmtl.designs import SharedDesign
from proxmtl.numerics import column_moments

__all__ = ["are_correlated"]

ROWS = 128
"""Of the features, evenly spaced, that are looked at."""
COLUMNS = 1 << 13
"""Of these rows, that are widened to float64 at once: 8 MiB."""
ABOVE = 2.0
"""Leading eigenvalue, relative to that of independent features, from which on they count."""


def are_correlated(design: SharedDesign) -> bool:
    """Whether the leading direction of dense features stands out, so that plain steps are short.

    The largest eigenvalue of the inner products of some rows, centred if there is an intercept and
    scaled to unit norms, so that no single row decides, is compared with the one that independent
    features of equal variance have, the edge of the law of Marchenko and Pastur (1967). What is
    found is kept with the design.
    """
    found: bool | None = design.kept.get("correlated")
    if found is None:
        found = design.kept["correlated"] = _stands_out(design)
    return found


def _stands_out(design: SharedDesign) -> bool:
    N, D = design.X.shape
    rows = torch.linspace(0, N - 1, min(N, ROWS), dtype=torch.float64).round().long()
    X = design.X[rows]
    peak = max(float(X.max()), -float(X.min()), torch.finfo(torch.float64).tiny)
    inner = torch.zeros(len(X), len(X), dtype=torch.float64)
    for columns in torch.split(X, COLUMNS, dim=1):
        block = columns.to(torch.float64)
        if design.intercept:
            block = block - column_moments(block).mean
        block = block / peak
        inner.addmm_(block, block.T)
    norms = inner.diagonal().sqrt()
    inner /= torch.where(norms > 0, norms, 1.0)
    inner /= torch.where(norms > 0, norms, 1.0)[:, None]
    level = float((norms > 0).sum()) / len(X)
    edge = level * (1 + math.sqrt(len(X) / D)) ** 2
    return bool(torch.linalg.eigvalsh(inner)[-1] > ABOVE * edge)
