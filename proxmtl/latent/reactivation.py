"""Reactivation of dead latents (zero in both factors) by rank-one steps to a lower objective."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from proxmtl.latent.initial import rebalance
from proxmtl.latent.problem import LatentProblem
from proxmtl.solvers.blocks import Blocks

__all__ = ["reactivate_latents"]

WORTHWHILE = 1e-4
"""Minimum relative decrease of the objective for a latent to be reactivated."""

TRIED = 3
"""Number of candidate directions whose scores are computed."""

COST = 1 + TRIED / 2
"""Passes of an attempt: a gradient, and the scores of the candidate directions."""

SCALES = tuple(2.0**power for power in range(-6, 3))
"""Trial lengths, in units of the minimiser of the loss's quadratic model."""


def reactivate_latents(problem: LatentProblem, blocks: Blocks) -> Blocks:
    """Set dead latents to rank-one directions along which the objective falls.

    A latent that is zero in both factors is at a local minimum for any gradient G of the loss in W:
    the minimal penalty of a product ``t u v'`` grows as ``sqrt(t)`` (with an L1 norm on L) or
    ``t^(2/3)`` (with a ridge), but the gain only as ``t <-G, u v'>``. Only a step of finite length
    can reactivate it: the minimum over t of ``loss(W + t u v') + penalty(t u v')``. Candidate
    directions are the leading singular pairs of ``-G`` on all tasks, on each group and on the task
    with the largest gradient, also with smaller features thresholded. For the three with the
    largest gain per penalty, trial lengths are evaluated on the loss itself. The best is accepted
    if the objective falls; the next dead latent is then tried with the gradient at that point.

    Costs nothing without dead latents; otherwise two and a half passes, and as many again for each
    reactivated latent.

    Parameters
    ----------
    problem : LatentProblem
    blocks : tuple of Tensor
        A point of the problem; not modified.

    Returns
    -------
    tuple of Tensor
        New blocks with an objective that is not larger; the same object if no latent was
        reactivated.
    """
    L, S = blocks[:2]
    for k in torch.nonzero((L == 0).all(0) | (S == 0).all(1)).flatten().tolist():
        if problem.counts.left < 4 * COST:  # leave most of the remaining passes to the descent
            break
        found = _best(problem, blocks)
        if found is None:
            break
        L, S = blocks[0].clone(), blocks[1].clone()
        L[:, k], S[k] = found
        blocks = (L, S, *blocks[2:])
    return blocks


def _best(problem: LatentProblem, blocks: Blocks) -> tuple[Tensor, Tensor] | None:
    """Column of L and row of S that lower the objective most; None if none does."""
    Z = problem.design.scores(problem.weights(blocks))
    start, residuals = problem.data.value_and_gradient(Z)
    G, _ = problem.design.split(problem.design.adjoint(residuals))
    problem.counts.charge(forward=1, adjoint=1)
    least = -WORTHWHILE * abs(float(start) + problem.penalty(blocks))
    found = None
    for slope, u, v in directions(problem, G):
        # without intercept, which the descent adapts later
        Zd = problem.design.scores(
            problem.weights((u[:, None], v[None], *(torch.zeros_like(b) for b in blocks[2:])))
        )
        problem.counts.charge(forward=1)
        bend = problem.data.weighted_squares(Zd) * problem.loss.curvature_bound
        if not bend > 0:
            continue
        lengths = [scale * slope / bend for scale in SCALES]
        columns = torch.stack([length * u for length in lengths], 1)
        columns, rows = rebalance(problem, columns, v.expand(len(lengths), -1))
        for j, length in enumerate(lengths):
            value = problem.data.value(Z + length * Zd)
            cost = problem.factor_penalty(columns[:, j : j + 1], rows[j : j + 1])
            change = float(value - start) + cost
            if change < least:
                least, found = change, (columns[:, j], rows[j])
    return found


def directions(problem: LatentProblem, G: Tensor) -> list[tuple[float, Tensor, Tensor]]:
    """Unit directions (u, v) with their slopes: those of the largest gain per penalty."""
    groups, M = problem.groups, G.shape[1]
    parts = [
        groups.indices[a:b].to(G.device) for a, b in itertools.pairwise(groups.indptr.tolist())
    ]
    sets = [
        torch.arange(M, device=G.device),
        *(part for part in parts if 1 < len(part) < M),
        G.norm(dim=0).argmax()[None],  # the task with the largest gradient
    ]
    found: list[tuple[float, float, Tensor, Tensor]] = []
    for tasks in sets:
        U, _, Vh = torch.linalg.svd(-G[:, tasks].to(torch.float64), full_matrices=False)
        v = G.new_zeros(M)
        v[tasks] = Vh[0].to(G)
        whole = U[:, 0].to(G)
        for cut in (0.0, 0.3):
            u = torch.where(whole.abs() > cut * whole.abs().max(), whole, 0.0)
            u = u / u.norm().clamp_min(torch.finfo(u.dtype).tiny)
            slope = -float(u @ G @ v)
            if slope > 0:
                cost = problem.factor_penalty(*rebalance(problem, u[:, None], v[None]))
                found.append((slope / cost, slope, u, v))
    found.sort(key=lambda each: -each[0])
    return [(slope, u, v) for _, slope, u, v in found[:TRIED]]
