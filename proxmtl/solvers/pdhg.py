"""PDHG: primal-dual splitting for sums of penalties, some of them of a linear map of W."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.regularizers.splitting import Itself, Memberships, Splitting
from proxmtl.result import Certificate
from proxmtl.solvers.points import PointSolver, PointState
from proxmtl.solvers.proximal import objective_at, smooth_gradient, term_prox
from proxmtl.solvers.requirements import check_curvature, check_problem

__all__ = ["PDHG", "PDHGState"]

UNEVEN = 5.0
"""Step lengths are rebalanced if primal and dual residual differ by more than this factor."""

MANY = 50_000
"""Memberships of overlapping groups from which the copies cost less than proxes of the norm: with
random groups at 30,000 FISTA took between a fifth and five times as long, by the strength, and at
100,000 three to six times as long."""

FADING = 0.95
"""Factor by which each rebalancing is weaker than the last, so that the steps converge."""


@dataclass
class PDHGState(PointState):
    """Primal and dual variables; ``pull`` is the sum of ``K' y`` over the composed terms."""

    duals: tuple[Tensor, ...]
    pull: Tensor
    dual_step: float  # times the squared norm of the linear maps
    shift: float  # relative change of the step lengths at the next rebalancing
    settled: Tensor | None = None  # the solution, once it was asked for


@dataclass(frozen=True)
class PDHG(PointSolver[PDHGState]):
    """Primal-dual hybrid gradient for ``f(x) + g(x) + sum_i h_i(K_i x)``, after Condat and Vu.

    ``x+ = prox_{t g}(x - t (grad f(x) + sum_i K_i' y_i))``, then ``y_i+ = prox_{s h_i*}(y_i +
    s K_i (2 x+ - x))``, with ``1/t = margin Lip + s sum_i ||K_i||^2``. The prox of the conjugate is
    ``v - s prox_{h_i/s}(v/s)``.

    ``g`` is the first penalty without a :attr:`~Regularizer.splitting` (an indicator, if there is
    one) plus the ridge. Each other penalty is an ``h_i``, with ``K_i = 1`` if it has none;
    but if none has and the sum of all has a prox in closed form, ``g`` is that sum. An iteration
    costs one pass and one prox of each ``g`` and ``h_i``, without an inner loop.

    Split are :class:`Composed` penalties, and :class:`OverlappingGroupL2` unless its groups form a
    tree: ``K`` copies each item into its groups, which are disjoint there, so that an iteration is
    linear in the memberships. If that is the only penalty, certificates come from the dual variable
    as well, and groups whose dual vector is inside its ball are set to zero in the solution.

    The Lipschitz constants determine the product ``s t``. The ratio of the two steps is rebalanced
    while the primal and the dual residual differ by more than a factor of five, by less each time.

    Parameters
    ----------
    balance : float
        Initial ``s sum_i ||K_i||^2`` over the Lipschitz constant of ``f``.
    margin : float
        Factor of the Lipschitz constant in ``1/t``, ``> 1/2``.

    References
    ----------
    Condat, "A primal-dual splitting method for convex optimization involving Lipschitzian,
    proximable and linear composite terms", 2013; Vu, 2013; Goldstein et al., "Adaptive primal-dual
    splitting methods for statistical learning and image processing", 2015 (the shifts).
    """

    balance: float = 0.5
    margin: float = 0.55
    state_type = PDHGState

    def __post_init__(self) -> None:
        if not (self.balance > 0 and self.margin > 0.5):
            raise ValueError(
                f"balance and margin: got {self.balance} and {self.margin}; use balance > 0 and "
                "margin > 1/2."
            )

    def check(self, problem: Problem) -> None:
        check_problem("PDHG", problem)
        outside = [
            type(part.inner).__name__ for part in _split(problem).parts if part.inner.is_constraint
        ]
        if outside:
            raise UnsupportedError(
                f"PDHG keeps its iterates in one set only, and {outside[0]} is another, which they "
                "reach in the limit; use FISTA, whose prox projects on both."
            )

    @staticmethod
    def serves(problem: Problem) -> bool:
        """Whether overlapping groups with many memberships are the only penalty but a ridge."""
        terms = problem.terms
        split = terms[0].splitting if len(terms) == 1 and not problem.smooth_terms else None
        return isinstance(split, Memberships) and split.size >= MANY

    def init(self, problem: Problem, x0: Tensor) -> PDHGState:
        problem.check_point(x0)
        split = _split(problem)
        x = x0.clone()
        scores = problem.scores(x)
        weights, _ = problem.design.split(x)
        return PDHGState(
            iteration=0,
            objective=objective_at(problem, x, scores),
            stalled=False,
            passes=0.0,
            x=x,
            scores=scores,
            duals=tuple(torch.zeros_like(part.forward(weights)) for part in split.parts),
            pull=torch.zeros_like(x),
            dual_step=self.balance * (check_curvature(problem, problem.lipschitz) or 1.0),
            shift=0.5,
        )

    def step(self, problem: Problem, state: PDHGState) -> PDHGState:
        split, design = _split(problem), problem.design
        curvature = self.margin * problem.lipschitz
        squares = split.squared_norm(design.split(state.x)[0])
        # without parts there is no dual step
        t = 1 / ((curvature + (state.dual_step if split.parts else 0.0)) or 1.0)
        _, grad = smooth_gradient(problem, state.x, state.scores)
        x, _ = split.prox(state.x - t * (grad + state.pull), t)
        old_weights, _ = design.split(state.x)
        weights, bias = design.split(x)
        s = state.dual_step / (squares or 1.0)
        duals, dual_residual = [], 0.0
        pull = torch.zeros_like(weights)
        for part, y in zip(split.parts, state.duals, strict=True):
            move = part.forward(weights - old_weights)
            v = y / s + part.forward(weights) + move
            inner, _ = part.inner.prox(v, 1 / s)
            new = s * (v - inner)
            dual_residual += float(((new - y) / s - move).square().sum())
            pull = pull + part.transposed(new, weights)
            duals.append(new)
        pull = design.join(pull, None if bias is None else torch.zeros_like(bias))
        primal_residual = float(((state.x - x) / t - (state.pull - pull)).square().sum())
        scores = problem.scores(x)
        dual_step, shift = state.dual_step, state.shift
        primal, dual = t * primal_residual, s * dual_residual
        if split.parts and max(primal, dual) > UNEVEN**2 * min(primal, dual):
            # a large primal residual calls for longer primal, hence shorter dual steps
            dual_step *= 1 - shift if primal > dual else 1 / (1 - shift)
            shift *= FADING
        return PDHGState(
            iteration=state.iteration + 1,
            objective=objective_at(problem, x, scores),
            stalled=torch.equal(x, state.x) and torch.equal(pull, state.pull),
            passes=state.passes,
            x=x,
            scores=scores,
            duals=tuple(duals),
            pull=pull,
            dual_step=dual_step,
            shift=shift,
        )

    def solution(self, problem: Problem, state: PDHGState) -> Tensor:
        """The point, or one with more zeros by the dual variables if its objective is lower."""
        if state.settled is None:
            state.settled = self._settled(problem, state)
        return state.settled

    @staticmethod
    def _settled(problem: Problem, state: PDHGState) -> Tensor:
        weights, bias = problem.design.split(state.x)
        settled = weights
        for part, y in zip(_split(problem).parts, state.duals, strict=True):
            settled = part.settled(settled, y)
        if torch.equal(settled, weights):
            return state.x
        # of the groups that are zero in the solution the zeros are lower; of those whose dual
        # vectors are still on their way to the sphere they are not
        point = problem.design.join(settled, bias)
        problem.counts.certificates += problem.design.share / 2  # it only measures
        objective = objective_at(problem, point, problem.design.scores(point))
        return point if objective <= state.objective else state.x

    def certify(self, problem: Problem, state: PDHGState) -> Certificate:
        """By the dual variable, where it is that of all penalties together."""
        parts, by = _split(problem).parts, None
        if len(parts) == len(problem.terms) == 1:
            by = parts[0].certified_by(state.duals[0])
        return problem.certificate(self.solution(problem, state), by)

    def check_resume(self, problem: Problem, state: PDHGState) -> None:
        parts = _split(problem).parts
        if len(state.duals) != len(parts):
            raise ValueError(
                f"state: holds {len(state.duals)} dual variables, the problem has {len(parts)} "
                "split terms; resume on the same problem."
            )
        problem.check_point(state.x)
        weights, _ = problem.design.split(state.x)
        for part, y in zip(parts, state.duals, strict=True):
            if y.shape != part.forward(weights).shape:
                raise ValueError(
                    f"state: a dual variable has shape {tuple(y.shape)}, the problem's has "
                    f"{tuple(part.forward(weights).shape)}; resume on the same problem."
                )
        super().check_resume(problem, state)


class _Split(NamedTuple):
    """The penalty ``g`` that is handled by its prox, and the ``h_i``, which have dual variables."""

    prox: Callable[[Tensor, float], tuple[Tensor, Tensor]]
    parts: list[Splitting]

    def squared_norm(self, weights: Tensor) -> float:
        """Bound on the squared norm of all linear maps stacked."""
        return sum(part.squared_operator_norm(weights) for part in self.parts)


def _split(problem: Problem) -> _Split:
    parts = [term.splitting for term in problem.terms if term.splitting is not None]
    plain = [term for term in problem.terms if term.splitting is None]
    # an indicator goes first: the prox of g keeps the iterates in its set
    plain.sort(key=lambda term: not term.is_constraint)
    whole = problem.regularizer
    if not parts and (len(plain) < 2 or (whole is not None and whole.exact_prox)):
        return _Split(problem.prox, [])
    first = plain[0] if plain else None

    def prox(W: Tensor, step: float) -> tuple[Tensor, Tensor]:
        return term_prox(problem, first, W, step, ridge=problem.ridge)

    return _Split(prox, parts + [Itself(term) for term in plain[1:]])
