"""Hypergradients of the factored model, where its solution is a strict local minimum."""

from __future__ import annotations

import torch
from torch import Tensor

from proxmtl.latent import LatentProblem
from proxmtl.regularizers import UnsupportedError
from proxmtl.selection.hypergradient import (
    Criterion,
    Hypergradient,
    conjugate_gradients,
    strength_slope,
)
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
    """Differentiate a criterion of ``W = L S`` in the three log-strengths of the factored model.

    As :func:`hypergradient` with ``theta = (L, S, b)``: along ``(dL, dS, db)`` the Hessian of the
    loss is ``(dG S' + G dS', L' dG + dL' G, db-part of dG)``, where ``G`` is the loss's gradient in
    ``W`` and ``dG`` its change along ``dW = dL S + L dS``. Without the terms in ``G``, the
    cross block of L and S, the result is wrong.

    Parameters
    ----------
    problem : LatentProblem
    blocks : tuple of Tensor
        ``(L, S)`` or ``(L, S, b)``: a stationary point, as accurate as the derivative is to be.
        Solves that end by their budget are not: run to a residual of 1e-8 or so first, which takes
        small problems.
    criterion : callable
        ``W -> (value, gradient)`` with ``W`` the design's parameter, intercept row included.
    tolerance, max_products
        As for :func:`hypergradient`.

    Returns
    -------
    Hypergradient
        ``gradient`` is in ``log mu, log gamma, log lambda``. Since ``(a L, S / a)`` is the same W,
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
    wide = tuple(block.to(torch.float64) for block in blocks)
    L, S = wide[:2]
    if not bool((L @ S).any()):
        raise UnsupportedError(
            "latent_hypergradient: the model has collapsed to W = 0, where no strength has a slope."
        )
    design, targets = problem.design, problem.targets.to(torch.float64)
    W = problem.weights(wide)
    scores = design.scores(W)
    G, _ = design.split(design.adjoint(problem.loss.grad(scores, targets.labels, targets.weights)))
    inside = [problem.l1.active(L), problem.group_norm.active(S)]
    inside += [torch.ones_like(block, dtype=torch.bool) for block in wide[2:]]
    mask = _flat(tuple(inside)).to(torch.float64)
    sizes = [block.numel() for block in wide]

    def blocks_of(vector: Tensor) -> Blocks:
        parts = torch.split(vector, sizes)
        return tuple(part.view_as(block) for part, block in zip(parts, wide, strict=True))

    def hessian(vector: Tensor) -> Tensor:
        dL, dS, *db = blocks_of(vector)
        along = design.linear(design.join(dL @ S + L @ dS, db[0] if db else None))
        problem.counts.forward += 1
        problem.counts.adjoint += 1
        bent = problem.loss.curvature_product(scores, targets.labels, targets.weights, along)
        dG, d_bias = design.split(design.adjoint(bent))
        of_L = dG @ S.T + G @ dS.T + 2 * problem.ridge.strength * dL
        of_S = L.T @ dG + dL.T @ G + problem.group_norm.curvature_product(S, dS)
        out = (of_L, of_S) if d_bias is None else (of_L, of_S, d_bias)
        return _flat(out) * mask

    value, slope = criterion(W)
    q_W, q_bias = design.split(slope.to(torch.float64))
    q = _flat((q_W @ S.T, L.T @ q_W, *([] if q_bias is None else [q_bias]))) * mask
    start = torch.zeros_like(q)
    v, residual, products = conjugate_gradients(hessian, q, start, tolerance, max_products)
    v_L, v_S = blocks_of(v * mask)[:2]
    slopes = [
        -problem.group_norm.strength * (v_S * strength_slope(problem.group_norm, S)).sum(),
        -problem.l1.strength * (v_L * strength_slope(problem.l1, L)).sum(),
        -problem.ridge.strength * (v_L * strength_slope(problem.ridge, L)).sum(),
    ]
    return Hypergradient(float(value), torch.stack(slopes).cpu(), residual, products, v)


def _flat(blocks: Blocks) -> Tensor:
    return torch.cat([block.flatten() for block in blocks])
