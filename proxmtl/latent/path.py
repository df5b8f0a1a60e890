"""The paper's model with own parts along a path of strengths, and its critical strength.

Without an L1 norm only ``mu^2 lambda`` matters for W, so a single strength ``mu = lambda`` replaces
both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from proxmtl.counts import OutOfPassesError
from proxmtl.groups import Groups
from proxmtl.latent.initial import FEWEST, check_room, rebalance, split_weights
from proxmtl.latent.parts import Parts
from proxmtl.latent.problem import LatentProblem
from proxmtl.latent.reactivation import directions
from proxmtl.latent.refactor import Refactored
from proxmtl.latent.singular import LatentsPlusOwn, singular_penalty
from proxmtl.latent.starts import alive, split_blocks
from proxmtl.problem import Problem
from proxmtl.regularizers import SharedPlusOwn
from proxmtl.solvers.blocks import Blocks
from proxmtl.solvers.loop import run
from proxmtl.solvers.span_descent import Descent, ahead, descended, penalty_at
from proxmtl.solvers.spans import Point, Span, span_of
from proxmtl.stopping import MaxPasses, ObjectiveChange

__all__ = ["critical_strength", "followed", "start_of", "with_own_parts"]

FRACTIONS = (0.5, 0.35, 0.25, 0.17, 0.12, 0.08)
"""Strengths of the trace norm whose solutions are starts, as fractions of the critical one."""

ITERATIONS = 10
"""Maximum number of iterations of the descent at each of these strengths."""

PASSES = 20
"""Maximum number of passes of a descent; scores hardly change after the supports have settled."""

TOLERANCE = 1e-3
"""A descent continues while ten iterations lower the objective by more than this fraction."""

FEWEST_OF_ALL = 20
"""Minimum budget in passes for a solve to start from such a descent, which may use half of it."""

STEPS = 3
"""Iterations over which the objective has to fall for a descent with singular values to go on."""

MOST = 1e150
"""Maximum strength of own parts, relative to that of the trace norm."""


def with_own_parts(problem: Problem, groups: Groups, strength: float, own: float) -> LatentProblem:
    """Factored problem with ``mu = lambda`` and no L1 norm, on the data of a convex problem.

    Shares the counts of ``problem``.
    """
    return LatentProblem(
        problem.loss,
        problem.design,
        problem.targets,
        groups,
        group_strength=strength,
        l1_strength=0.0,
        frobenius_strength=strength,
        own_strength=own,
        counts=problem.counts,
    )


def critical_strength(problem: Problem, groups: Groups) -> float:
    r"""Strength above which no first latent lowers the objective at W = 0, without own parts.

    With unit vectors u and v, the minimal penalty of a latent :math:`t \, u v^\top` is
    :math:`c\, t^{2/3}`, :math:`c = 3 \mu (\Omega(v) / 2)^{2/3}`, and its gain in the quadratic
    model of the loss is :math:`\sigma t - h t^2 / 2`. At the best t, :math:`\sigma / 2 h`, the two
    are equal for :math:`c = \tfrac34 \sigma (\sigma / 2 h)^{1/3}`. Returns the largest such
    strength over the directions that :func:`reactivate_latents` tries.

    Parameters
    ----------
    problem : Problem
        Without a penalty.
    groups : Groups
        Groups of tasks.

    Returns
    -------
    float
        1 if the gradient at W = 0 vanishes. Costs two and a half passes.
    """
    posed = with_own_parts(problem, groups, 1.0, 1.0).in_units()
    dtype = posed.design.dtype
    D, M = posed.design.split(posed.zeros())[0].shape
    zero = Parts(*(torch.zeros(s, dtype=dtype) for s in ((D, 1), (1, M), (M,), (D, M))))
    if not posed.design.intercept:
        zero = zero._replace(intercept=None)
    null, _ = posed.null(posed.blocks(zero))
    scores = posed.design.scores(posed.weights(null))
    residuals = posed.data.gradient(scores)
    slopes, _ = posed.design.split(posed.design.adjoint(residuals))
    posed.counts.charge(forward=1, adjoint=1)
    strengths = []
    for slope, u, v in directions(posed, slopes):
        moved = posed.weights(posed.blocks(zero._replace(L=u[:, None], S=v[None])))
        posed.counts.charge(forward=1)
        bend = posed.data.weighted_squares(posed.design.scores(moved))
        h = bend * posed.loss.curvature_bound
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
    """Solve the factored problem approximately at several strengths.

    Starts are approximate solutions of the convex surrogate, computed once on a short path. At
    each strength, the descent starts from the one whose balanced singular directions have the
    lowest objective, not from the result at the previous strength. Latents that are zero at a start
    are removed, so the number of latents varies along the path.

    Parameters
    ----------
    problem : Problem
        Without a penalty.
    groups : Groups
        Groups of tasks, possibly overlapping.
    strengths : sequence of float
        ``mu = lambda``, in descending order.
    own : float
        Ridge on own parts.
    passes : float
        Maximum number of passes of each descent; with a single group of all tasks, of iterations,
        which cost no more.
    tolerance : float
        A descent ends when ten iterations (three with a single group of all tasks) lower its
        objective by less than this fraction.

    Yields
    ------
    LatentProblem, Blocks
        Problem and blocks at each strength, on the features as given; there is at least one latent,
        which may be zero.
    """
    base = with_own_parts(problem, groups, 1.0, own)
    view = base.in_units()
    span = span_of(problem)
    starts, step = _convex(span, own)
    for strength in strengths:
        options: dict[str, Any] = {
            "group_strength": strength,
            "l1_strength": 0.0,
            "frobenius_strength": strength,
            "own_strength": own,
        }
        posed = base.with_strengths(**options)
        penalty = singular_penalty(posed)
        if penalty is not None:
            values = [loss + penalty_at(penalty, point) for point, loss in starts]
            start = Descent.start(span, penalty, starts[values.index(min(values))][0], step)
            end = descended(start, steps=STEPS, most=passes, tolerance=tolerance)
            yield posed, _split(posed, span, end.point, penalty)
            continue
        found = [_split(posed, span, point, None) for point, _ in starts]
        blocks = min(found, key=posed.objective)
        result = run(
            view.with_strengths(**options),
            Refactored(),
            alive(view.inside(blocks)),
            ObjectiveChange(tolerance, window=1) | MaxPasses(passes),
            log_every=10,
            null=False,
        )
        yield posed, view.outside(result.solution)


def start_of(
    problem: Problem, groups: Groups, strength: float, own: float, budget: float
) -> tuple[Any, ...] | None:
    """Start of a solve: the result of :func:`followed` at a single strength.

    Returns
    -------
    tuple or None
        L, S, intercepts and own parts, as ``init`` of :class:`~proxmtl.LatentMTL`; None if the
        budget of passes is too small for start and solve. Takes at most half of the budget.
    """
    if budget < FEWEST_OF_ALL:
        return None
    try:
        with problem.counts.limited(budget / 2):
            ((_, (L, S, *others)),) = followed(problem, groups, [strength], own)
    except OutOfPassesError:  # before there was a point
        return None
    return L, S, others[0] if problem.design.intercept else None, others[-1]


def _convex(span: Span, own: float) -> tuple[list[tuple[Point, float]], float | None]:
    """Zero weights and approximate solutions of the convex surrogate, each with its loss.

    Also returns the length of the last step.
    """
    problem = span.problem
    D, M = problem.design.split(problem.zeros())[0].shape
    check_room(min(D, M), D, M, problem.design.dtype.itemsize)
    null = span.at(problem.null_point().to(problem.design.dtype))
    starts = [(null, span.loss(null))]
    if problem.counts.left < FEWEST:
        return starts, None
    critical = span.steepness(null)
    found: list[tuple[float, Descent]] = []
    for fraction in FRACTIONS if 0 < critical < math.inf else ():
        strength = fraction * critical
        # with own parts at a price beyond any it is the trace norm
        relative = SharedPlusOwn(strength, min(own / strength, MOST))
        begun = (
            Descent.start(span, relative, ahead(found, strength, "point"), found[-1][1].step)
            if found
            else Descent.start(span, relative, null)
        )
        end = descended(begun, steps=ITERATIONS, most=ITERATIONS)
        found = [*found[-1:], (strength, end)]
        starts.append((end.point, span.loss(end.point)))
        if problem.counts.left < FEWEST:
            break
    return starts, found[-1][1].step if found else None


def _split(
    problem: LatentProblem, span: Span, point: Point, penalty: LatentsPlusOwn | None
) -> Blocks:
    """Blocks made of the singular directions of a point's weights."""
    W = span.problem.outside(span.parameter(point))
    weights, bias = problem.design.split(W)
    L, S = split_weights(weights, min(weights.shape))
    if penalty is None:
        return split_blocks(problem, W, (L, S))
    size = L.square().sum(0)
    share = (penalty.shared(size, penalty.own) / size).sqrt()
    L, S = alive((L * share, S * share[:, None]))
    own = weights - (L @ S).to(weights)
    L, S = rebalance(problem, L, S)
    return problem.blocks(Parts(L.to(weights), S.to(weights), bias, own))
