"""Differentiation of a solve by unrolling a few proximal gradient steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.adjoints.base import Adjoint, Sensitivity, Trace
from proxmtl.adjoints.prox_map import ProxDerivative, ProxMap, default_step
from proxmtl.latent import LatentProblem
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.working_set import stationarity

__all__ = ["Unroll"]


@dataclass(frozen=True)
class Unroll(Adjoint):
    """Make ``k`` proximal gradient steps after the solve, and differentiate these steps exactly.

    The solve's result is held fixed as the start of the steps. The backward pass of a step is
    ``u <- (I - t H) J u``, accumulating ``-(d grad f / dX)'[t J u]``, and costs one pass. From a
    minimiser this is the Neumann series of :class:`Implicit` truncated after ``k`` terms, with an
    error that falls geometrically in ``k``. From any other point it is the exact gradient of the
    ``k`` steps, so the solve need not be accurate. Stores ``k`` parameters in float64.

    Parameters
    ----------
    steps : int
        k, at least 1.
    step : float or None
        None: one over the Lipschitz constant.
    derivative : "auto", "closed" or "finite"
        Derivative of the prox: see :class:`ProxMap`.
    """

    steps: int
    step: float | None = None
    derivative: ProxDerivative = "auto"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: got {self.steps}; unroll at least 1 step.")
        if self.step is not None and not self.step > 0:
            raise ValueError(f"step: got {self.step}; it must be > 0.")

    def trace(self, problem: Problem | LatentProblem, blocks: tuple[Tensor, ...]) -> Trace:
        if isinstance(problem, LatentProblem):
            raise UnsupportedError(
                "adjoint: Unroll takes a problem of one block; use Implicit() or Envelope() for "
                "the factored problem."
            )
        step = self.step or default_step(problem)
        maps: list[ProxMap] = []
        W = blocks[0].to(torch.float64)
        for _ in range(self.steps):
            maps.append(ProxMap(problem, W, step, self.derivative))
            W = maps[-1].image
        return _Trace(problem, maps, blocks[0].dtype)


class _Trace(Trace):
    def __init__(self, problem: Problem, maps: list[ProxMap], dtype: torch.dtype) -> None:
        self.end = maps[-1].image
        super().__init__(problem, (self.end.to(dtype),))
        self.convex, self.maps = problem, maps

    def of_solution(self, q: tuple[Tensor, ...], *, features: bool, strengths: bool) -> Sensitivity:
        u = q[0].to(torch.float64)
        total = Sensitivity(products=2 * len(self.maps))
        for step in reversed(self.maps):
            back, v = step.pull(u)
            by_features = tuple(-part for part in step.at.cross(v)) if features else ()
            slopes = step.by_strengths(u, v) if strengths else None
            total = total.plus(Sensitivity(by_features, slopes))
            u = back
        return total

    def of_objective(self, *, features: bool, strengths: bool) -> Sensitivity:
        """Partial gradient plus that through the steps, as the end need not be a minimiser."""
        _, grad = self.convex.smooth_value_and_grad(self.end)
        slope = stationarity(self.convex, self.end, grad)
        through = self.of_solution((slope,), features=features, strengths=strengths)
        return self.partial(features=features, strengths=strengths).plus(through)
