"""Quasi-Newton steps inside a trust region, for a few variables and costly, inexact values."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["TrustRegion"]


@dataclass
class TrustRegion:
    """Proposes points for a smooth function of a few variables; told values, learns its curvature.

    The model ``f + <g, d> + d' B d / 2`` around the best point, ``B`` by BFGS from all gradients,
    also of refused points; ``d`` minimises it, shortened to the radius. The radius grows where the
    model predicted well and shrinks where the value rose.

    Parameters
    ----------
    radius : float
        Length of the first step: gradients have no scale of their own to tell it.
    least : float
        Radius below which nothing more is to be gained.
    gain : float
        Predicted gain, relative to the value, that is not worth another evaluation.
    """

    radius: float
    least: float = 1e-2
    gain: float = 1e-5
    point: Tensor = field(init=False)
    value: float = field(init=False, default=float("inf"))
    gradient: Tensor = field(init=False)
    curvature: Tensor | None = field(init=False, default=None)
    predicted: float = field(init=False, default=0.0)

    def tell(self, point: Tensor, value: float, gradient: Tensor) -> bool:
        """Learn value and gradient at a proposed point; whether it is the best one so far."""
        if self.value == float("inf"):
            self.point, self.value, self.gradient = point, value, gradient
            scale = float(gradient.norm()) / self.radius
            self.curvature = scale * torch.eye(len(point), dtype=torch.float64)
            return True
        moved = point - self.point
        self._learn(moved, gradient - self.gradient)
        gained = self.value - value
        length = float(moved.norm())
        if gained <= 0:
            self.radius = 0.3 * min(length, self.radius)
            return False
        if gained > 0.25 * self.predicted:
            self.radius = max(self.radius, 2 * length)
        self.point, self.value, self.gradient = point, value, gradient
        return True

    def propose(self) -> Tensor | None:
        """Next point to look at; None once the region or the predicted gain is negligible."""
        assert self.curvature is not None
        slope = float(self.gradient.norm())
        if slope == 0 or self.radius < self.least:
            return None
        step: Tensor = -torch.linalg.solve(self.curvature, self.gradient)
        length = float(step.norm())
        if length > self.radius:
            step = step * (self.radius / length)
        self.predicted = -float(self.gradient @ step + step @ self.curvature @ step / 2)
        if self.predicted <= self.gain * abs(self.value):
            return None
        return self.point + step

    def _learn(self, s: Tensor, y: Tensor) -> None:
        """BFGS, damped (Powell): the model stays convex whatever the function does."""
        assert self.curvature is not None
        Bs = self.curvature @ s
        bent, seen = float(s @ Bs), float(s @ y)
        if bent <= 0:
            return
        if seen < 0.2 * bent:
            theta = 0.8 * bent / (bent - seen)
            y = theta * y + (1 - theta) * Bs
            seen = float(s @ y)
        self.curvature = self.curvature - torch.outer(Bs, Bs) / bent + torch.outer(y, y) / seen
