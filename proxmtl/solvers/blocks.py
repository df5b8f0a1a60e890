"""What the block solvers (PALM, PANOC) need of a problem whose parameter is a tuple of blocks."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.base import ProblemProtocol

__all__ = ["BlockProblem", "Blocks", "check_blocks"]

Blocks = tuple[Tensor, ...]


class BlockProblem(ProblemProtocol, Protocol):
    """``min f(x_1, ..., x_p) + sum_j g_j(x_j)``: smooth coupling, proximable blocks.

    Steps and curvatures are tensors that broadcast with their block: one number for the block, or
    one for each part along which ``g_j`` separates.
    """

    def check_point(self, blocks: Blocks, /) -> None:
        """Raise ``ValueError`` unless the blocks fit."""

    def smooth_value(self, blocks: Blocks, /) -> float:
        """``f``: half a pass."""

    def smooth_value_and_grads(self, blocks: Blocks, /) -> tuple[float, Blocks]:
        """``f`` and all partial gradients: one pass."""

    def penalty(self, blocks: Blocks, /) -> float:
        """``sum_j g_j``."""

    def prox(self, blocks: Blocks, steps: Blocks, /) -> tuple[Blocks, float]:
        """Prox of each block with its own steps, and the penalty there."""

    def curvatures(self, blocks: Blocks, /) -> Blocks:
        """Diagonal majoriser of each block's own Hessian of ``f``, the others held fixed; > 0."""


def check_blocks(solver: str, problem: object) -> None:
    """Raise ``UnsupportedError`` unless the problem's parameter is a tuple of blocks."""
    if not hasattr(problem, "smooth_value_and_grads"):
        raise UnsupportedError(
            f"{solver} takes a problem in blocks such as LatentProblem, not a "
            f"{type(problem).__name__}; use FISTA or SPGD."
        )
