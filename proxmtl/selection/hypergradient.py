"""How a criterion of the solution changes with the strengths: implicit differentiation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer, SquaredFrobenius, UnsupportedError

__all__ = [
    "Criterion",
    "Hypergradient",
    "conjugate_gradients",
    "hypergradient",
    "strength_slope",
]

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
        If ``W`` is no parameter of the problem.

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
    point = W.to(torch.float64)
    penalised, bias = problem.design.split(point)
    value, q = criterion(point)
    penalty = problem.regularizer
    inside = torch.ones_like(penalised) if penalty is None else penalty.active(penalised).to(point)
    mask = problem.design.join(inside, None if bias is None else torch.ones_like(bias))
    scores = problem.scores(point)

    def hessian(V: Tensor) -> Tensor:
        out = problem.curvature_product(scores, V)
        if penalty is not None:
            along, of_bias = problem.design.split(V)
            bent = penalty.curvature_product(penalised, along)
            out = out + problem.design.join(
                bent, None if of_bias is None else torch.zeros_like(of_bias)
            )
        return out * mask

    q = q.to(torch.float64) * mask
    start = torch.zeros_like(q) if guess is None else guess.to(q) * mask
    v, residual, products = conjugate_gradients(hessian, q, start, tolerance, max_products)
    along = problem.design.split(v)[0] * inside
    slopes = [
        -term.strength * float((along * strength_slope(term, penalised)).sum())
        for term in problem.regularizers
    ]
    return Hypergradient(
        value=float(value),
        gradient=torch.tensor(slopes, dtype=torch.float64),
        residual=residual,
        products=products,
        multiplier=v,
    )


def _check(problem: Problem) -> None:
    if problem.smooth_terms:
        raise UnsupportedError("hypergradient: takes the problem unsmoothed.")
    for term in [*problem.terms, *([problem.regularizer] if problem.regularizer else [])]:
        if not (term.is_convex and term.has_curvature):
            raise UnsupportedError(
                f"hypergradient: {type(term).__name__} is not convex or has no curvature on an "
                "active set here; choose its strength by cross_validate."
            )


def strength_slope(term: Regularizer, W: Tensor) -> Tensor:
    """Derivative in the strength of the gradient of a penalty, on its active set.

    The residual of the optimality conditions without a loss is that gradient, where the penalty is
    smooth; it is affine in the strength, so a difference is exact.
    """
    if isinstance(term, SquaredFrobenius):
        return 2 * W
    if term.strength == 0:
        return torch.zeros_like(W)  # at zero strength a log-strength has no effect
    nothing = torch.zeros_like(W)
    once, twice, thrice = (
        term.with_strength(k * term.strength).kkt_residual(W, nothing) for k in (1, 2, 3)
    )
    step = twice - once
    if not torch.allclose(thrice - twice, step, rtol=1e-9, atol=1e-12):
        raise UnsupportedError(
            f"hypergradient: {type(term).__name__} does not depend linearly on its strength; "
            "choose it by cross_validate."
        )
    return step / term.strength


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor], q: Tensor, v: Tensor, tolerance: float, limit: int
) -> tuple[Tensor, float, int]:
    """Solve ``apply(v) = q``: the solution, its relative residual, and the products made."""
    scale = float(q.norm())
    if scale == 0:
        return torch.zeros_like(q), 0.0, 0
    products = int(bool(v.any()))
    r = q - apply(v) if products else q.clone()
    p, square = r.clone(), float(r.square().sum())
    while square**0.5 > tolerance * scale and products < limit:
        bent = apply(p)
        products += 1
        curvature = float((p * bent).sum())
        if curvature <= 1e-14 * float(p.square().sum()):
            break  # singular along p: what is left of q is out of reach
        v = v + (square / curvature) * p
        r = r - (square / curvature) * bent
        last, square = square, float(r.square().sum())
        p = r + (square / last) * p
    return v, square**0.5 / scale, products
