"""Whether features are correlated, by a few of their rows."""

from __future__ import annotations

import math

import torch

from proxmtl.designs import SharedDesign
from proxmtl.numerics import column_moments

__all__ = ["are_correlated"]

ROWS = 128
"""Of the features, evenly spaced, that are looked at."""
ABOVE = 2.0
"""Leading eigenvalue, relative to that of independent features, from which on they count."""


def are_correlated(design: SharedDesign) -> bool:
    """Whether the leading direction of dense features stands out, so that plain steps are short.

    The largest eigenvalue of the inner products of some rows, centred if there is an intercept, is
    compared with the one that independent features of equal variance have, the edge of the law of
    Marchenko and Pastur (1967). What is found is kept with the design.
    """
    found: bool | None = design.kept.get("correlated")
    if found is None:
        found = design.kept["correlated"] = _stands_out(design)
    return found


def _stands_out(design: SharedDesign) -> bool:
    X = design.X[:: max(1, len(design.X) // ROWS)][:ROWS].to(torch.float64)
    if design.intercept:
        X = X - column_moments(X).mean
    X = X / X.abs().amax().clamp_min(torch.finfo(X.dtype).tiny)
    inner = X @ X.T
    edge = float(inner.trace()) / len(X) * (1 + math.sqrt(len(X) / X.shape[1])) ** 2
    return bool(torch.linalg.eigvalsh(inner)[-1] > ABOVE * edge)
