"""The paper's model with own parts at several strengths, in a unit that means the same anywhere.

Without an L1 norm only ``mu^2 lambda`` matters for W, so that one strength stands for both: here
``mu = lambda``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.latent.initial import FEWEST, check_room, rebalance, split_weights
from proxmtl.latent.parts import Parts
from proxmtl.latent.problem import LatentProblem
from proxmtl.latent.refactor import Refactored
from proxmtl.latent.revive import directions
from proxmtl.latent.starts import alive, on_weights, relative, split_blocks
from proxmtl.problem import Problem
from proxmtl.solvers.blocks import Blocks
from proxmtl.solvers.fista import FISTA
from proxmtl.solvers.loop import run
from proxmtl.stopping import MaxIterations, MaxPasses, ObjectiveChange

__all__ = ["critical_strength", "followed", "start_of", "with_own_parts"]

FRACTIONS = (0.5, 0.35, 0.25, 0.17, 0.12, 0.08)
"""Strengths of the trace norm whose minimisers are starts, of its critical one."""

ITERATIONS = 10
"""Of the descent to each of them."""

PASSES = 20
"""Of a descent that is to find where the latents are, at most; scores hardly move afterwards."""

TOLERANCE = 1e-3
"""Least relative fall of the objective in ten iterations with which such a descent goes on."""

FEWEST_OF_ALL = 20
"""Budget from which on a solve starts from such a descent, in half of it."""


def with_own_parts(problem: Problem, groups: Groups, strength: float, own: float) -> LatentProblem:
    """The joint problem of a convex one's data, ``mu = lambda``, without an L1 norm.

    Counts are those of ``problem``.
    """
    posed = LatentProblem(
        problem.loss,
        problem.design,
        problem.targets,
        groups,
        group_strength=strength,
        l1_strength=0.0,
        frobenius_strength=strength,
        own_strength=own,
    )
    posed.counts = problem.counts
    return posed


def critical_strength(problem: Problem, groups: Groups) -> float:
    r"""Strength from which on a first latent does not pay where tasks have no own parts.

    With unit vectors u and v the latent :math:`t \, u v^\top` costs at its cheapest
    :math:`c\, t^{2/3}`, :math:`c = 3 \mu (\Omega(v) / 2)^{2/3}`, and gains
    :math:`\sigma t - h t^2 / 2` in the quadratic model of the loss at W = 0. At the best t,
    :math:`\sigma / 2 h`, the two are equal for :math:`c = \tfrac34 \sigma (\sigma / 2 h)^{1/3}`.
    The strength returned is the largest over the directions that :func:`revive` tries.

    Parameters
    ----------
    problem : Problem
        Without a penalty.
    groups : Groups
        Of the tasks.

    Returns
    -------
    float
        1 where the loss has no slope at W = 0. Costs two and a half passes.
    """
    posed = with_own_parts(problem, groups, 1.0, 1.0).in_units()
    dtype, targets = posed.design.dtype, posed.targets
    D, M = posed.design.split(posed.zeros())[0].shape
    zero = Parts(*(torch.zeros(s, dtype=dtype) for s in ((D, 1), (1, M), (M,), (D, M))))
    if not posed.design.intercept:
        zero = zero._replace(intercept=None)
    null, _ = posed.null(posed.blocks(zero))
    scores = posed.design.scores(posed.weights(null))
    _, residuals = posed.loss.value_and_grad(scores, targets.labels, targets.weights)
    slopes, _ = posed.design.split(posed.design.adjoint(residuals))
    posed.counts.charge(forward=1, adjoint=1)
    strengths = []
    for slope, u, v in directions(posed, slopes):
        moved = posed.weights(posed.blocks(zero._replace(L=u[:, None], S=v[None])))
        posed.counts.charge(forward=1)
        bend = targets.weights * posed.design.scores(moved).square()
        h = float(bend.sum(dtype=torch.float64)) * posed.loss.curvature_bound
        cost = float(posed.latent_penalties(*rebalance(posed, u[:, None], v[None])))
        if h > 0:
            strengths.append(0.75 * slope * (slope / (2 * h)) ** (1 / 3) / cost)
    return max(strengths, default=1.0)


def followed(
    problem: Problem,
    groups: Groups,
    strengths: Sequence[float],
    own: float,
    *,
    passes: float = PASSES,
    tolerance: float = TOLERANCE,
) -> Iterator[tuple[LatentProblem, Blocks]]:
    """Descents of the joint problem at several strengths.

    Points near minimisers of the convex relative, found once on a short path, are the starts: at
    each strength the one whose balanced singular directions have the lowest objective, whatever the
    strength before has led to. Latents that are dead at a start are left out, so that the number
    of latents differs along the path.

    Parameters
    ----------
    problem : Problem
        Without a penalty.
    groups : Groups
        Of the tasks, possibly overlapping.
    strengths : sequence of float
        ``mu = lambda``, from the strongest on.
    own : float
        Ridge on own parts.
    passes : float
        Of each descent, at most.
    tolerance : float
        A descent ends when ten iterations lower its objective by less than this share.

    Yields
    ------
    LatentProblem, Blocks
        At each strength, on the features as given; at least one latent, which may be zero.
    """
    base = with_own_parts(problem, groups, 1.0, own)
    view = base.in_units()
    starts = list(_convex(view))
    for strength in strengths:
        options: dict[str, Any] = {
            "group_strength": strength,
            "l1_strength": 0.0,
            "frobenius_strength": strength,
            "own_strength": own,
        }
        posed = view.with_strengths(**options)
        found = [(split_blocks(posed, each.W, each.factors), each.loss) for each in starts]
        blocks, _ = min(found, key=lambda start: start[1] + posed.penalty(start[0]))
        result = run(
            posed,
            Refactored(),
            alive(blocks),
            ObjectiveChange(tolerance, window=1) | MaxPasses(passes),
            log_every=10,
            null=False,
        )
        yield base.with_strengths(**options), view.outside(result.solution)


def start_of(
    problem: Problem, groups: Groups, strength: float, own: float, budget: float
) -> tuple[Any, ...] | None:
    """Where a descent at one strength arrives that :func:`followed` makes, for a solve to go on.

    Returns
    -------
    tuple or None
        L, S, intercepts and own parts, as ``init`` of :class:`~proxmtl.LatentMTL`; None where the
        budget of passes is too small for both. It takes half of it at most.
    """
    if budget < FEWEST_OF_ALL:
        return None
    with problem.counts.limited(budget / 2):
        ((_, (L, S, *others)),) = followed(problem, groups, [strength], own)
    return L, S, others[0] if problem.design.intercept else None, others[-1]


@dataclass(frozen=True)
class _Start:
    """A point of the convex path, its loss, and factors of its weights."""

    W: Tensor
    loss: float
    factors: tuple[Tensor, Tensor]


def _convex(problem: LatentProblem) -> Iterator[_Start]:
    """Zero weights, and points near minimisers of the convex relative."""
    convex, point, critical = on_weights(problem)
    D, M = problem.design.split(point)[0].shape
    n_latents = min(D, M)
    check_room(n_latents, D, M, point.element_size())
    for fraction in (0.0, *FRACTIONS) if 0 < critical < math.inf else (0.0,):
        if fraction:
            if problem.counts.left < FEWEST:
                return
            posed = convex.with_regularizers(relative(problem, fraction * critical))
            with problem.counts.limited(problem.counts.left - 1):  # the rest measures what is found
                point = run(posed, FISTA(), point, MaxIterations(ITERATIONS), null=False).solution
        factors = split_weights(problem.design.split(point)[0], n_latents)
        loss = problem.smooth_value(split_blocks(problem, point, factors))
        yield _Start(point, loss, factors)
