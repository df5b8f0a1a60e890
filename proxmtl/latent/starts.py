"""Starting points from trace-norm solutions (the convex surrogate), and the choice of a start."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from proxmtl.latent.initial import (
    FEWEST,
    check_room,
    paper_start,
    rebalance,
    split_weights,
    svd_start,
)
from proxmtl.latent.parts import Parts
from proxmtl.latent.problem import LatentProblem
from proxmtl.latent.refactor import cheapest
from proxmtl.problem import Problem
from proxmtl.regularizers import Nuclear, Regularizer, SharedPlusOwn, SquaredFrobenius
from proxmtl.solvers.blocks import Blocks
from proxmtl.solvers.fista import FISTA
from proxmtl.solvers.loop import run
from proxmtl.stopping import MaxIterations, RelativeGap

__all__ = ["INITS", "alive", "made_start", "on_weights", "relative", "split_blocks"]

FRACTIONS = (0.5, 0.35, 0.25, 0.17, 0.12, 0.08, 0.05, 0.03, 0.02)
"""Strengths of the path, as fractions of the critical strength, above which nothing is shared."""

ITERATIONS = 15
"""Maximum number of iterations at each point of the path."""

LOOK = 40.0
"""Maximum number of passes of a path that only determines the number of latents."""

LOOK_ITERATIONS = 3
"""Maximum number of iterations at its points: the rank converges long before the weights."""

LEAST = 4 * FEWEST
"""Minimum number of remaining passes for the path to be followed."""

SHARES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Candidate shares of a singular direction that become a latent, the rest being own parts."""

WORSE = 2
"""The path ends after this many consecutive points that are worse than the best one."""


def zero_start(
    problem: LatentProblem,
    n_latents: int,
    generator: torch.Generator,  # noqa: ARG001
) -> Blocks:
    """Zero weights with the best intercepts.

    A local minimum, which only :func:`~proxmtl.latent.reactivation.reactivate_latents` leaves.
    """
    return _null(problem, n_latents)[0]


def _null(problem: LatentProblem, n_latents: int) -> tuple[Blocks, float]:
    weights, bias = problem.design.split(problem.zeros())
    D, M = weights.shape
    own = None if problem.own is None else weights
    factors = weights.new_zeros(D, n_latents), weights.new_zeros(n_latents, M)
    return problem.null(problem.blocks(Parts(*factors, bias, own)))


def trace_start(
    problem: LatentProblem,
    n_latents: int,
    generator: torch.Generator,  # noqa: ARG001
) -> Blocks:
    """Factors of the trace-norm solution with the lowest factored objective on a short path.

    The trace norm, the minimum of ``(||L||_F^2 + ||S||_F^2) / 2`` over factorisations, is a convex
    surrogate of the penalties on L and S; its solutions have low rank, learnt from all tasks. With
    own parts, its infimal convolution with their ridge replaces it. The path runs from the largest
    strength downwards with warm starts and approximate solves. It ends where the factored objective
    rises, or when half of the passes are used. Latents beyond the rank are zero.
    """
    return _on_trace_path(problem, n_latents)[0]


def _on_trace_path(
    problem: LatentProblem, n_latents: int, *, look: bool = False
) -> tuple[Blocks, float]:
    """The start of :func:`trace_start`, and its objective; zero weights if passes are too few.

    With ``look``, only the number of latents matters: takes few passes, and ends at full rank.
    """
    best, lowest = _null(problem, n_latents)
    if problem.counts.left < LEAST:
        return best, lowest
    iterations, most = (LOOK_ITERATIONS, LOOK) if look else (ITERATIONS, math.inf)
    end = problem.counts.passes + min(problem.counts.left / 2, most)
    convex, point, critical = on_weights(problem)
    since, full = 0, False
    with problem.counts.limited(end - problem.counts.passes):
        for fraction in FRACTIONS if 0 < critical < math.inf else ():
            if problem.counts.left < FEWEST or since == WORSE or full:
                break
            posed = convex.with_regularizers(relative(problem, fraction * critical))
            stop = RelativeGap(1e-2) | MaxIterations(iterations)
            with problem.counts.limited(problem.counts.left - 1):  # one pass is for the objective
                point = run(posed, FISTA(), point, stop, null=False).solution
            blocks = _factored(problem, point, n_latents)
            objective = problem.objective(blocks)
            since = 0 if objective < lowest else since + 1
            if objective < lowest:
                best, lowest = blocks, objective
                full = look and alive(blocks)[0].shape[1] == n_latents
    return best, lowest


def on_weights(problem: LatentProblem) -> tuple[Problem, Tensor, float]:
    """Convex surrogate problem in W, its null point, and the critical strength of the trace norm.

    The critical strength is that without own parts; with own parts nothing is shared there, either.
    Costs one pass.
    """
    convex = Problem(
        problem.loss,
        problem.design,
        problem.targets,
        relative(problem, 1.0),
        counts=problem.counts,
    )
    point = convex.null_point().to(problem.design.dtype)
    _, slope = convex.smooth_value_and_grad(point)
    return convex, point, Nuclear(1.0).critical_strength(convex.design.split(slope)[0])


def relative(problem: LatentProblem, strength: float) -> Regularizer:
    """Convex surrogate penalty on W, with the trace norm at a given strength."""
    ratio = math.inf if problem.own is None else problem.own.strength / strength
    # if own parts are that expensive, the infimal convolution is the trace norm to rounding
    return SharedPlusOwn(strength, ratio) if math.isfinite(ratio) else Nuclear(strength)


def _factored(problem: LatentProblem, W: Tensor, n_latents: int) -> Blocks:
    """Low-penalty blocks with the weights W, or an approximation if K is below their rank."""
    weights, _ = problem.design.split(W)
    blocks = split_blocks(problem, W, split_weights(weights, n_latents))
    L, S = blocks[:2]
    if L.shape[1]:
        L, S = cheapest(problem, (L, S))
    missing = n_latents - L.shape[1]
    L, S = nn.functional.pad(L, (0, missing)), nn.functional.pad(S, (0, 0, 0, missing))
    return (L, S, *blocks[2:])


def split_blocks(problem: LatentProblem, W: Tensor, factors: tuple[Tensor, Tensor]) -> Blocks:
    """Blocks from singular directions of W, balanced; own parts take what is cheaper there.

    Parameters
    ----------
    problem : LatentProblem
    W : Tensor
        Parameter of the design, with the intercept row.
    factors : L and S, shapes (D, K) and (K, M), float64
        Factors from :func:`split_weights`. With own parts, the blocks reproduce W exactly.
    """
    weights, bias = problem.design.split(W)
    L, S = factors
    own = None
    if problem.own is not None:
        share = _share(problem, problem.own, L, S)
        L, S = (L * share.sqrt())[:, share > 0], (S * share.sqrt()[:, None])[share > 0]
        own = weights - (L @ S).to(weights)
    L, S = rebalance(problem, L, S)
    return problem.blocks(Parts(L.to(weights), S.to(weights), bias, own))


def _share(problem: LatentProblem, own: SquaredFrobenius, L: Tensor, S: Tensor) -> Tensor:
    """Optimal share of each singular direction as a latent, the rest being own parts; (K,).

    The directions are orthogonal, so the ridge on own parts is a sum over them.
    """
    size = L.norm(dim=0) * S.norm(dim=1)
    shares = size.new_tensor(SHARES)
    scaled = (L[:, None, :] * shares[:, None]).flatten(1), S.repeat(len(SHARES), 1)
    costs = problem.latent_penalties(*rebalance(problem, *scaled)).view(len(SHARES), -1)
    costs = costs + own.strength * ((1 - shares[:, None]) * size) ** 2
    cheap: Tensor = shares[costs.argmin(0)]
    return cheap


def best_start(problem: LatentProblem, n_latents: int, generator: torch.Generator) -> Blocks:
    """The trace-norm start or the single-task start, whichever has the lower objective.

    The factors are refactored before the comparison. Zero weights are not a candidate: descents
    rarely leave them, and a run returns them anyway if it ends above them.
    """
    return _better(problem, n_latents, generator, *_on_trace_path(problem, n_latents))


def _better(
    problem: LatentProblem,
    n_latents: int,
    generator: torch.Generator,
    best: Blocks,
    lowest: float,
) -> Blocks:
    """The given start ``best`` of objective ``lowest``, or the single-task start if better."""
    if not bool(problem.design.split(problem.weights(best))[0].any()):
        return svd_start(problem, n_latents, generator)
    if problem.counts.left < FEWEST:
        return best
    with problem.counts.limited(problem.counts.left - 1):
        start = svd_start(problem, n_latents, generator)
    start = (*cheapest(problem, start[:2]), *start[2:])
    return start if problem.objective(start) < lowest else best


INITS: dict[str, Callable[[LatentProblem, int, torch.Generator], Blocks]] = {
    "best": best_start,
    "trace": trace_start,
    "svd": svd_start,
    "zero": zero_start,
    "paper": paper_start,
}


def made_start(
    problem: LatentProblem,
    init: str,
    n_latents: int | Literal["auto"] | None,
    generator: torch.Generator,
) -> Blocks:
    """Compute a start by its name.

    Parameters
    ----------
    problem : LatentProblem
    init : str
        One of INITS, or ``"auto"``: ``"best"`` with own parts, ``"svd"`` without.
    n_latents : int, "auto" or None
        ``"auto"``: the rank of the best trace-norm solution on the path of ``"trace"``, at least 1.
        ``"trace"`` and ``"best"`` follow that path anyway; for other starts it is followed
        approximately, with at most 40 passes and half of those left, and not beyond full rank;
        ``min(M, D)`` if too few passes remain for that. None: ``min(M, D)``.
    generator : torch.Generator
        Source of the random parts.
    """
    if init == "auto":
        init = "svd" if problem.own is None else "best"
    D, M = problem.design.split(problem.zeros())[0].shape
    most = n_latents if isinstance(n_latents, int) else min(M, D)
    check_room(most, D, M, problem.design.dtype.itemsize)
    if n_latents != "auto" or problem.counts.left < LEAST:
        return INITS[init](problem, most, generator)
    traced, lowest = _on_trace_path(problem, most, look=init not in ("trace", "best"))
    traced = alive(traced)
    if init == "trace":
        return traced
    K = traced[0].shape[1]
    if init == "best":
        return _better(problem, K, generator, traced, lowest)
    return INITS[init](problem, K, generator)


def alive(blocks: Blocks) -> Blocks:
    """Remove the latents that are zero; keeps one if all are."""
    L, S = blocks[:2]
    live = (L != 0).any(0) & (S != 0).any(1)
    if not bool(live.any()):
        return (L.new_zeros(L.shape[0], 1), S.new_zeros(1, S.shape[1]), *blocks[2:])
    return (L[:, live], S[live], *blocks[2:])
