"""NewtonCholesky: exact Newton steps, task by task, for ridge-penalised smooth losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.designs import SharedDesign
from proxmtl.designs.base import BLOCK_ELEMENTS
from proxmtl.machine import check_memory
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.base import Solver, State
from proxmtl.solvers.proximal import check_scores, objective_at
from proxmtl.solvers.requirements import check_problem

__all__ = ["NewtonCholesky", "NewtonCholeskyState"]

SUFFICIENT = 1e-4
"""Fraction of the predicted decrease that the line search asks for (Armijo)."""
TRIALS = 40
"""Halvings of a step, at most."""
CALL = 1e7
"""Operations in the time that an iteration takes beside its arithmetic."""
ITERATIONS, ACCELERATED = 4, 50
"""Iterations that Newton's and an accelerated method need from a neighbour's solution."""
RETRIES = 4
"""Of a factorisation, with more of the diagonal."""
FROM_AFAR = 15
"""Iterations that Newton's method may need from anywhere."""
MOST_BYTES = 1 << 30
"""Memory above which an accelerated method, which needs none, is taken by itself."""


@dataclass
class NewtonCholeskyState(State):
    """Point, its scores, and what is kept of the features."""

    x: Tensor
    scores: Tensor
    gram: Tensor | None
    """Inner products of rows: of those with a label of each task (M, n, n), or of all (1, N, N)."""


@dataclass(frozen=True)
class NewtonCholesky(Solver[Problem, NewtonCholeskyState, Tensor]):
    """Newton's method with exact solves for each task, for a loss plus a ridge.

    Without another penalty the tasks are problems of their own, of D unknowns or, since a solution
    is a combination of the rows that have a label, of as many as the task has labels. Each
    iteration factors a Hessian of the smaller of the two sizes for each task, and searches along
    the step until the task's objective decreases (Armijo). So the objective of no task rises, an
    iteration gains as many digits as it has, and the cost follows the labels that there are.

    Passes count the products with the features, those of the Hessians too, by their number of
    operations. The inner products of rows are computed once and are part of the state.

    References
    ----------
    Mangasarian, "A finite Newton method for classification", 2002 (squared hinge); Keerthi and
    DeCoste, "A modified finite Newton method for fast solution of large scale linear SVMs", 2005;
    Komarek and Moore, "Making logistic regression a core data mining tool", 2005.
    """

    state_type = NewtonCholeskyState
    needs_curvature = False

    def check(self, problem: Problem) -> None:
        check_problem("NewtonCholesky", problem)
        reason = _lacking(problem)
        if reason:
            raise UnsupportedError(f"NewtonCholesky: {reason}; use FISTA or ProxNewton.")
        side, needed = _memory(problem)
        check_memory(needed, f"NewtonCholesky: Hessians of {side} unknowns", "FISTA needs none")

    def is_cheaper(self, problem: Problem, most: float = math.inf) -> bool:
        """Whether this takes less time than an accelerated method, by the number of operations.

        False where the problem is not one for this solver, where its Hessians take more than
        `MOST_BYTES`, and where a solve may take more than so many passes. What memory is free is no
        matter: the answer, and with it the last digits of a result, hangs on the problem alone.
        """
        if not isinstance(problem, Problem) or _lacking(problem):
            return False
        if _memory(problem)[1] > MOST_BYTES:
            return False
        (n, tasks), M = _Rows.of(problem).sizes, problem.targets.n_tasks
        N, D = _features(problem).shape
        side, a_pass = min(n, D), 4 * N * D * M
        once = 2 * n * n * D * tasks if n < D else 0
        products = 2.5 * a_pass if n < D else 1.5 * a_pass + 2 * n * D * D * M
        if once + FROM_AFAR * products > most * a_pass:
            return False
        # a factorisation of side^3 / 3 operations takes the time of three times as many
        newton = once + ITERATIONS * (products + M * (side**3 + 4 * side**2) + 3 * CALL)
        cheaper: bool = newton < ACCELERATED * (a_pass + CALL)
        return cheaper

    def init(self, problem: Problem, x0: Tensor) -> NewtonCholeskyState:
        problem.check_point(x0)
        x = x0.clone()
        scores = problem.scores(x)
        objective = objective_at(problem, x, scores)
        return NewtonCholeskyState(0, objective, False, 0.0, x, scores, _gram(problem))

    def resumed(self, problem: Problem, state: NewtonCholeskyState) -> NewtonCholeskyState:
        """Return the state of another strength of the ridge, at the same point: no product."""
        objective = objective_at(problem, state.x, state.scores)
        return NewtonCholeskyState(0, objective, False, 0.0, state.x, state.scores, state.gram)

    def step(self, problem: Problem, state: NewtonCholeskyState) -> NewtonCholeskyState:
        loss, targets, design = problem.loss, problem.targets, problem.design
        labels, weights = (t.to(torch.float64) for t in (targets.labels, targets.weights))
        scores = state.scores.to(torch.float64)
        r = loss.grad(scores, labels, weights)
        h = loss.curvature(scores, labels) * weights
        W, _ = design.split(state.x.to(torch.float64))
        G = _back(problem, r) + 2 * problem.ridge * W
        system = _System(problem, state.gram, h, r.sum(0))
        d, bias = system.step(G)
        known = d.isfinite().all(0) & bias.isfinite()  # else singular to rounding: no step
        d, bias = (torch.where(known, each, 0.0).to(state.x).to(each) for each in (d, bias))
        move = design.join(d, bias / design.unit if design.intercept else None)
        along = _forward(problem, move)
        slope = (r * along).sum(0) + 2 * problem.ridge * (W * d).sum(0)
        squares = problem.ridge * d.square().sum(0)
        tau = torch.where(slope < 0, 1.0, 0.0).to(slope)
        for _ in range(TRIALS):
            bent = loss.bregman_terms(scores + tau * along, scores, labels) * weights
            change = tau * slope + bent.sum(0) + tau.square() * squares
            fails = (tau > 0) & ~(change <= SUFFICIENT * tau * slope)
            if not bool(fails.any()):
                break
            tau = torch.where(fails, tau / 2, tau)
        else:
            tau = torch.where(fails, 0.0, tau)
        x = (state.x + tau * move).to(state.x)
        new = (scores + tau * along).to(state.scores)
        return NewtonCholeskyState(
            iteration=state.iteration + 1,
            objective=objective_at(problem, x, new),
            stalled=torch.equal(x, state.x),
            passes=state.passes,
            x=x,
            scores=new,
            gram=state.gram,
        )

    def check_resume(self, problem: Problem, state: NewtonCholeskyState) -> None:
        super().check_resume(problem, state)
        check_scores(problem, state.scores)
        (n, tasks), D = _Rows.of(problem).sizes, _features(problem).shape[1]
        kept = (tasks, n, n) if n < D else None
        if kept != (None if state.gram is None else tuple(state.gram.shape)):
            raise ValueError("state: is of other missing labels; resume with the same ones.")

    def solution(self, problem: Problem, state: NewtonCholeskyState) -> Tensor:  # noqa: ARG002
        return state.x


def _lacking(problem: Problem) -> str:
    """What a problem lacks for exact Newton steps, in words; empty if nothing."""
    design = problem.design
    if not isinstance(design, SharedDesign) or design.X.layout != torch.strided:
        return "needs dense features that all tasks share"
    if problem.terms or problem.smooth_terms or not problem.ridge > 0:
        return "takes squared Frobenius norms as the only penalty, and needs one"
    if problem.loss.coupled:
        return f"needs tasks of their own, and {type(problem.loss).__name__} couples them"
    if not problem.loss.curved:
        return f"needs curvature, and {type(problem.loss).__name__} is linear far out"
    return ""


def _features(problem: Problem) -> Tensor:
    design = problem.design
    assert isinstance(design, SharedDesign)
    return design.X


class _Rows(NamedTuple):
    """Rows of each task that have a label, by number: (M, n), or (1, N) for all; the mask of them.

    Tasks with fewer than n are filled up with rows that the mask leaves out.
    """

    numbers: Tensor
    mask: Tensor
    whole: bool
    """All rows, the same for all tasks."""

    @classmethod
    def of(cls, problem: Problem) -> _Rows:
        observed = problem.targets.weights > 0
        if bool(observed.all()):
            index = torch.arange(len(observed), device=observed.device)[None]
            return cls(index, torch.ones_like(index, dtype=torch.bool), whole=True)
        most = max(1, int(observed.sum(0).max()))
        mask, index = observed.T.to(torch.int8).sort(dim=1, descending=True, stable=True)
        return cls(index[:, :most], mask[:, :most] > 0, whole=False)

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of rows of a task, and of tasks with rows of their own."""
        return self.numbers.shape[1], self.numbers.shape[0]

    def gathered(self, values: Tensor) -> Tensor:
        """Entries (N, M) of the rows of each task, (M, n); 0 where there is none."""
        if self.whole:
            return values.T
        return torch.where(self.mask, values.T.gather(1, self.numbers), 0.0)

    def spread(self, values: Tensor, n: int) -> Tensor:
        """The reverse of :meth:`gathered`, with zeros where a task has no label: (N, M)."""
        if self.whole:
            return values.T
        out = values.new_zeros(len(values), n)
        return out.scatter_(1, self.numbers, torch.where(self.mask, values, 0.0)).T


def _memory(problem: Problem) -> tuple[int, int]:
    """Unknowns of a Hessian, and bytes for the Hessians, what is kept and what comes and goes."""
    (n, tasks), (N, D) = _Rows.of(problem).sizes, _features(problem).shape
    side = min(n, D)
    kept = tasks * n * n if n < D else 0
    passing = 4 * max(side * side, min(BLOCK_ELEMENTS, N * D))
    return side, 8 * (kept + passing)


def _gram(problem: Problem) -> Tensor | None:
    """Inner products of the rows with a label; None where there are fewer features than those."""
    rows, X = _Rows.of(problem), _features(problem)
    (n, tasks), (N, D) = rows.sizes, X.shape
    if n >= D:
        return None
    share = tasks * n * n / (2 * N * problem.targets.n_tasks)  # of the operations of a pass
    problem.counts.charge(forward=share, adjoint=share)
    out = torch.zeros(tasks, n, n, dtype=torch.float64, device=X.device)
    for m in range(tasks):
        for columns in torch.split(X, max(1, BLOCK_ELEMENTS // n), dim=1):
            part = columns if rows.whole else columns[rows.numbers[m]]
            wide = part.to(torch.float64)
            out[m].addmm_(wide, wide.T)
    return out


class _System:
    """Newton's equations of all tasks, the intercepts eliminated: these centre the features.

    With weights ``h`` the features' means are ``mu = X'h / sum h``. The step of the weights solves
    ``((X - mu)' diag(h) (X - mu) + 2 ridge) d = -(g - mu g_b)``, and that of the intercept is
    ``-g_b / sum h - mu'd``.
    """

    def __init__(self, problem: Problem, gram: Tensor | None, h: Tensor, bias: Tensor) -> None:
        self._problem, self._gram, self._h = problem, gram, h
        self._total = h.sum(0)
        centred = problem.design.intercept
        safe = torch.where(self._total > 0, self._total, 1.0)
        self._p = h / safe if centred else torch.zeros_like(h)
        self._bias = torch.where(self._total > 0, bias / safe, 0.0) if centred else 0 * bias

    def step(self, G: Tensor) -> tuple[Tensor, Tensor]:
        """Steps of the weights (D, M) and of the intercepts (M,), for the gradient in the weights.

        Not finite where a system is singular to rounding.
        """
        mu = _back(self._problem, self._p)
        total_bias = self._bias * self._total
        G = G - mu * total_bias
        d = -(self._by_features(G, mu) if self._gram is None else self._by_rows(G, mu))
        return d, -self._bias - (mu * d).sum(0)

    def _by_features(self, G: Tensor, mu: Tensor) -> Tensor:
        problem, X = self._problem, _features(self._problem)
        (N, D), M = X.shape, self._h.shape[1]
        share = D / 2 * float((self._h > 0).sum()) / (N * M)
        problem.counts.charge(forward=share, adjoint=share)
        out = torch.empty_like(G)
        ridge = 2 * problem.ridge * torch.eye(D, dtype=G.dtype, device=G.device)
        size = max(1, BLOCK_ELEMENTS // D)
        for m in range(M):
            H = ridge - self._total[m] * torch.outer(mu[:, m], mu[:, m]) * problem.design.intercept
            blocks = torch.split(X, size), torch.split(self._h[:, m], size)
            for block, h in zip(*blocks, strict=True):
                some = h > 0
                half = block[some].to(G.dtype) * h[some, None].sqrt()
                H = H.addmm_(half.T, half)
            out[:, m] = _solved(H[None], G[:, m : m + 1][None])[0, :, 0]
        return out

    def _by_rows(self, G: Tensor, mu: Tensor) -> Tensor:
        """The same step from the inner products of the rows, by Woodbury's identity."""
        problem, gram = self._problem, self._gram
        assert gram is not None
        rows, two_ridge = _Rows.of(problem), 2 * problem.ridge
        W = problem.design.join(G, torch.zeros_like(G[0]) if problem.design.intercept else None)
        h, p = rows.gathered(self._h), rows.gathered(self._p)
        t = rows.gathered(_forward(problem, W) - (mu * G).sum(0))  # (X - mu) G
        root = h.sqrt()
        q = torch.empty_like(root)
        n = gram.shape[1]
        size = max(1, BLOCK_ELEMENTS // (n * n))
        for first in range(0, len(root), size):
            part = slice(first, first + size)
            K = gram if len(gram) == 1 else gram[part]
            Kp = (K @ p[part, :, None])[:, :, 0]
            pKp = (Kp * p[part]).sum(1)
            B = K - Kp[:, :, None] - Kp[:, None, :] + pKp[:, None, None]
            B = B * root[part, :, None] * root[part, None, :]
            B.diagonal(dim1=1, dim2=2).add_(two_ridge)
            right = (root[part] * t[part])[:, :, None]
            q[part] = root[part] * _solved(B, right)[:, :, 0]
        Q = rows.spread(q, len(self._h))
        return (G - _back(problem, Q) + mu * Q.sum(0)) / two_ridge


def _forward(problem: Problem, W: Tensor) -> Tensor:
    """Scores along a direction: a product in the precision of the features, in float64."""
    return problem.scores_along(W.to(problem.design.dtype)).to(torch.float64)


def _back(problem: Problem, residuals: Tensor) -> Tensor:
    """Gradient in the weights of score gradients, likewise."""
    back, _ = problem.design.split(problem.adjoint(residuals.to(problem.design.dtype)))
    return back.to(torch.float64)


def _solved(A: Tensor, b: Tensor) -> Tensor:
    """Solutions of positive definite systems.

    A matrix that is singular to rounding gets a little more of its diagonal, which shortens the
    step in what it does not see; NaN where that is not enough.
    """
    factor, info = torch.linalg.cholesky_ex(A)
    least = torch.finfo(A.dtype).eps * A.shape[-1] * A.diagonal(dim1=1, dim2=2).amax(1)
    for _ in range(RETRIES):
        if not bool(info.any()):
            break
        more = torch.where(info > 0, least, 0.0)[:, None].expand(A.shape[:2])
        factor, info = torch.linalg.cholesky_ex(A + torch.diag_embed(more))
        least = 100 * least
    found: Tensor = torch.cholesky_solve(b, factor)
    return torch.where((info == 0)[:, None, None], found, torch.nan)
