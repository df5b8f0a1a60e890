"""Checks of feature matrices, in blocks of rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proxmtl.designs.base import BLOCK_ELEMENTS
from proxmtl.ranks import ALONE
from proxmtl.targets import Targets

__all__ = ["check_features", "check_finite", "check_shape", "check_undivided", "consecutive"]


def check_features(name: str, X: Tensor) -> None:
    """Raise ``ValueError`` unless a dense feature matrix (N, D) is real, non-empty and finite."""
    check_shape(name, X)
    check_finite(name, X)


def check_shape(name: str, X: Tensor) -> None:
    """Raise ``ValueError`` unless the features are a real, non-empty matrix (N, D)."""
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(
            f"{name}: expected a matrix (samples, features) with at least one of each, saw shape "
            f"{tuple(X.shape)}."
        )
    if X.is_complex():
        raise ValueError(f"{name}: is complex; give real numbers.")


def check_undivided(targets: Targets) -> None:
    """Raise ``ValueError`` if labels are divided among ranks, of which a design knows nothing."""
    if targets.ranks is not ALONE:
        raise ValueError(
            "labels: are divided among ranks, and the features are not; make a ShardedDesign of "
            "them."
        )


def check_finite(name: str, X: Tensor, advice: str = "drop or impute such samples") -> None:
    """Raise ``ValueError`` at the first NaN or infinite value of a dense matrix."""
    for block in torch.split(X, max(1, BLOCK_ELEMENTS // X.shape[1])):
        # a value that is not finite makes the sum so; but finite values may overflow it, too
        if not math.isfinite(float(block.sum())) and not bool(torch.isfinite(block).all()):
            row, column = torch.nonzero(~torch.isfinite(block))[0].tolist()
            raise ValueError(
                f"{name}: not finite ({block[row, column].item()}, first in feature column "
                f"{column}); {advice}."
            )


def consecutive(index: Tensor) -> slice | Tensor:
    """Convert an ascending index without gaps to a slice, which selects a view and not a copy."""
    if len(index) and int(index[-1]) - int(index[0]) + 1 == len(index):
        return slice(int(index[0]), int(index[-1]) + 1)
    return index
