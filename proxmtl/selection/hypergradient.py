"""How a criterion of the solution changes with the strengths: implicit differentiation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from proxmtl.adjoints import ConvexLinearised, acting_penalties
from proxmtl.latent import LatentProblem
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError

__all__ = ["Criterion", "Hypergradient", "hypergradient", "in_logarithms", "judged"]

Criterion = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Value and gradient of a criterion at a parameter, such as a problem's smooth part."""


@dataclass(frozen=True)
class Hypergradient:
    """Derivatives of ``Q(W*(strengths))``.

    Attributes
    ----------
    value : float
        ``Q`` at the given point.
    gradient : Tensor, shape (number of penalties,)
        ``dQ / d log strength`` of each of ``problem.regularizers``; float64, on the CPU.
    residual : float
        Of the linear system, relative to ``dQ/dW`` on the active set: the gradient's own accuracy,
        were the point a minimiser. Large where the system is singular: then the criterion sees
        directions in which the problem has no curvature, and there is no derivative.
    products : int
        Hessian products made, one pass over the data each.
    multiplier : Tensor
        ``v``, the solution of the linear system: a guess for a later call nearby.
    """

    value: float
    gradient: Tensor
    residual: float
    products: int
    multiplier: Tensor = field(repr=False)


def hypergradient(
    problem: Problem,
    W: Tensor,
    criterion: Criterion,
    *,
    tolerance: float = 1e-10,
    max_products: int = 1000,
    guess: Tensor | None = None,
) -> Hypergradient:
    """Differentiate a criterion of a problem's solution with respect to its log-strengths.

    With ``A`` the coordinates along which the penalties are smooth at ``W`` (and the intercept),
    ``H`` the Hessian there of loss and penalties, ``q = dQ/dW``: solve ``H_AA v_A = q_A`` by
    conjugate gradients, then ``dQ/d log s_j = - s_j <v, d/ds_j grad R_j(W)>``. Only products with
    the features are needed, and no solve is unrolled.

    Parameters
    ----------
    problem : Problem
        Convex; every penalty with a curvature on its active set.
    W : Tensor
        Its solution, as accurate as the derivative is to be.
    criterion : callable
        ``W -> (value, gradient)``: for the loss on held-out samples the
        :meth:`Problem.smooth_value_and_grad` of a problem without penalties. Given ``W`` in
        float64.
    tolerance : float
        Relative residual of the linear system at which to stop.
    max_products : int
        Most products to make for it.
    guess : Tensor, optional
        ``multiplier`` of an earlier call.

    Returns
    -------
    Hypergradient

    Raises
    ------
    UnsupportedError
        If a penalty is not convex, has no curvature on its active set, or depends on its strength
        in another way than linearly.
    ValueError
        If ``W`` is no parameter of the problem, or the criterion isn't finite there.

    Notes
    -----
    Holds where the active set is locally stable: no coordinate at zero has its subgradient on the
    boundary, and no sample sits exactly on a kink of the loss's derivative.

    References
    ----------
    Bertrand et al., "Implicit differentiation for fast hyperparameter selection in non-smooth
    convex learning", 2022.
    """
    _check(problem)
    problem.check_point(W)
    model = ConvexLinearised(problem, W)
    value, q = judged(criterion, model.at.W)
    solved = model.solve(q, guess, tolerance=tolerance, max_products=max_products)
    return Hypergradient(
        value=value,
        gradient=in_logarithms(problem, -model.by_strengths(solved.x)),
        residual=solved.residual,
        products=solved.products,
        multiplier=solved.x,
    )


def judged(criterion: Criterion, W: Tensor) -> tuple[float, Tensor]:
    """Value and gradient (float64) of a criterion.

    Raises
    ------
    ValueError
        If one of them isn't finite: no strength can be chosen by it.
    """
    value, slope = criterion(W)
    if not (math.isfinite(float(value)) and bool(torch.isfinite(slope).all())):
        raise ValueError(
            f"criterion: got the value {float(value):g} and a gradient of which "
            f"{int((~torch.isfinite(slope)).sum())} of {slope.numel()} entries aren't finite; give "
            "a criterion that is finite, with labels and features that are (missing labels have "
            "weight 0)."
        )
    return float(value), slope.to(torch.float64)


def in_logarithms(problem: Problem | LatentProblem, slopes: Tensor) -> Tensor:
    """Derivatives in the logarithms of the strengths, given those in the strengths."""
    strengths = [term.strength for term, _ in acting_penalties(problem)]
    return slopes * torch.tensor(strengths, dtype=torch.float64)


def _check(problem: Problem) -> None:
    if problem.smooth_terms:
        raise UnsupportedError("hypergradient: takes the problem unsmoothed.")
    for term in [*problem.terms, *([problem.regularizer] if problem.regularizer else [])]:
        if not (term.is_convex and term.has_curvature):
            raise UnsupportedError(
                f"hypergradient: {type(term).__name__} is not convex or has no curvature on an "
                "active set here; choose its strength by cross_validate."
            )
