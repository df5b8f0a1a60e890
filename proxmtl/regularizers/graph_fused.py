"""Fusion along the edges of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from proxmtl.regularizers.composed import Composed
from proxmtl.regularizers.l1 import L1
from proxmtl.regularizers.smoothed import SmoothedL1Image

__all__ = ["GraphFused"]


@dataclass(frozen=True)
class GraphFused(Composed):
    """``R(W) = strength * sum_k sum_e r_e |W[k, i_e] - sgn_e W[k, j_e]|``, edges ``(i_e, j_e)``.

    Items (tasks, for ``axis=-1``) that are joined are drawn to equal weights, or to opposite ones
    where the sign is -1. The prox has no closed form: it is iterative with its own gap; PDHG works
    on the edges directly, and SPGD on the smoothed penalty. For a chain of items
    :class:`TotalVariation` is exact.

    Parameters
    ----------
    edges : sequence of pairs of int
        Items from 0; no loops. Kept as tuples, as are weights and signs.
    strength : float
        ``>= 0``.
    weights : sequence of float, optional
        ``r_e >= 0``; default 1. Chen et al. take the absolute correlation of the tasks.
    signs : sequence of int, optional
        -1 or 1 each; default 1.
    axis : int
        The axis of the items.

    Raises
    ------
    ValueError
        If there is no edge, an edge joins an item with itself, a weight is negative or not finite,
        a sign is neither -1 nor 1, or the lengths disagree.

    References
    ----------
    Chen, Kim, Lin, Carbonell, Xing, "Graph-structured multi-task regression and an efficient
    optimization method for general fused lasso", 2010.
    """

    edges: Sequence[tuple[int, int]]
    strength: float
    weights: Sequence[float] | None = None
    signs: Sequence[int] | None = None
    axis: int = -1
    ends: Tensor = field(init=False, repr=False, compare=False)  # (2, edges)
    coefficients: Tensor = field(init=False, repr=False, compare=False)  # (2, edges)
    is_smoothable = True

    def __post_init__(self) -> None:
        super().__post_init__()
        ends = torch.as_tensor([tuple(edge) for edge in self.edges], dtype=torch.int64)
        if ends.ndim != 2 or ends.shape[1] != 2:
            raise ValueError(f"edges: got {list(self.edges)[:4]}; give at least one pair of items.")
        if bool((ends < 0).any()) or bool((ends[:, 0] == ends[:, 1]).any()):
            raise ValueError("edges: an edge joins two different items, counted from 0.")
        weights = torch.ones(len(ends), dtype=torch.float64)
        if self.weights is not None:
            weights = torch.as_tensor(self.weights, dtype=torch.float64)
        signs = torch.ones(len(ends), dtype=torch.float64)
        if self.signs is not None:
            signs = torch.as_tensor(self.signs, dtype=torch.float64)
        if weights.shape != (len(ends),) or signs.shape != (len(ends),):
            raise ValueError(
                f"weights and signs: shapes {tuple(weights.shape)} and {tuple(signs.shape)} for "
                f"{len(ends)} edges; give one of each per edge."
            )
        if not bool(((weights >= 0) & torch.isfinite(weights)).all()):
            raise ValueError("weights: must be finite and >= 0.")
        if not bool((signs.abs() == 1).all()):
            raise ValueError("signs: must be -1 or 1.")
        # tuples: what was checked can no longer be changed by the caller, and hashes
        object.__setattr__(self, "edges", tuple((i, j) for i, j in ends.tolist()))
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(weights.tolist()))
        if self.signs is not None:
            object.__setattr__(self, "signs", tuple(int(sign) for sign in signs.tolist()))
        object.__setattr__(self, "ends", ends.T.contiguous())
        object.__setattr__(self, "coefficients", torch.stack([weights, -weights * signs]))

    @property
    def inner(self) -> L1:
        return L1(self.strength)

    def forward(self, W: Tensor) -> Tensor:
        """Weighted differences, one entry an edge on the last axis.

        Raises
        ------
        ValueError
            If the axis of the items is shorter than the edges need.
        """
        rows = self._rows(W)
        ends, (first, second) = self.ends.to(W.device), self.coefficients.to(W)
        image: Tensor = rows[..., ends[0]] * first + rows[..., ends[1]] * second
        return image

    def transposed(self, Z: Tensor, like: Tensor) -> Tensor:
        ends, (first, second) = self.ends.to(Z.device), self.coefficients.to(Z)
        out = torch.zeros_like(self._rows(like), dtype=Z.dtype)
        out = out.index_add(-1, ends[0], Z * first).index_add(-1, ends[1], Z * second)
        return out.movedim(-1, self.axis)

    def dual_projection(self, Z: Tensor) -> Tensor:
        return Z.clamp(-self.strength, self.strength)

    def squared_operator_norm(self, W: Tensor) -> float:
        """``2 max_i sum_{e at i} r_e^2``, by Gershgorin's circles on ``K'K``."""
        squares = self.coefficients[0].square()
        per_item = torch.zeros(int(self.ends.max()) + 1, dtype=torch.float64)
        for end in self.ends:
            per_item.index_add_(0, end, squares)
        return 2 * float(per_item.max())

    def active(self, W: Tensor) -> Tensor:
        """Items with no edge of positive weight that is fused."""
        held = (self.forward(W) == 0) & (self.strength * self.coefficients[0].to(W) > 0)
        ends, marks = self.ends.to(W.device), held.to(W.dtype)
        count = torch.zeros_like(self._rows(W))
        for end in ends:
            count = count.index_add(-1, end, marks)
        return (count == 0).movedim(-1, self.axis)

    def smoothed(self, smoothness: float) -> SmoothedL1Image:
        return SmoothedL1Image(smoothness, self)

    def _rows(self, W: Tensor) -> Tensor:
        needed = int(self.ends.max()) + 1
        if not -W.ndim <= self.axis < W.ndim or W.shape[self.axis] < needed:
            raise ValueError(
                f"W: shape {tuple(W.shape)} does not have {needed} items on axis {self.axis}, as "
                "the edges need; check the edges or the axis."
            )
        return W.movedim(self.axis, -1)
