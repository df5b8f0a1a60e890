"""The start from the convex relative, and the choice among starts."""

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
"""Strengths of the path, of the one from which on nothing is shared."""

ITERATIONS = 15
"""Most of each point of the path."""

LOOK = 40.0
"""Most passes of a path that is followed for the number of latents alone."""

LOOK_ITERATIONS = 3
"""Most of each of its points: the rank settles long before the weights do."""

LEAST = 4 * FEWEST
"""Passes from which on the path is tried."""

SHARES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Of a direction that may be shared, where tasks have own parts."""

WORSE = 2
"""Points, one after another, that are worse than the best before the path ends."""


def zero_start(
    problem: LatentProblem,
    n_latents: int,
    generator: torch.Generator,  # noqa: ARG001
) -> Blocks:
    """Zero weights with the best intercepts: nothing is shared.

    A local minimum of the factors, which only
    :func:`~proxmtl.latent.reactivation.reactivate_latents` leaves.
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
    """Factors of trace-norm solutions: those with the lowest joint objective on a short path.

    The trace norm, at its least over factorisations ``(||L||_F^2 + ||S||_F^2) / 2``, is the convex
    relative of the penalties on L and S, and its minimisers have few directions, which all tasks
    have learnt together. Where tasks have own parts, its infimal convolution with their ridge takes
    its place. The path begins at the strongest penalty, each point from the last, all of them
    solved roughly: it ends where the joint objective rises, or with half of the passes left.
    Latents beyond the rank are zero.
    """
    return _on_trace_path(problem, n_latents)[0]


def _on_trace_path(
    problem: LatentProblem, n_latents: int, *, look: bool = False
) -> tuple[Blocks, float]:
    """The start, and its objective; zero weights where the passes are too few for more.

    A look at how many latents it has takes few passes, and ends once it has all.
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
            with problem.counts.limited(problem.counts.left - 1):  # the rest measures what is found
                point = run(posed, FISTA(), point, stop, null=False).solution
            blocks = _factored(problem, point, n_latents)
            objective = problem.objective(blocks)
            since = 0 if objective < lowest else since + 1
            if objective < lowest:
                best, lowest = blocks, objective
                full = look and alive(blocks)[0].shape[1] == n_latents
    return best, lowest


def on_weights(problem: LatentProblem) -> tuple[Problem, Tensor, float]:
    """The convex relative, zero weights, and the strength of the trace norm from which they stay.

    That is the strength without own parts; with them it shares nothing either. Costs a pass.
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
    """The convex penalty on W."""
    ratio = math.inf if problem.own is None else problem.own.strength / strength
    # where own parts cost so much more the sum is the trace norm, to rounding
    return SharedPlusOwn(strength, ratio) if math.isfinite(ratio) else Nuclear(strength)


def _factored(problem: LatentProblem, W: Tensor, n_latents: int) -> Blocks:
    """Blocks with these weights, or close to them where K is below their rank: cheap ones."""
    weights, _ = problem.design.split(W)
    blocks = split_blocks(problem, W, split_weights(weights, n_latents))
    L, S = blocks[:2]
    if L.shape[1]:
        L, S = cheapest(problem, (L, S))
    missing = n_latents - L.shape[1]
    L, S = nn.functional.pad(L, (0, missing)), nn.functional.pad(S, (0, 0, 0, missing))
    return (L, S, *blocks[2:])


def split_blocks(problem: LatentProblem, W: Tensor, factors: tuple[Tensor, Tensor]) -> Blocks:
    """Blocks of singular directions of W, each balanced; what is cheaper so is left to own parts.

    Parameters
    ----------
    problem : LatentProblem
    W : Tensor
        The design's parameter, with the intercept row.
    factors : L and S, shapes (D, K) and (K, M), float64
        Of :func:`split_weights`. Where tasks have own parts, the product of the blocks is W.
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
    """How much of each singular direction is cheapest as a latent, the rest being own; (K,).

    The directions are orthogonal, so that the ridge on what is left is a sum over them.
    """
    size = L.norm(dim=0) * S.norm(dim=1)
    shares = size.new_tensor(SHARES)
    scaled = (L[:, None, :] * shares[:, None]).flatten(1), S.repeat(len(SHARES), 1)
    costs = problem.latent_penalties(*rebalance(problem, *scaled)).view(len(SHARES), -1)
    costs = costs + own.strength * ((1 - shares[:, None]) * size) ** 2
    cheap: Tensor = shares[costs.argmin(0)]
    return cheap


def best_start(problem: LatentProblem, n_latents: int, generator: torch.Generator) -> Blocks:
    """The start of trace norms or that of single tasks, whichever has the lower objective.

    Factors are compared as the cheapest of their product. Zero weights are no start here: few
    descents leave them, and a run returns them where it ends above.
    """
    return _better(problem, n_latents, generator, *_on_trace_path(problem, n_latents))


def _better(
    problem: LatentProblem,
    n_latents: int,
    generator: torch.Generator,
    best: Blocks,
    lowest: float,
) -> Blocks:
    """The start given, of this objective, or that of single tasks."""
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
    """Make a start by its name.

    Parameters
    ----------
    problem : LatentProblem
    init : str
        One of INITS, or ``"auto"``: ``"best"`` with own parts, ``"svd"`` without.
    n_latents : int, "auto" or None
        ``"auto"``: as many as the best solution of the trace norm on the path of ``"trace"`` has,
        one at least. ``"trace"`` and ``"best"`` follow that path anyway; for the others it is
        followed roughly, with at most 40 passes and at most half of those left, and no further than
        to where it has all. All where the passes are too few to look. None: all, ``min(M, D)``.
    generator : torch.Generator
        Of what is random.
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
    """Without latents that are zero, but for one where all are."""
    L, S = blocks[:2]
    live = (L != 0).any(0) & (S != 0).any(1)
    if not bool(live.any()):
        return (L.new_zeros(L.shape[0], 1), S.new_zeros(1, S.shape[1]), *blocks[2:])
    return (L[:, live], S[live], *blocks[2:])
