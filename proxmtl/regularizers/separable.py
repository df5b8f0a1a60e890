"""A sum over blocks of an axis, each with a regularizer of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from proxmtl.regularizers.base import Regularizer, largest_ratio, norm_ratio
from proxmtl.regularizers.wrapper import Wrapper

__all__ = ["Separable"]


@dataclass(frozen=True)
class Separable(Wrapper):
    """A sum over blocks of an axis, each with its own regularizer.

    Parameters
    ----------
    parts : sequence of (indices, Regularizer)
        Indices along the axis, disjoint; what is in none is not penalised.
    axis : int
        The axis that the blocks cut.
    scale : float
        Multiplies every strength, ``>= 0``: the strength of the sum.
    """

    parts: tuple[tuple[tuple[int, ...], Regularizer], ...]
    axis: int = -1
    scale: float = 1.0
    is_indicator = False
    has_conjugate = False

    def __post_init__(self) -> None:
        parts = tuple((tuple(int(i) for i in indices), r) for indices, r in self.parts)
        seen = [i for indices, _ in parts for i in indices]
        if not seen or len(set(seen)) != len(seen) or min(seen) < 0:
            raise ValueError(
                "parts: blocks must not be empty, share an index or hold negative ones."
            )
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ValueError(f"strength: got {self.scale}; it must be finite and >= 0.")
        object.__setattr__(self, "parts", parts)

    @property
    def strength(self) -> float:  # type: ignore[override]
        """The common factor."""
        return self.scale

    @cached_property
    def members(self) -> tuple[Regularizer, ...]:
        """The regularizers of the blocks, scaled."""
        return tuple(r.with_strength(self.scale * r.strength) for _, r in self.parts)

    @property
    def _blocks(self) -> Iterator[tuple[tuple[int, ...], Regularizer]]:
        """Indices and scaled regularizer of each block."""
        return zip((indices for indices, _ in self.parts), self.members, strict=True)

    conjugate = Regularizer.conjugate  # from its own dual norm
    conjugate_limit = Regularizer.conjugate_limit

    def is_coercive(self, W: Tensor) -> bool:
        return not self._free(W) and all(
            r.is_coercive(self._pick(W, indices)) for indices, r in self._blocks
        )

    def snap(self, W: Tensor, rounding: float) -> Tensor:
        out = W.clone()
        for indices, r in self._blocks:
            self._put(out, indices, r.snap(self._pick(W, indices), rounding))
        return out

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """The largest of the blocks', in units of their own strengths."""
        free = self._free(grad_at_zero)
        if free and bool((self._pick(grad_at_zero, free) != 0).any()):
            return float("inf")
        return largest_ratio(
            norm_ratio(r.critical_strength(self._pick(grad_at_zero, indices)), r.strength)
            for indices, r in self.parts
            if not r.is_indicator
        )

    def value(self, W: Tensor) -> Tensor:
        total = W.new_zeros(())
        for indices, r in self._blocks:
            total = total + r.value(self._pick(W, indices))
        return total

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        out, total = W.clone(), W.new_zeros(())
        for indices, r in self._blocks:
            start = None if warm_start is None else self._pick(warm_start, indices)
            part, value = r.prox(self._pick(W, indices), step, warm_start=start)
            self._put(out, indices, part)
            total = total + value
        return out, total

    def prox_gap(self, W: Tensor, step: float) -> float:
        return sum(r.prox_gap(self._pick(W, indices), step) for indices, r in self._blocks)

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        out = grad.clone()
        for indices, r in self._blocks:
            part = r.kkt_residual(self._pick(W, indices), self._pick(grad, indices))
            self._put(out, indices, part)
        return out

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        if not self.is_norm:
            return Regularizer.dual_norm(self, U, at)
        free = self._free(U)
        if free and bool((self._pick(U, free) != 0).any()):
            return float("nan") if bool(torch.isnan(U).any()) else float("inf")
        return largest_ratio(
            r.dual_norm(self._pick(U, indices), None if at is None else self._pick(at, indices))
            for indices, r in self._blocks
        )

    def active(self, W: Tensor) -> Tensor:
        out = torch.ones_like(W, dtype=torch.bool)
        for indices, r in self._blocks:
            self._put(out, indices, r.active(self._pick(W, indices)))
        return out

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        out = torch.zeros_like(V)
        for indices, r in self._blocks:
            part = r.curvature_product(self._pick(W, indices), self._pick(V, indices))
            self._put(out, indices, part)
        return out

    def with_strength(self, strength: float) -> Self:
        return replace(self, scale=strength)

    def _free(self, W: Tensor) -> list[int]:
        """Indices in no block."""
        return sorted(set(range(W.shape[self.axis])) - {i for ids, _ in self.parts for i in ids})

    def _pick(self, W: Tensor, indices: Sequence[int]) -> Tensor:
        if not -W.ndim <= self.axis < W.ndim or max(indices) >= W.shape[self.axis]:
            raise ValueError(
                f"parts: index {max(indices)} on axis {self.axis} does not fit a parameter of "
                f"shape {tuple(W.shape)}."
            )
        return W.index_select(self.axis, torch.as_tensor(indices, device=W.device))

    def _put(self, out: Tensor, indices: Sequence[int], part: Tensor) -> None:
        out.index_copy_(self.axis, torch.as_tensor(indices, device=out.device), part)
