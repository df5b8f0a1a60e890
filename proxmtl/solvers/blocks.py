"""Protocol of the problems of PALM and PANOC, whose parameter is a tuple of blocks."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.base import ProblemProtocol

__all__ = ["BlockProblem", "Blocks", "check_blocks"]

Blocks = tuple[Tensor, ...]


class BlockProblem(ProblemProtocol, Protocol):
    """``min f(x_1, ..., x_p) + sum_j g_j(x_j)`` with ``f`` smooth and ``g_j`` proximable.

    Steps and curvatures are tensors that broadcast with their block: one number for the block, or
    one for each part of the block over which ``g_j`` is separable.
    """

    def check_point(self, blocks: Blocks, /) -> None:
        """Raise ``ValueError`` unless the blocks fit the problem."""

    def smooth_value(self, blocks: Blocks, /) -> float:
        """Value of ``f``; costs half a pass."""

    def smooth_value_and_grads(self, blocks: Blocks, /) -> tuple[float, Blocks]:
        """Value of ``f`` and all its partial gradients; costs one pass."""

    def penalty(self, blocks: Blocks, /) -> float:
        """Value of ``sum_j g_j``."""

    def prox(self, blocks: Blocks, steps: Blocks, /) -> tuple[Blocks, float]:
        """Prox of each block with its own steps, and the penalty there."""

    def curvatures(self, blocks: Blocks, /) -> Blocks:
        """Diagonal majoriser of the Hessian of ``f`` in each block, the others held fixed; > 0."""


def check_blocks(solver: str, problem: object) -> None:
    """Raise ``UnsupportedError`` unless the problem's parameter is a tuple of blocks."""
    if not hasattr(problem, "smooth_value_and_grads"):
        raise UnsupportedError(
            f"{solver} takes a problem in blocks such as LatentProblem, not a "
            f"{type(problem).__name__}; use FISTA or SPGD."
        )
