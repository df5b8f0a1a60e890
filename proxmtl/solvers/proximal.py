"""The proximal gradient step with its line search, shared by all solvers that take such steps.

``f`` is the smooth part of the objective (loss plus smoothed terms), ``R`` the rest. Costs are in
passes over the data: a product with the features X, or with their transpose, is half a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer
from proxmtl.regularizers.frobenius import ridged_prox
from proxmtl.solvers.requirements import check_curvature, check_first
from proxmtl.solvers.steps import StepRule

__all__ = [
    "Linearization",
    "Trial",
    "check_scores",
    "extrapolated",
    "first_step",
    "linearized",
    "linearized_at",
    "lipschitz_step",
    "looked_ahead",
    "objective_at",
    "probe_length",
    "probed_curvature",
    "probed_step",
    "proximal_step",
    "searched_step",
    "smooth_gradient",
    "starting_step",
    "sufficient_decrease",
    "term_prox",
    "trial_step",
]

ROUNDING = 8.0
"""Moves of at most this many units in the last place of ``||x||`` are accepted without a test."""


class Linearization(NamedTuple):
    """The smooth part linearised at a point z: scores of z, and value and gradient there."""

    z: Tensor
    scores: Tensor
    value: float
    grad: Tensor


class Trial(NamedTuple):
    """Outcome of one proximal gradient step.

    ``objective`` is NaN unless the step was accepted. ``room`` tells whether a longer step would
    have been accepted, too. ``ahead`` is the linearization at the start of the next step, if the
    read of the features that gave the scores gave it as well.
    """

    x: Tensor
    scores: Tensor
    objective: float
    accepted: bool
    room: bool
    residual: float  # ||z - x|| / step: norm of the gradient mapping at z
    ahead: Linearization | None = None


def _none(x: Tensor) -> float:  # noqa: ARG001
    """No momentum."""
    return 0.0


def linearized(problem: Problem, z: Tensor) -> Linearization:
    """Linearization of the smooth part at a point; costs one pass."""
    scores, value, grad = problem.evaluate(z)
    return Linearization(z, scores, float(value), grad)


def looked_ahead(
    problem: Problem, x: Tensor, last: Tensor, last_scores: Tensor, beta: float
) -> tuple[Tensor, Linearization | None]:
    """Scores of ``x``, and the linearization at ``x + beta (x - last)`` if one read gives both.

    Costs one pass if the design computes scores and gradient in one read of the features, else
    half a pass, and the linearization is None. Scores are linear, so those of ``x`` are a weighted
    mean of the scores of the extrapolated point and of ``last``.
    """
    if not problem.reads_once:
        return problem.scores(x), None
    model = linearized(problem, extrapolated(last, x, beta))
    if not beta:
        return model.scores, model
    return torch.lerp(last_scores, model.scores, 1 / (1 + beta)), model


def linearized_at(problem: Problem, z: Tensor, scores: Tensor) -> Linearization:
    """Linearization of the smooth part at a point whose scores are known; costs half a pass.

    All trial steps from the point share it.
    """
    return Linearization(z, scores, *smooth_gradient(problem, z, scores))


def proximal_step(
    problem: Problem,
    model: Linearization,
    step: float,
    rule: StepRule,
    *,
    near: Tensor,
    near_scores: Tensor,
    momentum: Callable[[Tensor], float],
) -> Trial:
    """Compute ``x = prox_{step R}(z - step grad f(z))`` and test it for sufficient decrease.

    Costs half a pass for the scores of ``x``; or a whole pass, if one read of the features also
    gives the linearization at the extrapolated point ``x + beta (x - near)``.

    Parameters
    ----------
    problem : Problem
    model : Linearization
        At ``z``.
    step : float
        Step length.
    rule : StepRule
        Tells whether steps are verified, and by what factor they grow.
    near, near_scores : Tensor
        Last iterate, from which an iterative prox starts, and its scores.
    momentum : callable
        Maps ``x`` to the extrapolation ``beta`` of the next iteration.
    """
    x, penalty = problem.prox(model.z - step * model.grad, step, warm_start=near)
    beta = momentum(x) if problem.reads_once else 0.0
    scores, ahead = looked_ahead(problem, x, near, near_scores, beta)
    move = float((x - model.z).square().sum())
    accepted, room = sufficient_decrease(problem, model, x, scores, step, rule=rule, move=move)
    objective = math.nan
    if accepted:
        value = problem.data.value(scores)
        if problem.smooth_terms:
            value = value + problem.smooth_terms_value_and_grad(x)[0]
        objective = float(value + penalty)
    return Trial(x, scores, objective, accepted, room, math.sqrt(move) / step, ahead)


def sufficient_decrease(
    problem: Problem,
    model: Linearization,
    x: Tensor,
    scores: Tensor,
    step: float,
    *,
    rule: StepRule,
    move: float | None = None,
) -> tuple[bool, bool]:
    """Whether ``f(x) <= f(z) + <grad f(z), x - z> + ||x - z||^2 / (2 step)``.

    Returns two answers: for ``step``, and for a step longer by ``rule.growth``. The test uses the
    Bregman distance of the loss, summed sample by sample, so that it does not fail near the optimum
    in float32. Smoothed terms enter by their Lipschitz constants. A rule that does not verify its
    steps accepts all of them. ``move`` is ``||x - z||^2``, where it is known. Takes no product.
    """
    if not rule.verifies:
        return True, True
    if move is None:
        move = float((x - model.z).square().sum())
    curvature = sum(term.lipschitz for term in problem.smooth_terms)
    bregman = problem.data.bregman(scores, model.scores)
    bound = move * (1 / step - curvature) / 2
    # accept values that are not finite: no shorter step helps, and the loop reports divergence
    accepted = not bregman > bound or not math.isfinite(bregman)
    accepted = accepted or not bregman > bound + problem.data.bregman_error(
        model.scores, model.value
    )
    # accept a move that is mere rounding: the search would reject ever shorter steps without end
    accepted = accepted or move <= (ROUNDING * torch.finfo(x.dtype).eps * float(x.norm())) ** 2
    return accepted, bregman <= move * (1 / (step * rule.growth) - curvature) / 2


def first_step(problem: Problem, rule: StepRule) -> float:
    """First step without a probe: the one given to the rule, or one over the Lipschitz estimate.

    Raises ``ValueError`` if the step is not representable in the working precision
    (:func:`check_first`, :func:`check_curvature`).
    """
    if rule.first is not None:
        return check_first(problem, rule.first)
    return lipschitz_step(problem)


def lipschitz_step(problem: Problem) -> float:
    """One over the Lipschitz estimate, which the first call computes."""
    return 1 / (check_curvature(problem, problem.lipschitz) or 1.0)


def starting_step(
    problem: Problem, rule: StepRule, x: Tensor, scores: Tensor, model: Linearization | None = None
) -> float:
    """First step of a run from a point ``x`` whose scores are known.

    A rule that verifies its steps begins with a probe (:func:`probed_step`), at 1.5 passes; any
    other rule with the Lipschitz estimate, which costs some 20 to 60 passes for a single task.
    """
    if rule.probes:
        return probed_step(problem, model or linearized_at(problem, x, scores))
    return first_step(problem, rule)


def probed_step(problem: Problem, model: Linearization) -> float:
    """One over the curvature of the smooth part along the gradient of the loss; costs one pass.

    A first step for methods that verify or adapt their steps. It is at least one over the Lipschitz
    constant, and may be too long where the loss is more curved than along the probe. Smoothed terms
    enter by their Lipschitz constants, as in :func:`sufficient_decrease`. If the gradient vanishes,
    the step is one over the Lipschitz estimate. Raises ``ValueError`` as :func:`first_step` does.
    """
    smooth, smooth_grad = problem.smooth_terms_value_and_grad(model.z)
    grad = model.grad if smooth_grad is None else model.grad - smooth_grad
    size = float(torch.linalg.vector_norm(grad, dtype=torch.float64))
    length = probe_length(problem, model.value - float(smooth), size)
    if length == 0:
        return lipschitz_step(problem)
    change = problem.loss_gradient(model.z - length * grad) - grad
    curvature = probed_curvature(problem, length, size, float(change.norm()))
    return 1 / (curvature + sum(term.lipschitz for term in problem.smooth_terms))


def probe_length(problem: Problem, value: float, size: float) -> float:
    """Length of a probe along a gradient of norm ``size``: there the linearised loss is zero.

    Zero if there is nothing to probe: the gradient vanishes, or the loss is not positive.
    """
    if size == 0 or value <= 0:
        return 0.0
    slope = check_curvature(problem, size**2 / value)
    return 1 / slope if slope > 0 else 0.0


def probed_curvature(problem: Problem, length: float, size: float, change: float) -> float:
    """Curvature along a probe over which a gradient of norm ``size`` changed by ``change``.

    At least ``1 / (2 length)``: a non-negative quadratic loss has at least that curvature along its
    gradient, and for any other loss a longer step would leave the probed range far behind.
    """
    return check_curvature(problem, max(change / (length * size), 1 / (2 * length)))


def searched_step(
    problem: Problem,
    model: Linearization,
    step: float,
    rule: StepRule,
    *,
    near: Tensor,
    near_scores: Tensor,
    momentum: Callable[[Tensor], float] = _none,
) -> tuple[Trial, float]:
    """Backtracking line search: shorten the step until :func:`proximal_step` accepts it.

    Returns the accepted trial and its step length; the parameters are those of
    :func:`proximal_step`.
    """
    while True:
        trial = proximal_step(
            problem, model, step, rule, near=near, near_scores=near_scores, momentum=momentum
        )
        if trial.accepted:
            return trial, step
        step *= rule.shrink


def trial_step(step: float, rule: StepRule, *, room: bool) -> float:
    """First trial step of an iteration: the last step, longer if a longer one would have passed."""
    return step * (rule.growth if room else 1.0)


def smooth_gradient(problem: Problem, x: Tensor, scores: Tensor) -> tuple[float, Tensor]:
    """Smooth part and its gradient at a point whose scores are known; costs half a pass."""
    value, grad = problem.loss_and_grad_at(scores)
    if not problem.smooth_terms:
        return float(value), grad
    extra, extra_grad = problem.smooth_terms_value_and_grad(x)
    assert extra_grad is not None
    return float(value + extra), grad + extra_grad


def objective_at(problem: Problem, x: Tensor, scores: Tensor) -> float:
    """Objective at a point whose scores are known; takes no product."""
    value = problem.data.value(scores)
    smooth = problem.smooth_terms_value_and_grad(x)[0]
    return float(value + smooth + problem.regularizer_value(x))


def term_prox(
    problem: Problem, term: Regularizer | None, W: Tensor, step: float, ridge: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Prox of a single penalty (None: zero) plus a ridge, and its value; keeps the intercept."""
    penalised, bias = problem.design.split(W)
    out, value = ridged_prox(term, ridge, penalised, step)
    return problem.design.join(out, bias), value


def check_scores(problem: Problem, scores: Tensor) -> None:
    """Raise ``ValueError`` unless the scores of a resumed state fit the labels."""
    if scores.shape != problem.data.shape:
        raise ValueError(
            f"state: holds scores of shape {tuple(scores.shape)}, the labels have "
            f"{tuple(problem.data.shape)}; resume on the data it was made with."
        )


def extrapolated(old: Tensor, new: Tensor, beta: float) -> Tensor:
    """``new + beta (new - old)``, and ``new`` itself for ``beta = 0``."""
    return torch.lerp(old, new, 1 + beta) if beta else new
