"""The proximal gradient step, and the bookkeeping that all solvers made of it share."""

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
"""Moves of this many units in the last place of the whole parameter are taken without a test."""


class Linearization(NamedTuple):
    """A point to step from: its scores, and the smooth part's value and gradient there."""

    z: Tensor
    scores: Tensor
    value: float
    grad: Tensor


class Trial(NamedTuple):
    """Outcome of one proximal gradient step; ``room``: a longer step would have passed too.

    ``ahead`` is the model at the point to step from next, if that was read along with the scores.
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
    """Linearization of the smooth part at a point: one pass, one read where the design has that."""
    scores, value, grad = problem.evaluate(z)
    return Linearization(z, scores, float(value), grad)


def looked_ahead(
    problem: Problem, x: Tensor, last: Tensor, last_scores: Tensor, beta: float
) -> tuple[Tensor, Linearization | None]:
    """Scores of ``x``, and the model at ``x + beta (x - last)`` where one read gives both.

    A whole pass then, and else half a one. Scores are linear: those of ``x`` are a mean of those
    that were read and of the ones of ``last``.
    """
    if not problem.reads_once:
        return problem.scores(x), None
    model = linearized(problem, extrapolated(last, x, beta))
    if not beta:
        return model.scores, model
    return torch.lerp(last_scores, model.scores, 1 / (1 + beta)), model


def linearized_at(problem: Problem, z: Tensor, scores: Tensor) -> Linearization:
    """Linearization of the smooth part at a point whose scores are known: half a pass.

    All steps tried from the point share it.
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
    """``x = prox_{step R}(z - step grad f(z))``, and whether the upper bound of ``f`` holds there.

    Half a pass over the data: ``X`` times ``x``; a whole one where that reads the features once and
    gives the model at ``x + beta (x - near)`` too, with ``beta = momentum(x)``. ``near`` is the
    last iterate, which saves an iterative prox time.
    """
    x, penalty = problem.prox(model.z - step * model.grad, step, warm_start=near)
    beta = momentum(x) if problem.reads_once else 0.0
    scores, ahead = looked_ahead(problem, x, near, near_scores, beta)
    move = float((x - model.z).square().sum())
    accepted, room = sufficient_decrease(problem, model, x, scores, step, rule=rule)
    objective = math.nan
    if accepted:
        objective = float(
            problem.data.value(scores) + problem.smooth_terms_value_and_grad(x)[0] + penalty
        )
    return Trial(x, scores, objective, accepted, room, math.sqrt(move) / step, ahead)


def sufficient_decrease(
    problem: Problem,
    model: Linearization,
    x: Tensor,
    scores: Tensor,
    step: float,
    *,
    rule: StepRule,
) -> tuple[bool, bool]:
    """Whether ``f(x) <= f(z) + <grad f(z), x - z> + ||x - z||^2 / (2 step)``; and for a longer one.

    The test is on the Bregman distance of the loss, summed sample by sample, so that it does not
    fail near the optimum in float32. Smoothed terms count with their Lipschitz constants. A rule
    that does not verify accepts every step.
    """
    if not rule.verifies:
        return True, True
    move = float((x - model.z).square().sum())
    curvature = sum(term.lipschitz for term in problem.smooth_terms)
    bregman = problem.data.bregman(scores, model.scores)
    bound = move * (1 / step - curvature) / 2
    allowance = problem.data.bregman_error(model.scores, model.value)
    # what is not finite is no matter of the step: the loop calls it divergence
    accepted = not bregman > bound + allowance or not math.isfinite(bregman)
    # nor is a move that is all rounding: shorter steps would be refused for ever
    accepted |= move <= (ROUNDING * torch.finfo(x.dtype).eps * float(x.norm())) ** 2
    return accepted, bregman <= move * (1 / (step * rule.growth) - curvature) / 2


def first_step(problem: Problem, rule: StepRule) -> float:
    """First step that needs no test: the rule's own, or one over the Lipschitz estimate.

    Raises ``ValueError`` where either is out of range (:func:`check_first`,
    :func:`check_curvature`).
    """
    if rule.first is not None:
        return check_first(problem, rule.first)
    return lipschitz_step(problem)


def lipschitz_step(problem: Problem) -> float:
    """One over the Lipschitz estimate, which is found at the first call."""
    return 1 / (check_curvature(problem, problem.lipschitz) or 1.0)


def starting_step(
    problem: Problem, rule: StepRule, x: Tensor, scores: Tensor, model: Linearization | None = None
) -> float:
    """First step of a run from a point whose scores are known.

    A rule that verifies its steps starts from a probe, 1.5 passes; one that does not, from the
    Lipschitz estimate, which costs some 20 to 60 for a single task.
    """
    if rule.probes:
        return probed_step(problem, model or linearized_at(problem, x, scores))
    return first_step(problem, rule)


def probed_step(problem: Problem, model: Linearization) -> float:
    """One over the curvature that a probe along the loss's gradient meets: one pass.

    A step to start from where steps are verified or adapted. It is no bound: elsewhere the loss may
    be more curved, and first steps be refused; but it is no shorter than one over the Lipschitz
    constant. Smoothed terms count with their constants, as in :func:`sufficient_decrease`. Without
    a gradient to probe along it is one over the Lipschitz estimate. Raises ``ValueError`` as
    :func:`first_step` does.
    """
    smooth, smooth_grad = problem.smooth_terms_value_and_grad(model.z)
    grad = model.grad if smooth_grad is None else model.grad - smooth_grad
    size = float(torch.linalg.vector_norm(grad, dtype=torch.float64))
    length = probe_length(problem, model.value - float(smooth), size)
    if length == 0:
        return lipschitz_step(problem)
    scores = problem.scores(model.z - length * grad)
    change = problem.adjoint(problem.data.gradient(scores)) - grad
    curvature = probed_curvature(problem, length, size, float(change.norm()))
    return 1 / (curvature + sum(term.lipschitz for term in problem.smooth_terms))


def probe_length(problem: Problem, value: float, size: float) -> float:
    """How far to probe along a gradient of norm ``size``: to where the loss's linear model is zero.

    Zero where there is nothing to probe: no gradient, or a loss that is not positive.
    """
    if size == 0 or value <= 0:
        return 0.0
    slope = check_curvature(problem, size**2 / value)
    return 1 / slope if slope > 0 else 0.0


def probed_curvature(problem: Problem, length: float, size: float, change: float) -> float:
    """Curvature met by a probe over which a gradient of norm ``size`` changed by ``change``.

    At least ``1 / (2 length)``: a quadratic loss that is nowhere negative has no less along its
    gradient, and with any other loss a longer step would lead far beyond what was probed.
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
    """Try :func:`proximal_step` with ever shorter steps until one passes; and its length."""
    while True:
        trial = proximal_step(
            problem, model, step, rule, near=near, near_scores=near_scores, momentum=momentum
        )
        if trial.accepted:
            return trial, step
        step *= rule.shrink


def trial_step(step: float, rule: StepRule, *, room: bool) -> float:
    """Step to try first, given the last one and whether it left room."""
    return step * (rule.growth if room else 1.0)


def smooth_gradient(problem: Problem, x: Tensor, scores: Tensor) -> tuple[float, Tensor]:
    """Smooth part and its gradient at a point whose scores are known: half a pass."""
    value, residuals = problem.data.value_and_gradient(scores)
    grad = problem.adjoint(residuals)
    extra, extra_grad = problem.smooth_terms_value_and_grad(x)
    return float(value + extra), grad if extra_grad is None else grad + extra_grad


def objective_at(problem: Problem, x: Tensor, scores: Tensor) -> float:
    """Objective at a point whose scores are known: no pass."""
    value = problem.data.value(scores)
    smooth = problem.smooth_terms_value_and_grad(x)[0]
    return float(value + smooth + problem.regularizer_value(x))


def term_prox(
    problem: Problem, term: Regularizer | None, W: Tensor, step: float, ridge: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Prox of one penalty of the sum (none: the identity) plus a ridge; the intercept is kept."""
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
