"""A proximal gradient step as a map of the parameter, and its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from proxmtl.adjoints.linear import conjugate_gradients
from proxmtl.adjoints.loss_at import LossAt
from proxmtl.adjoints.strengths import gradient_slope
from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer, SquaredFrobenius, UnsupportedError, add

__all__ = ["ProxDerivative", "ProxMap", "default_step"]

ProxDerivative = Literal["auto", "closed", "finite"]

SPREAD = 1e-5
"""Step of the finite differences of a closed-form prox, relative to its argument."""

SPREAD_ITERATIVE = 1e-3
"""The same for an iterative prox, whose error is divided by the step."""


def default_step(problem: Problem) -> float:
    """One over the Lipschitz constant of the gradient of loss and ridge."""
    curvature = problem.lipschitz + 2 * problem.ridge
    return 1 / curvature if curvature > 0 else 1.0


class ProxMap:
    """The map ``T(W) = prox_{t R}(W - t grad f(W))`` at one point; f is loss plus ridge.

    The Jacobian J of a prox is symmetric. If the penalty has second derivatives on its active set,
    ``J = (I + t hess R)^-1`` there and 0 elsewhere; otherwise J is applied by central differences
    of fourth order, which are exact for piecewise linear proxes.

    Parameters
    ----------
    problem : Problem
    W : Tensor
        Converted to float64.
    step : float
        t.
    derivative : "auto", "closed" or "finite"
        How J is applied; ``"auto"``: closed if the penalty has second derivatives.

    Raises
    ------
    UnsupportedError
        If the problem is smoothed, or ``"closed"`` is not available for its penalty.
    """

    def __init__(
        self, problem: Problem, W: Tensor, step: float, derivative: ProxDerivative = "auto"
    ) -> None:
        if problem.smooth_terms:
            raise UnsupportedError("adjoint: takes the problem unsmoothed.")
        self.problem, self.step = problem, step
        self.R = problem.regularizer
        closed = self.R is None or self.R.has_curvature
        if derivative == "closed" and not closed:
            raise UnsupportedError(
                f"derivative: {type(self.R).__name__} has no curvature on an active set; use "
                "'finite'."
            )
        self.closed = closed and derivative != "finite"
        self.at = LossAt(problem, W.to(torch.float64))
        design = problem.design
        self.penalised, _ = design.split(self.at.W)
        gradient, of_bias = design.split(self.at.gradient())
        _, bias = design.split(self.at.W)
        self.moved = self.penalised - step * (gradient + 2 * problem.ridge * self.penalised)
        new = self._prox(self.R, self.moved)
        self.new = new
        self.image = design.join(
            new, None if bias is None or of_bias is None else bias - step * of_bias
        )

    def _prox(self, R: Regularizer | None, point: Tensor) -> Tensor:
        return point if R is None else R.prox(point, self.step, warm_start=self.penalised)[0]

    def jacobian(self, u: Tensor) -> Tensor:
        """``J u``; the identity on the intercept."""
        along, bias = self.problem.design.split(u)
        R = self.R
        if R is not None and self.closed:
            along = self._jacobian_closed(R, along)
        elif R is not None and bool(along.any()):
            size = self._spread(R) * float(self.moved.abs().max().clamp_min(1e-300))
            unit = size / float(along.abs().max())
            slope = _central(lambda s: self._prox(R, self.moved + s * unit * along))
            along = slope / unit
        return self.problem.design.join(along, bias)

    def _jacobian_closed(self, R: Regularizer, u: Tensor) -> Tensor:
        mask = R.active(self.new).to(u)

        def product(v: Tensor) -> Tensor:
            return mask * (v + self.step * R.curvature_product(self.new, mask * v))

        return conjugate_gradients(product, mask * u, tolerance=1e-14, limit=1000).x

    def pull(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """``(I - t H) J u`` and ``t J u`` with the Hessian H of f; costs one pass."""
        Ju = self.jacobian(u)
        along, bias = self.problem.design.split(Ju)
        ridge = self.problem.design.join(
            2 * self.problem.ridge * along, None if bias is None else torch.zeros_like(bias)
        )
        return Ju - self.step * (self.at.curvature(Ju) + ridge), self.step * Ju

    def by_strengths(self, u: Tensor, v: Tensor) -> Tensor:
        """``<u, dT/ds>`` for each strength ``s``, given ``v = t J u``; float64."""
        slopes = [self._by_strength(term, u, v) for term in self.problem.regularizers]
        return torch.tensor(slopes, dtype=torch.float64)

    def _by_strength(self, term: Regularizer, u: Tensor, v: Tensor) -> float:
        design = self.problem.design
        if isinstance(term, SquaredFrobenius):
            return -float((design.split(v)[0] * 2 * self.penalised).sum())
        if self.closed:
            return -float((design.split(v)[0] * gradient_slope(term, self.new)).sum())
        if not term.strength > 0:
            raise UnsupportedError(
                f"strengths: {type(term).__name__} has strength 0, where its prox has no "
                "derivative in it; give a positive one."
            )

        def at(s: float) -> Tensor:
            moved = term.with_strength(term.strength * (1 + s * size))
            terms = [moved if other is term else other for other in self.problem.terms]
            return self._prox(add(terms), self.moved)

        size = self._spread(term if self.R is None else self.R)
        return float((design.split(u)[0] * _central(at)).sum()) / (size * term.strength)

    @staticmethod
    def _spread(R: Regularizer) -> float:
        return SPREAD if R.exact_prox else SPREAD_ITERATIVE


def _central(f: Callable[[float], Tensor]) -> Tensor:
    """``f'(0)`` by central differences of step 1, with an error of fourth order."""
    return (8 * (f(1.0) - f(-1.0)) - (f(2.0) - f(-2.0))) / 12
