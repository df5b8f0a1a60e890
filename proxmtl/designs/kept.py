"""Products with shared features that need not read all of them, or were made just before.

A solver, the certificate of its last point, and a solve with another penalty that starts from that
point ask for the same gradient. And a point with few non-zero rows needs few of the features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["few_rows", "keep", "recalled"]

LARGE = 1 << 17
"""Features of at least so many numbers are worth a look at what is known: a product takes 50 µs."""
SPARSE = 16
"""A line of a cache is 8 numbers in float64, and one column of each row reads a whole line."""


def few_rows(X: Tensor, weights: Tensor) -> Tensor | None:
    """Non-zero rows of the weights of dense features, ascending, where they are few; else None."""
    if X.layout != torch.strided or X.numel() < LARGE or X.device.type != "cpu":
        return None
    rows = torch.nonzero((weights != 0).any(1)).flatten()
    return rows if SPARSE * len(rows) <= len(weights) else None


def recalled(kept: dict[str, Any], residuals: Tensor) -> Tensor | None:
    """``X'`` times residuals, if these are the last ones, to the bit; a copy."""
    last: tuple[Tensor, Tensor] | None = kept.get("adjoint")
    if last is None or torch.is_grad_enabled() or last[0].dtype != residuals.dtype:
        return None
    return last[1].clone() if torch.equal(last[0], residuals) else None


def keep(kept: dict[str, Any], X: Tensor, residuals: Tensor, found: Tensor) -> None:
    """Keep ``X'`` times residuals in place of the one before, unless it takes the memory of X."""
    size = X.values().numel() if X.layout == torch.sparse_csr else X.numel()
    small = residuals.numel() + found.numel() <= size
    # where gradients are recorded a result belongs to a graph, and elsewhere a look would wait
    if size >= LARGE and small and X.device.type == "cpu" and not torch.is_grad_enabled():
        kept["adjoint"] = residuals.clone(), found.clone()
