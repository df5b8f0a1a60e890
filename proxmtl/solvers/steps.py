"""Step rules and restarts: objects of their own, shared by the accelerated solvers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Backtracking", "ConstantStep", "FunctionRestart", "GradientRestart", "NoRestart"]


@dataclass(frozen=True)
class Backtracking:
    """Shrink the step until the quadratic upper bound holds, let it grow again in between.

    Parameters
    ----------
    first : float or None
        First step; None: one over the curvature that a probe along the gradient meets.
    shrink : float
        Factor in (0, 1) on refusal.
    growth : float
        Factor ``>= 1`` tried at the start of each iteration.
    """

    first: float | None = None
    shrink: float = 0.5
    growth: float = 1.1

    def __post_init__(self) -> None:
        if self.first is not None and not self.first > 0:
            raise ValueError(f"first: got {self.first}; a step must be > 0.")
        if not 0 < self.shrink < 1:
            raise ValueError(f"shrink: got {self.shrink}; it must lie in (0, 1).")
        if not self.growth >= 1:
            raise ValueError(f"growth: got {self.growth}; it must be >= 1.")

    verifies = True

    @property
    def probes(self) -> bool:
        """Whether the first step is to be found by a probe."""
        return self.first is None


@dataclass(frozen=True)
class ConstantStep:
    """A fixed step, unverified: None means one over the Lipschitz estimate."""

    first: float | None = None

    def __post_init__(self) -> None:
        if self.first is not None and not self.first > 0:
            raise ValueError(f"first: got {self.first}; a step must be > 0.")

    growth = 1.0
    shrink = 0.5
    verifies = False
    probes = False  # what is not verified starts from a bound


@dataclass(frozen=True)
class GradientRestart:
    """Restart when the step points against the gradient mapping: ``<z - x+, x+ - x> > 0``.

    O'Donoghue and Candes, "Adaptive restart for accelerated gradient schemes", 2015.
    """

    def __call__(self, z: Tensor, new: Tensor, old: Tensor, objective: float, last: float) -> bool:
        del objective, last
        return float(torch.sum((z - new) * (new - old))) > 0


@dataclass(frozen=True)
class FunctionRestart:
    """Restart when the objective rose."""

    def __call__(self, z: Tensor, new: Tensor, old: Tensor, objective: float, last: float) -> bool:
        del z, new, old
        return objective > last


@dataclass(frozen=True)
class NoRestart:
    """Never restart: plain FISTA momentum."""

    def __call__(self, z: Tensor, new: Tensor, old: Tensor, objective: float, last: float) -> bool:
        del z, new, old, objective, last
        return False


StepRule = Backtracking | ConstantStep
Restart = GradientRestart | FunctionRestart | NoRestart
