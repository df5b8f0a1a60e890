"""Step rules and restart rules, shared by the proximal gradient solvers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Backtracking", "ConstantStep", "FunctionRestart", "GradientRestart", "NoRestart"]


@dataclass(frozen=True)
class Backtracking:
    """Backtracking: shrink the step until the sufficient-decrease test holds; then let it grow.

    Parameters
    ----------
    first : float or None
        First step; None: one over the curvature along the gradient, found by a probe.
    shrink : float
        Factor in (0, 1) by which a rejected step is shortened.
    growth : float
        Factor ``>= 1`` by which an iteration lengthens its first trial step, if the last step
        passed the test with room to spare.
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
        """Whether a probe determines the first step."""
        return self.first is None


@dataclass(frozen=True)
class ConstantStep:
    """A fixed step that is not verified; None: one over the Lipschitz estimate."""

    first: float | None = None

    def __post_init__(self) -> None:
        if self.first is not None and not self.first > 0:
            raise ValueError(f"first: got {self.first}; a step must be > 0.")

    growth = 1.0
    shrink = 0.5
    verifies = False
    probes = False  # a step that is never verified must come from an upper bound


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
    """Restart when the objective increased."""

    def __call__(self, z: Tensor, new: Tensor, old: Tensor, objective: float, last: float) -> bool:
        del z, new, old
        return objective > last


@dataclass(frozen=True)
class NoRestart:
    """Never restart: the momentum of the original FISTA."""

    def __call__(self, z: Tensor, new: Tensor, old: Tensor, objective: float, last: float) -> bool:
        del z, new, old, objective, last
        return False


StepRule = Backtracking | ConstantStep
Restart = GradientRestart | FunctionRestart | NoRestart
