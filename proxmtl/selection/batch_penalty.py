"""Penalties of many problems at once: one call where the prox allows it, else a loop."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer

__all__ = ["BatchPenalty"]


class BatchPenalty:
    """Prox of ``R_b + ridge_b ||.||^2`` for problems ``b`` stacked along dimension 1.

    A norm is homogeneous, ``prox_{t s R}(v) = t s prox_R(v / (t s))``, so problems that differ in
    strength and step only need one call of the prox at strength 1, where it treats slices along the
    added dimension on their own (:attr:`Regularizer.stacks`).

    Parameters
    ----------
    problems : sequence of Problem
        Their penalised parts have one shape (D, M).
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.ridge = torch.tensor([float(p.ridge) for p in problems], dtype=torch.float64)
        self.penalties = [p.regularizer for p in problems]
        self.strengths = torch.tensor(
            [0.0 if r is None else r.strength for r in self.penalties], dtype=torch.float64
        )
        self.unit = _common_unit(self.penalties)
        self.vectorised = self.unit is not None and self.unit.value_vmaps

    def select(self, keep: Tensor) -> BatchPenalty:
        """Return the penalties of some of the problems."""
        other = object.__new__(BatchPenalty)
        other.ridge, other.strengths = self.ridge[keep], self.strengths[keep]
        other.penalties = [self.penalties[b] for b in keep.tolist()]
        other.unit, other.vectorised = self.unit, self.vectorised
        return other

    def prox(self, V: Tensor, steps: Tensor) -> Tensor:
        """Prox of every slice ``V[:, b]`` (D, M) with its own step, float64 on the CPU."""
        shrink = 1 + 2 * steps * self.ridge
        if bool((self.ridge > 0).any()):
            V = V / shrink.to(V)[:, None]
        scaled = steps / shrink
        if self.unit is not None:
            thresholds = (scaled * self.strengths).to(V)[:, None]
            free = thresholds == 0
            safe = torch.where(free, 1.0, thresholds)
            out = self.unit.prox(V / safe, 1.0)[0] * safe
            # without strength what is left is the identity, or a projection
            return torch.where(free, self.unit.prox(V, 0.0)[0], out) if bool(free.any()) else out
        slices = zip(V.unbind(1), self.penalties, scaled.tolist(), strict=True)
        return torch.stack(
            [v if r is None else r.prox(v.contiguous(), step)[0] for v, r, step in slices], dim=1
        )

    def values(self, W: Tensor) -> Tensor:
        """Value of each problem's penalty at its slice, shape (B,)."""
        if self.unit is not None and self.vectorised:
            unit = torch.vmap(self.unit.value, in_dims=1)(W)
            # infinite outside a set, whatever the strength
            own = torch.where(torch.isinf(unit), unit, self.strengths.to(W) * unit)
        else:
            slices = zip(W.unbind(1), self.penalties, strict=True)
            own = torch.stack([W.new_zeros(()) if r is None else r.value(w) for w, r in slices])
        if bool((self.ridge > 0).any()):
            own = own + self.ridge.to(W) * W.square().sum((0, 2))
        return own


def _common_unit(penalties: Sequence[Regularizer | None]) -> Regularizer | None:
    """The norm at strength 1 that all penalties are multiples of, if its prox can be stacked."""
    first = penalties[0]
    if first is None or not first.is_norm:
        return None
    unit = first.with_strength(1.0)
    for penalty in itertools.islice(penalties, 1, None):
        if type(penalty) is not type(first) or not _equal(penalty.with_strength(1.0), unit):
            return None
    return unit if unit.stacks else None


def _equal(a: Regularizer, b: Regularizer) -> bool:
    try:
        return bool(a == b)
    except RuntimeError:  # fields that are tensors, and not the same ones
        return False
