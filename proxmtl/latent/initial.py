"""Starting points of the factored problem from single-task weights; rebalancing of factors."""

from __future__ import annotations

import torch
from torch import Tensor

from proxmtl.latent.parts import Parts
from proxmtl.latent.problem import LatentProblem
from proxmtl.machine import available_memory, check_memory
from proxmtl.problem import Problem
from proxmtl.regularizers import SquaredFrobenius
from proxmtl.solvers.blocks import Blocks
from proxmtl.solvers.fista import FISTA
from proxmtl.solvers.loop import run
from proxmtl.solvers.requirements import check_curvature
from proxmtl.stopping import MaxIterations, RelativeGap

__all__ = [
    "check_room",
    "paper_start",
    "rebalance",
    "single_task_weights",
    "split_weights",
    "svd_start",
]

FEWEST = 5.0
"""Minimum budget of a useful start, in passes: two before its first iteration, and three more."""

RIDGE_FRACTION = 1e-2
"""Ridge of the single-task start, as a fraction of the loss's largest curvature."""


ROUNDING = 2.0**-51
"""Relative step at which Newton's method on a scalar has converged."""

COPIES = 4
"""Minimum number of copies of the factors in memory: point, trial, gradient and direction."""


def check_room(n_latents: int, n_features: int, n_attributes: int, itemsize: int = 8) -> None:
    """Check that the factors of ``n_latents`` latent tasks fit into memory.

    Raises
    ------
    ValueError
        If they do not; the message says how many latent tasks would fit.
    """
    size = COPIES * itemsize * (n_features + n_attributes)
    check_memory(
        size * n_latents,
        f"n_latents: {n_latents} latent tasks of {n_features} features and {n_attributes} "
        "attributes",
        f"{(available_memory() or 0) // size} would fit, and the default is "
        f"{min(n_features, n_attributes)}",
    )


def single_task_weights(problem: LatentProblem) -> Tensor:
    """Weights of independent ridge classifiers (D, M), the intercept row last if there is one.

    Solved to a relative gap of 1 %, at most 200 iterations, and at most half of the remaining
    passes; if very few passes remain, it may use all of them.
    """
    curvature = problem.loss.curvature_bound * float(problem.curvature_by_task.max())
    ridge = RIDGE_FRACTION * check_curvature(problem, curvature)
    # features that are all zero have no curvature; any ridge will do
    penalty = SquaredFrobenius(ridge or 1.0)
    convex = Problem(problem.loss, problem.design, problem.targets, penalty, counts=problem.counts)
    left = problem.counts.left
    with problem.counts.limited(max(left / 2, min(left, FEWEST))):
        stop = RelativeGap(1e-2) | MaxIterations(200)
        return run(convex, FISTA(), convex.zeros(), stop, null=False).solution


def svd_start(problem: LatentProblem, n_latents: int, generator: torch.Generator) -> Blocks:
    """Split single-task weights by a thin SVD, ``L = U sqrt(s)``, ``S = sqrt(s) V'``, rebalanced.

    Own parts are zero. Reproduces the single-task weights if ``n_latents`` is at least their rank.
    Latents beyond the rank are small random vectors in both factors.
    """
    weights, bias = problem.design.split(single_task_weights(problem))
    L, S = split_weights(weights, n_latents)
    extra = n_latents - L.shape[1]
    if extra:
        small = 1e-2 * (float(S.norm(dim=1).max()) if L.shape[1] else 1.0)
        D, M = weights.shape
        L = torch.cat([L, small * _normal(D, extra, generator, L) / D**0.5], dim=1)
        S = torch.cat([S, small * _normal(extra, M, generator, S) / M**0.5])
    L, S = rebalance(problem, L, S)
    return _blocks(problem, L.to(weights), S.to(weights), bias)


def split_weights(weights: Tensor, n_latents: int) -> tuple[Tensor, Tensor]:
    """Factors ``U sqrt(s)`` and ``sqrt(s) V'`` of the leading non-zero singular values.

    Signs are fixed so that the largest entry of each left singular vector is positive.
    """
    U, s, Vh = torch.linalg.svd(weights.to(torch.float64), full_matrices=False)
    rank = min(n_latents, int((s > 1e-10 * s[0]).sum())) if s[0] > 0 else 0
    largest = U.abs().argmax(0)
    signs = torch.sign(U[largest, torch.arange(U.shape[1], device=U.device)])
    root = s.sqrt()
    return (U * signs * root)[:, :rank], (root[:, None] * signs[:, None] * Vh)[:rank]


def _blocks(problem: LatentProblem, L: Tensor, S: Tensor, bias: Tensor | None) -> Blocks:
    """Assemble the blocks of a point; own parts, if any, are zero."""
    own = None if problem.own is None else L.new_zeros(L.shape[0], S.shape[1])
    return problem.blocks(Parts(L, S, None if bias is None else bias.clone(), own))


def paper_start(problem: LatentProblem, n_latents: int, generator: torch.Generator) -> Blocks:
    """The paper's start: ``L`` the first columns of the full SVD's ``U``, ``S`` standard normal.

    Columns beyond the rank of the single-task weights are an arbitrary orthonormal completion.
    """
    weights, bias = problem.design.split(single_task_weights(problem))
    D, M = weights.shape
    if n_latents > D:
        raise ValueError(
            f"n_latents: got {n_latents}; init='paper' takes columns of an orthogonal matrix of "
            f"size {D}, use at most that many."
        )
    U, _, _ = torch.linalg.svd(weights.to(torch.float64), full_matrices=n_latents > min(D, M))
    L = U[:, :n_latents].to(weights.dtype)
    S = _normal(n_latents, M, generator, weights)
    return _blocks(problem, L, S, bias)


def rebalance(problem: LatentProblem, L: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """Rescale each latent, ``(c l_k, s_k / c)``, to minimise the penalty; keeps ``L S``.

    ``c`` is the positive root of ``2 lambda ||l||^2 c^3 + gamma ||l||_1 c^2 = mu Omega(s)``, by
    Newton's method from above, where it converges monotonically. A latent that is zero in one
    factor is set to zero in both.
    """
    wide_L, wide_S = L.to(torch.float64), S.to(torch.float64)
    cubic = 2 * problem.ridge.strength * wide_L.square().sum(0)
    square = problem.l1.strength * wide_L.abs().sum(0)
    target = problem.row_penalties(wide_S)
    alive = (cubic + square > 0) & (target > 0)
    cubic, square, target = (torch.where(alive, v, 1.0) for v in (cubic, square, target))
    # dropping either term gives an upper bound on the root
    tiny = torch.finfo(torch.float64).tiny
    c = torch.minimum(
        (target / cubic.clamp_min(tiny)) ** (1 / 3), (target / square.clamp_min(tiny)) ** 0.5
    )
    for _ in range(50):
        value = (cubic * c + square) * c * c - target
        step = value / ((3 * cubic * c + 2 * square) * c)
        c = c - step
        if not bool((step > ROUNDING * c).any()):
            break
    c = torch.where(alive, c, 0.0)
    inverse = torch.where(alive, 1 / torch.where(alive, c, 1.0), 0.0)
    return (wide_L * c).to(L), (wide_S * inverse[:, None]).to(S)


def _normal(rows: int, columns: int, generator: torch.Generator, like: Tensor) -> Tensor:
    # drawn on the CPU in float64, so that a seed gives the same start on every device
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64).to(like)
