"""Result of a solve of the paper's model: factors with their certificate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from proxmtl.arrays import as_float_tensor
from proxmtl.numerics import norm
from proxmtl.result import Certificate, Status
from proxmtl.shown import Shown
from proxmtl.solvers.lowest import Point
from proxmtl.state import State

__all__ = ["Features", "Labels", "LatentResult", "is_shared"]

Features = Tensor | np.ndarray | Sequence[Tensor | np.ndarray]
Labels = Tensor | np.ndarray | Sequence[Tensor | np.ndarray]


@dataclass(frozen=True)
class LatentResult(Shown):
    """Solved factors with their certificate.

    Attributes
    ----------
    L : Tensor, shape (D, K)
        Shared latent tasks.
    S : Tensor, shape (K, M)
        Weights of the latent tasks in each task, group-sparse in each row.
    intercept : Tensor, shape (M,)
        Zero without an intercept.
    status : Status
        How the solve ended.
    certificate : Certificate
        Objective, KKT residual and duality gap of each block; no claim of global optimality.
    history : list of dict
        Iteration, passes, seconds and objective at the start and at each check.
    iterations, passes, seconds, reason, returned
        As in :class:`Result`; ``passes`` includes those of the starting point.
    budget : float
        Limit of the passes.
    state : State
        Resume with ``LatentMTL.solve(..., state=result.state)``.
    own : Tensor, shape (D, M), or None
        V, the tasks' own parts; None if the model has none.
    """

    _SHOWN = ("status", "reason", "passes", "seconds", "L", "S", "live_latents", "certificate")
    L: Tensor
    S: Tensor
    intercept: Tensor
    status: Status
    certificate: Certificate
    history: list[dict[str, float]] = field(repr=False)
    iterations: int
    passes: float
    budget: float
    seconds: float
    reason: str
    state: State = field(repr=False)
    returned: str = Point.last
    own: Tensor | None = None

    @property
    def coef(self) -> Tensor:
        """``W = L S``, or ``L S + V``, shape (D, M)."""
        shared = self.L @ self.S
        return shared if self.own is None else shared + self.own

    @property
    def live_latents(self) -> int:
        """Latents with a non-zero column in L and row in S."""
        return int(((self.L != 0).any(0) & (self.S != 0).any(1)).sum())

    @property
    def own_share(self) -> float | None:
        """``||V||^2 / (||L S||^2 + ||V||^2)``: 0 if all is shared, 1 if nothing is.

        None without own parts, and if both terms are zero.
        """
        if self.own is None:
            return None
        shared, own = float(norm(self.L @ self.S)), float(norm(self.own))
        size = math.hypot(shared, own)
        return (own / size) ** 2 if size > 0 else None

    @property
    def collapsed(self) -> bool:
        """Whether W = 0, which is a local minimum of the factored problem.

        With the status COLLAPSED, the descent has converged to it. With BUDGET, the last iterate
        had a larger objective than W = 0, which was returned instead; more passes may help.
        """
        return self.live_latents == 0 and (self.own is None or not bool(self.own.any()))

    def decision_function(self, X: Features) -> Tensor | list[Tensor]:
        """Scores of new samples: (N, M) for shared features, else a list with a vector per task."""
        if is_shared(X):
            features = X if isinstance(X, Tensor) else as_float_tensor("X", X)  # no detach of X
            return features.to(self.L) @ self.coef + self.intercept
        parts = [
            part if isinstance(part, Tensor) else as_float_tensor(f"X[{m}]", part)
            for m, part in enumerate(X)
        ]
        columns = zip(parts, self.coef.T, self.intercept, strict=True)
        return [part.to(self.L) @ w + b for part, w, b in columns]

    def __repr__(self) -> str:
        share = self.own_share
        own = "" if share is None else f", {share:.0%} own"
        return (
            f"LatentResult({self.status.name} after {self.passes:g} passes, {self.seconds:.3g} s: "
            f"{self.certificate}; {self.live_latents} of {self.L.shape[1]} latents live{own})"
        )


def is_shared(X: object) -> bool:
    """Whether the features are one matrix for all tasks, rather than one for each."""
    if isinstance(X, Tensor | np.ndarray):
        return X.ndim != 3
    return not (isinstance(X, (list, tuple)) and X and isinstance(X[0], Tensor | np.ndarray))
