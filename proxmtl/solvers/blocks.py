"""What the block solvers (PALM, PANOC) need of a problem whose parameter is a tuple of blocks."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from proxmtl.solvers.base import Oracle

__all__ = ["BlockProblem", "Blocks", "scaled_norm"]

Blocks = tuple[Tensor, ...]


class BlockProblem(Oracle, Protocol):
    """``min f(x_1, ..., x_p) + sum_j g_j(x_j)``: smooth coupling, proximable blocks."""

    def check_point(self, blocks: Blocks, /) -> None:
        """Raise ``ValueError`` unless the blocks fit."""

    def smooth_value(self, blocks: Blocks, /) -> float:
        """``f``: half a pass."""

    def smooth_value_and_grads(self, blocks: Blocks, /) -> tuple[float, Blocks]:
        """``f`` and all partial gradients: one pass."""

    def penalty(self, blocks: Blocks, /) -> float:
        """``sum_j g_j``."""

    def prox(self, blocks: Blocks, steps: tuple[float, ...], /) -> tuple[Blocks, float]:
        """Prox of each block with its own step, and the penalty there."""

    def curvatures(self, blocks: Blocks, /) -> tuple[float, ...]:
        """Upper estimate of the Lipschitz constant of each partial gradient, others held fixed."""


def scaled_norm(differences: Blocks, steps: tuple[float, ...]) -> float:
    """``sqrt(sum_j ||d_j||^2 / step_j)``."""
    total = sum(float(torch.sum(d * d)) / step for d, step in zip(differences, steps, strict=True))
    return math.sqrt(total)
