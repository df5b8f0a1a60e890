"""Bringing dead latents back, where one of them would lower the objective."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from proxmtl.latent.initial import rebalance
from proxmtl.latent.problem import LatentProblem
from proxmtl.solvers.blocks import Blocks

__all__ = ["reactivate_latents"]

WORTHWHILE = 1e-4
"""Least fall of the objective, relative to it, for which a latent is brought back."""

TRIED = 3
"""Directions whose scores are computed."""

COST = 1 + TRIED / 2
"""Passes of a trial: a gradient, and the scores of the directions."""

SCALES = tuple(2.0**power for power in range(-6, 3))
"""Lengths that are tried, in units of the minimiser of the loss's quadratic model."""


def reactivate_latents(problem: LatentProblem, blocks: Blocks) -> Blocks:
    """Set dead latents to rank-one directions along which the objective falls.

    A latent that is zero in both factors is at a local minimum, whatever the gradient G of the loss
    in W: the cheapest penalty of a product ``t u v'`` grows as ``sqrt(t)`` (with an L1 norm on L)
    or ``t^(2/3)`` (with a ridge), the gain only as ``t <-G, u v'>``. So descent cannot bring it
    back, and what decides is a step of finite length: the least over t of
    ``loss(W + t u v') + penalty(t u v')``. Directions are the leading singular pair of ``-G`` on
    all tasks, on each group and on the task with the largest gradient, and the same with smaller
    features cut off. Of the three with the largest gain for their penalty, lengths are tried on the
    loss itself. The best is taken if the objective falls, and the next dead latent is tried with
    the gradient there.

    Costs nothing without a dead latent; otherwise two and a half passes, and as many again for each
    latent that comes back.

    Parameters
    ----------
    problem : LatentProblem
    blocks : tuple of Tensor
        Of the problem; not modified.

    Returns
    -------
    tuple of Tensor
        New blocks, of an objective not above the old one; the same object if none came back.
    """
    L, S = blocks[:2]
    for k in torch.nonzero((L == 0).all(0) | (S == 0).all(1)).flatten().tolist():
        if problem.counts.left < 4 * COST:  # most of what is left is for the descent
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
    found, weights = None, problem.data.at(Z.dtype).weights
    for slope, u, v in directions(problem, G):
        # no bias in it: the intercept follows in the descent
        Zd = problem.design.scores(
            problem.weights((u[:, None], v[None], *(torch.zeros_like(b) for b in blocks[2:])))
        )
        problem.counts.charge(forward=1)
        bend = float((weights * Zd.square()).sum()) * problem.loss.curvature_bound
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
    """Slopes and unit directions (u, v): those that fall most for the penalty they cost."""
    groups, M = problem.groups, G.shape[1]
    parts = [
        groups.indices[a:b].to(G.device) for a, b in itertools.pairwise(groups.indptr.tolist())
    ]
    sets = [
        torch.arange(M, device=G.device),
        *(part for part in parts if 1 < len(part) < M),
        G.norm(dim=0).argmax()[None],  # the task that gains most alone
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
