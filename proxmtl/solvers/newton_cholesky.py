"""NewtonCholesky: exact Newton steps for a smooth loss plus a ridge, task by task."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from proxmtl.designs import SharedDesign, StreamedDesign
from proxmtl.designs.base import BLOCK_ELEMENTS
from proxmtl.machine import check_memory
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.newton_labels import OnLabels
from proxmtl.solvers.newton_rows import InRows, sizes
from proxmtl.solvers.newton_steps import lengths, no_worse_than_zero, solved
from proxmtl.solvers.points import PointSolver, PointState
from proxmtl.solvers.proximal import objective_at
from proxmtl.solvers.requirements import check_problem, lacking_curvature
from proxmtl.solvers.spans import has_few_labels

__all__ = ["NewtonCholesky", "NewtonCholeskyState", "NewtonDescent"]

CALL = 1e7
"""Cost model: fixed overhead of an iteration, in operations."""
ITERATIONS, ACCELERATED = 4, 50
"""Cost model: iterations of Newton's and of an accelerated method from a warm start."""
READ, NEAR = 80, 8
"""Cost model: operations in the time in which an entry is read from a disk, and from memory. With
few tasks a pass takes as long as its reads, while Gram matrices and Hessians run at full speed."""
FROM_AFAR = 15
"""Cost model: iterations that Newton's method may need from a cold start."""
MOST_BYTES = 1 << 30
"""Memory of Hessians above which an accelerated method, which has none, is the default."""
SMALL = 1 << 17
"""Numbers in the Hessians that are solved at once, 1 MiB: small ones of many tasks."""


@dataclass
class NewtonCholeskyState(PointState):
    """Point and its scores; with few labels also the Gram matrices of the labelled rows."""

    rows: tuple[Tensor, ...]
    """Fields of :class:`InRows` if tasks have fewer labels than features; else empty."""


@dataclass(frozen=True)
class NewtonCholesky(PointSolver[NewtonCholeskyState]):
    """Newton's method with an exact linear solve for each task, for a loss plus a ridge.

    Without another penalty the tasks are independent problems: in D unknowns, or in one unknown for
    each label of the task, since the solution is a combination of its labelled rows (representer
    theorem). Each iteration factorises a Hessian of the smaller size for each task; a step
    that does not decrease the task's objective sufficiently (Armijo) is shortened to the minimum
    along it. Convergence is quadratic near the solution, and missing labels save work.

    Passes include the products that form the Hessians, by their number of operations. The inner
    products of rows are computed once and are part of the state.

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
        """Whether this solver takes fewer operations than an accelerated method, by a cost model.

        False if the problem is not one for this solver, if the Hessians take more than
        `MOST_BYTES`, or if a solve may take more than ``most`` passes. The answer does not depend
        on the free memory of the machine, so that default results are the same everywhere.
        """
        if not isinstance(problem, Problem) or _lacking(problem):
            return False
        if _memory(problem)[1] > MOST_BYTES:
            return False
        (n, tasks), M = sizes(problem), problem.data.n_tasks
        N, D = _shape(problem)
        few, a_pass = _is_few(problem), 4 * N * D * M
        side = n if few else D
        once = 2 * n * n * D * tasks if few else 0
        products = a_pass / 2 + 6 * n * n * M if few else 1.5 * a_pass + 2 * n * D * D * M
        if once + FROM_AFAR * products > most * a_pass:
            return False
        # side^3 for a factorisation of side^3 / 3 operations: it runs at a third of the speed
        streamed = isinstance(problem.design, StreamedDesign)
        a_read = READ * N * D if streamed else 2.0 * NEAR * N * D
        reads = 3 if streamed else 0.5 if few else 2.5
        step = products + reads * a_read + M * (side**3 + 4 * side**2) + 3 * CALL
        cheaper: bool = once + ITERATIONS * step < ACCELERATED * (a_pass + a_read + CALL)
        return cheaper

    def init(self, problem: Problem, x0: Tensor) -> NewtonCholeskyState:
        problem.check_point(x0)
        x, scores = no_worse_than_zero(problem, x0, problem.scores(x0))
        rows = tuple(InRows.at(problem, x, scores)) if _is_few(problem) else ()
        objective = objective_at(problem, x, scores)
        return NewtonCholeskyState(0, objective, False, 0.0, x, scores, rows)

    def step(self, problem: Problem, state: NewtonCholeskyState) -> NewtonCholeskyState:
        rows: tuple[Tensor, ...] = ()
        if state.rows:
            moved = InRows(*state.rows).step(problem)
            rows, (x, scores) = tuple(moved), moved.point(problem)
        else:
            x, scores = InFeatures(state.x, state.scores).step(problem)
        return NewtonCholeskyState(
            iteration=state.iteration + 1,
            objective=objective_at(problem, x, scores),
            stalled=torch.equal(x, state.x),
            passes=state.passes,
            x=x,
            scores=scores,
            rows=rows,
        )

    def check_resume(self, problem: Problem, state: NewtonCholeskyState) -> None:
        super().check_resume(problem, state)
        numbers = (problem.data.n_tasks, sizes(problem)[0]) if _is_few(problem) else None
        kept = tuple(InRows(*state.rows).labels.shape) if state.rows else None
        if kept != numbers:
            raise ValueError("state: is of other missing labels; resume with the same ones.")


class InFeatures(NamedTuple):
    """A point in the original parameter, with its scores."""

    x: Tensor
    scores: Tensor

    def objective(self, problem: Problem) -> float:
        """Loss plus ridge at the point; takes no product."""
        return objective_at(problem, self.x, self.scores)

    def towards(self, other: InFeatures, beta: float) -> InFeatures:
        """``self + beta (other - self)``."""
        return InFeatures(
            torch.lerp(self.x, other.x, beta), torch.lerp(self.scores, other.scores, beta)
        )

    def point(self, problem: Problem) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return the parameter and its scores."""
        return self.x, self.scores

    def step(self, problem: Problem) -> InFeatures:
        """Take one Newton step in each task, with a line search."""
        return InFeatures(*_by_features(problem, self.x, self.scores))


@dataclass(frozen=True)
class NewtonDescent:
    """Newton steps along a regularization path, without the state and certificates of a solver."""

    problem: Problem
    at: InRows | InFeatures | OnLabels
    objective: float
    stalled: ClassVar[bool] = False
    """Never set (interface of :class:`Descent`): the unchanged objective ends a descent."""

    @classmethod
    def start(cls, problem: Problem, at: InRows | InFeatures | OnLabels) -> NewtonDescent:
        """State at a point, possibly one of a problem with another ridge; takes no product."""
        return cls(problem, at, at.objective(problem))

    @classmethod
    def from_zero(cls, problem: Problem) -> NewtonDescent:
        """State at zero weights and intercepts."""
        x = problem.zeros()
        scores = problem.data.zero_scores()
        if _is_few(problem):
            return cls.start(problem, InRows.at(problem, x, scores))
        gathered = has_few_labels(problem)
        return cls.start(problem, OnLabels.at_zero(problem) if gathered else InFeatures(x, scores))

    def advanced(self) -> NewtonDescent:
        """One iteration."""
        at = self.at.step(self.problem)
        return replace(self, at=at, objective=at.objective(self.problem))


def _lacking(problem: Problem) -> str:
    """Requirement of exact Newton steps that the problem lacks, as text; empty if none."""
    design = problem.design
    dense = isinstance(design, SharedDesign) and design.X.layout == torch.strided
    if not dense and not isinstance(design, StreamedDesign):
        return "needs dense features that all tasks share"
    if problem.terms or problem.smooth_terms or not problem.ridge > 0:
        return "takes squared Frobenius norms as the only penalty, and needs one"
    return lacking_curvature(problem.loss)


def _shape(problem: Problem) -> tuple[int, int]:
    """Numbers of samples and of features."""
    return problem.data.shape[0], len(problem.design.split(problem.zeros())[0])


def _is_few(problem: Problem) -> bool:
    """Whether each task has fewer labels than features, whose rows are in memory."""
    in_memory = isinstance(problem.design, SharedDesign)
    return in_memory and sizes(problem)[0] < _shape(problem)[1]


def _at_once(problem: Problem) -> int:
    """Number of tasks whose Hessians are formed in one read of the features, and solved at once."""
    design = problem.design
    if not isinstance(design, StreamedDesign):
        return min(max(1, SMALL // _shape(problem)[1] ** 2), problem.data.n_tasks)
    fit = design.memory // (8 * design.n_features**2)
    return min(max(1, fit), problem.data.n_tasks)


def _memory(problem: Problem) -> tuple[int, int]:
    """Number of unknowns of a Hessian, and bytes for Gram matrices and temporary arrays."""
    (n, tasks), (N, D) = sizes(problem), _shape(problem)
    few = _is_few(problem)
    side = n if few else D
    kept = tasks * n * n if few else _at_once(problem) * D * D
    passing = 4 * max(side * side, min(BLOCK_ELEMENTS, N * D))
    return side, 8 * (kept + passing)


def _by_features(problem: Problem, x: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Newton step of each task from Hessians (D, D): returns the new parameter and its scores.

    The intercepts are eliminated by a Schur complement, which centres the features. With the
    curvatures ``h`` of the loss, the means are ``mu = X'h / sum h``. The step of the weights solves
    ``((X - mu)' diag(h) (X - mu) + 2 ridge) d = -(g - mu g_b)``, and that of the intercept is
    ``-g_b / sum h - mu'd``.
    """
    data, design = problem.data, problem.design
    z = scores.to(torch.float64)
    r, h = data.gradient(z), data.curvature(z)
    W, _ = design.split(x.to(torch.float64))
    total = h.sum(0)
    safe = torch.where(total > 0, total, 1.0)
    p = h / safe if design.intercept else torch.zeros_like(h)
    slopes = torch.where(total > 0, r.sum(0) / safe, 0.0) if design.intercept else 0 * total
    problem.counts.charge(adjoint=2 * design.share)
    both, _ = design.split(design.adjoint(torch.cat([p, r], dim=1).to(design.dtype)))
    mu, back = torch.split(both.to(torch.float64), h.shape[1], dim=1)
    G = back + 2 * problem.ridge * W
    d = -_solutions(problem, h, mu, G - mu * (slopes * total))
    bias = -slopes - (mu * d).sum(0)
    known = d.isfinite().all(0) & bias.isfinite()  # no step if the Hessian is numerically singular
    d, bias = (torch.where(known, each, 0.0).to(x).to(each) for each in (d, bias))
    move = design.join(d, bias / design.unit if design.intercept else None)
    along = problem.scores_along(move.to(design.dtype)).to(torch.float64)
    slope = (r * along).sum(0) + 2 * problem.ridge * (W * d).sum(0)
    squares = problem.ridge * d.square().sum(0)
    by_task = data.rearranged(torch.t, torch.float64)
    tau = lengths(by_task, z.T, along.T, slope=slope, squares=squares)
    return (x + tau * move).to(x), (z + tau * along).to(scores)


def _solutions(problem: Problem, h: Tensor, mu: Tensor, G: Tensor) -> Tensor:
    """Solutions of the tasks' Newton systems, (D, M); NaN if a system is numerically singular."""
    (N, D), M = _shape(problem), h.shape[1]
    share = D / 2 * float((h > 0).sum()) / (N * M)
    problem.counts.charge(forward=share, adjoint=share)
    out = torch.empty_like(G)
    ridge = 2 * problem.ridge * torch.eye(D, dtype=G.dtype, device=G.device)
    centred = h.sum(0) * problem.design.intercept
    roots, means = h.sqrt(), mu.t()
    partial = (~(h > 0).all(0)).tolist()
    for tasks in torch.split(torch.arange(M), _at_once(problem)):
        own = means[tasks]
        hessians = ridge - centred[tasks, None, None] * (own[:, :, None] * own[:, None, :])
        with problem.design.feature_blocks() as blocks:  # type: ignore[attr-defined]
            for rows, block in blocks:
                for m, H in zip(tasks.tolist(), hessians, strict=True):
                    half, root = block, roots[rows, m]
                    if partial[m]:
                        some = torch.nonzero(root).flatten()
                        half, root = block[some], root[some]
                    half = half.to(G.dtype) * root[:, None]
                    H.addmm_(half.T, half)
        out[:, tasks] = solved(hessians, G.t()[tasks, :, None])[:, :, 0].t()
    return out
