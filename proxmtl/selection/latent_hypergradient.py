"""Hypergradients of the factored model, where its solution is a strict local minimum."""

from __future__ import annotations

import torch

from proxmtl.adjoints import JointLinearised
from proxmtl.latent import LatentProblem
from proxmtl.regularizers import UnsupportedError
from proxmtl.selection.hypergradient import Criterion, Hypergradient, in_logarithms, judged
from proxmtl.solvers.blocks import Blocks

__all__ = ["latent_hypergradient"]


def latent_hypergradient(
    problem: LatentProblem,
    blocks: Blocks,
    criterion: Criterion,
    *,
    tolerance: float = 1e-10,
    max_products: int = 2000,
) -> Hypergradient:
    """Differentiate a criterion of ``W`` in the log-strengths of the factored model.

    As :func:`hypergradient` with ``theta = (L, S, b)``: along ``(dL, dS, db)`` the Hessian of the
    loss is ``(dG S' + G dS', L' dG + dL' G, db-part of dG)``, where ``G`` is the loss's gradient in
    ``W`` and ``dG`` its change along ``dW = dL S + L dS``. Without the terms in ``G``, the
    cross block of L and S, the result is wrong.

    Parameters
    ----------
    problem : LatentProblem
    blocks : tuple of Tensor
        Of the problem: a stationary point, as accurate as the derivative is to be.
        Solves that end by their budget are not: run to a residual of 1e-8 or so first, which takes
        small problems.
    criterion : callable
        ``W -> (value, gradient)`` with ``W`` the design's parameter, intercept row included.
    tolerance, max_products
        As for :func:`hypergradient`.

    Returns
    -------
    Hypergradient
        ``gradient`` is in ``log mu, log gamma, log lambda`` and, if tasks have own parts, the
        logarithm of their ridge. Since ``(a L, S / a)`` is the same W,
        ``gradient[0] - gradient[1] - 2 gradient[2] = 0``, a free check. A large ``residual`` says
        that the point is no strict local minimum, and that there is no derivative.

    Raises
    ------
    UnsupportedError
        If the model has collapsed: there is no slope at zero.
    ValueError
        If the blocks do not fit.
    """
    problem.check_point(blocks)
    if not bool(problem.design.split(problem.weights(blocks))[0].any()):
        raise UnsupportedError(
            "latent_hypergradient: the model has collapsed to W = 0, where no strength has a slope."
        )
    model = JointLinearised(problem, blocks)
    value, slope = judged(criterion, model.at.W)
    q = model.from_weights(slope.to(torch.float64))
    solved = model.solve(q, tolerance=tolerance, max_products=max_products)
    gradient = in_logarithms(problem, -model.by_strengths(solved.x))
    return Hypergradient(float(value), gradient, solved.residual, solved.products, solved.x)
