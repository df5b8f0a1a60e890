"""The penalties of the factored problem: values, in total and by latent, and the prox."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proxmtl.latent.parts import Parts
from proxmtl.regularizers import L1, GroupL2, OverlappingGroupL2, SquaredFrobenius
from proxmtl.solvers.blocks import Blocks

__all__ = ["JointPenalties"]


class JointPenalties:
    """The penalties of :class:`proxmtl.LatentProblem`, which do not depend on the data."""

    group_norm: GroupL2 | OverlappingGroupL2
    l1: L1
    ridge: SquaredFrobenius
    own: SquaredFrobenius | None

    if TYPE_CHECKING:
        parts: Callable[[Blocks], Parts]
        blocks: Callable[[Parts], Blocks]

    def penalty(self, blocks: Blocks) -> float:
        L, S, _, own = self.parts(blocks)
        value = self.factor_penalty(L, S)
        return value if self.own is None or own is None else value + float(self.own.value(own))

    def factor_penalty(self, L: Tensor, S: Tensor) -> float:
        """Sum of the penalties on L and S."""
        return float(self.group_norm.value(S) + self.l1.value(L) + self.ridge.value(L))

    def row_penalties(self, S: Tensor) -> Tensor:
        """Group norm of each row of S, shape (K,), float64."""
        layout = self.group_norm.layout
        norms = layout.norms(S).to(torch.float64)
        return self.group_norm.strength * norms @ layout.weights(norms)

    def latent_penalties(self, L: Tensor, S: Tensor) -> Tensor:
        """Penalty of each latent (its column of L and its row of S), shape (K,), float64."""
        columns = L.to(torch.float64)
        of_L = self.l1.strength * columns.abs().sum(0) + self.ridge.strength * columns.square().sum(
            0
        )
        return self.row_penalties(S) + of_L

    def prox(self, blocks: Blocks, steps: Blocks) -> tuple[Blocks, float]:
        L, S, bias, own = self.parts(blocks)
        shrink = 1 + 2 * steps[0] * self.ridge.strength
        L, _ = self.l1.prox(L / shrink, steps[0] / shrink)
        # norms are homogeneous, prox_{t R}(v) = t prox_R(v / t), so each row can have its own step
        S, _ = self.group_norm.prox(S / steps[1], 1.0)
        S = S * steps[1]
        if self.own is not None and own is not None:
            own = own / (1 + 2 * steps[-1] * self.own.strength)
        out = self.blocks(Parts(L, S, bias, own))
        return out, self.penalty(out)
