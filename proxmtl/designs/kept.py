"""Products with shared features that need not read all of them, or were made just before.

A solver, the certificate of its last point, and a solve with another penalty that starts from that
point ask for the same gradient. And a point with few non-zero rows needs few of the features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from proxmtl.designs.products import select_csr

__all__ = ["few_rows", "keep", "of_rows", "recalled"]

LARGE = 1 << 17
"""Features of at least so many numbers are worth a look at what is known: a product takes 50 µs."""
SPARSE = 16
"""A line of a cache is 8 numbers in float64, and one column of each row reads a whole line."""


def few_rows(X: Tensor, weights: Tensor) -> Tensor | None:
    """Non-zero rows of the weights of features, ascending, where they are few; else None."""
    if _entries(X) < LARGE or X.device.type != "cpu" or _recorded(weights):
        return None
    rows = torch.nonzero((weights != 0).any(1)).flatten()
    return rows if SPARSE * len(rows) <= len(weights) else None


def of_rows(X: Tensor, XT: Tensor | None, weights: Tensor, rows: Tensor) -> Tensor:
    """``X`` times weights whose other rows are zero; ``XT`` is the transpose of sparse features."""
    own = weights[rows]
    if XT is None:
        return X[:, rows].to(own.dtype) @ own
    part = select_csr(XT, rows, 0)
    each = own.repeat_interleave(part.crow_indices().diff(), 0)
    terms = each.mul_(part.values().to(own.dtype)[:, None])
    return own.new_zeros(X.shape[0], own.shape[1]).index_add_(0, part.col_indices(), terms)


def recalled(kept: dict[str, Any], residuals: Tensor) -> Tensor | None:
    """``X'`` times residuals, if these are the last ones, to the bit; a copy."""
    last: tuple[Tensor, Tensor] | None = kept.get("adjoint")
    if last is None or _recorded(residuals) or last[0].dtype != residuals.dtype:
        return None
    return last[1].clone() if torch.equal(last[0], residuals) else None


def keep(kept: dict[str, Any], X: Tensor, residuals: Tensor, found: Tensor) -> None:
    """Keep ``X'`` times residuals in place of the one before, unless it takes the memory of X."""
    size = _entries(X)
    small = residuals.numel() + found.numel() <= size
    # on another device the look at the numbers would wait
    if size >= LARGE and small and X.device.type == "cpu" and not _recorded(residuals):
        kept["adjoint"] = residuals.clone(), found.clone()


def _entries(X: Tensor) -> int:
    return X.values().numel() if X.layout == torch.sparse_csr else X.numel()


def _recorded(values: Tensor) -> bool:
    """Whether gradients of what is computed from the values are asked for, zero rows included."""
    return torch.is_grad_enabled() and values.requires_grad
