"""Memory of limited-memory BFGS: the two-loop recursion over stored pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["LBFGSMemory"]

FLAT = 1e-10
"""A pair is skipped if its curvature is below this fraction of the initial approximation's."""


@dataclass
class LBFGSMemory:
    """The last ``size`` pairs (s, y) of moves and gradient changes with ``s'y > 0``, flat vectors.

    Nocedal, "Updating quasi-Newton matrices with limited storage", 1980.
    """

    size: int
    s: list[Tensor] = field(default_factory=list)
    y: list[Tensor] = field(default_factory=list)
    rho: list[Tensor] = field(default_factory=list)
    """``1 / s'y`` of each pair, 0-d."""

    def __post_init__(self) -> None:
        if len(self.rho) != len(self.s):
            self.rho = [_rho(s, y) for s, y in zip(self.s, self.y, strict=True)]

    def update(self, s: Tensor, y: Tensor, metric: Tensor) -> None:
        """Add a pair, unless its curvature ``s'y`` is too small.

        It is compared with the curvature of the initial approximation along ``s``,
        ``s' metric^-1 s``, so that the test does not depend on the scale of variables or function.
        """
        curvature, first = torch.dot(s, y).item(), torch.dot(s, s / metric).item()
        if not curvature > FLAT * first or first == 0:
            return
        self.s.append(s)
        self.y.append(y)
        self.rho.append(_rho(s, y))
        if len(self.s) > self.size:
            del self.s[0], self.y[0], self.rho[0]

    def copy(self) -> LBFGSMemory:
        """Return an independent memory with the same pairs (vectors are never changed in place)."""
        return LBFGSMemory(self.size, list(self.s), list(self.y), list(self.rho))

    def restricted(self, entries: Tensor) -> LBFGSMemory:
        """Return the pairs restricted to a mask of entries; keeps those with positive curvature."""
        pairs = [(s[entries], y[entries]) for s, y in zip(self.s, self.y, strict=True)]
        kept = [pair for pair in pairs if torch.dot(*pair).item() > 0]
        return LBFGSMemory(self.size, [s for s, _ in kept], [y for _, y in kept])

    def clear(self) -> None:
        """Forget all pairs."""
        self.s.clear()
        self.y.clear()
        self.rho.clear()

    def apply(self, vector: Tensor, metric: Tensor) -> Tensor:
        """Product of the inverse-Hessian approximation with a vector.

        ``metric`` is the diagonal of the initial approximation, which is scaled by the last pair
        as usual; without pairs it is used unscaled.
        """
        q = vector.clone()
        if not self.s:
            return q.mul_(metric)
        along = []
        for s, y, rho in zip(*map(reversed, (self.s, self.y, self.rho)), strict=True):
            along.append(rho * torch.dot(s, q))
            q.addcmul_(y, along[-1], value=-1)
        y = self.y[-1]
        q.mul_(metric).div_(self.rho[-1] * torch.dot(y, metric * y))
        for s, y, rho, a in zip(self.s, self.y, self.rho, reversed(along), strict=True):
            q.addcmul_(s, a - rho * torch.dot(y, q))
        return q

    def state_dict(self) -> dict[str, Any]:
        """Copy of the pairs."""
        return {
            "size": self.size,
            "s": [v.clone() for v in self.s],
            "y": [v.clone() for v in self.y],
        }

    @classmethod
    def from_state_dict(cls, fields: dict[str, Any]) -> LBFGSMemory:
        """Rebuild a memory from :meth:`state_dict`; clones the vectors."""
        s, y = ([vector.clone() for vector in fields[name]] for name in ("s", "y"))
        return cls(fields["size"], s, y)


def _rho(s: Tensor, y: Tensor) -> Tensor:
    return torch.dot(s, y).reciprocal()
