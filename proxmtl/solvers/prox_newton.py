"""ProxNewton: proximal gradient and Newton steps on the active coordinates, with working sets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.base import Solver
from proxmtl.solvers.mfista import MFISTA, MFISTAState
from proxmtl.solvers.newton import newton_step
from proxmtl.solvers.proximal import Linearization, check_scores, first_step, probed_step
from proxmtl.solvers.requirements import check_problem
from proxmtl.solvers.working_set import (
    WorkingSet,
    can_restrict,
    restrict_features,
    select_working_set,
)
from proxmtl.state import Saved, State

__all__ = ["ProxNewton", "ProxNewtonState"]


@dataclass
class ProxNewtonState(State):
    """State of MFISTA on the working set, and of the schedule of the Newton steps."""

    inner: MFISTAState
    rows: Tensor  # mask of the working set, (D,)
    target: float  # KKT residual at which the working set is renewed
    calm: bool  # whether the last step changed few active coordinates
    wait: int  # iterations before the next Newton step
    refused: int  # Newton steps rejected in a row
    surveys: int
    newton: int
    nested: ClassVar[dict[str, type[Saved]]] = {"inner": MFISTAState}


@dataclass(frozen=True)
class ProxNewton(Solver[Problem, ProxNewtonState, Tensor]):
    """Newton's method on the active coordinates, alternating with proximal gradient steps.

    Once the zeros of the solution are identified, the objective is smooth in the other coordinates,
    and Newton steps converge quadratically. Each iteration makes one step of monotone accelerated
    proximal gradient (:class:`MFISTA`), which changes the support. If the last step left nearly all
    active coordinates active, a Newton step on these comes first: conjugate gradients with the
    Hessian of the loss, the ridge and the penalty (where that is smooth), and a line search on the
    objective (Armijo). The objective never increases.

    For absolutely monotone penalties, which keep zero rows at zero, all this runs on a working set:
    the non-zero rows and as many zero rows with the largest KKT violations. When the residual on
    the working set falls to ``reduction`` times the last full one, half a pass over all features
    chooses the next set. Products read the working set's features only, and count as that fraction
    of a pass.

    Parameters
    ----------
    inner : MFISTA
        Solver of the accelerated steps; a probe gives its first step, without Lipschitz constant.
    smallest : int
        Minimum number of zero rows in a working set.
    reduction : float
        Reduction of the KKT residual after which the working set is renewed, in (0, 1).
    products : int
        Maximum number of Hessian products of a Newton step.
    tolerated : float
        A Newton step is tried if at most this fraction of the active coordinates has changed.

    References
    ----------
    Lee, Sun, Saunders, "Proximal Newton-type methods for minimizing composite functions", 2014;
    Bareilles, Iutzeler, Malick, "Newton acceleration on manifolds identified by proximal gradient
    methods", 2023; Johnson and Guestrin, "Blitz: a principled meta-algorithm for scaling sparse
    optimization", 2015 (working sets).
    """

    inner: MFISTA = field(default_factory=MFISTA)
    smallest: int = 64
    reduction: float = 0.2
    products: int = 50
    tolerated: float = 0.003
    state_type = ProxNewtonState
    needs_curvature = False

    def __post_init__(self) -> None:
        if self.smallest < 1 or self.products < 1:
            raise ValueError(
                f"smallest and products: got {self.smallest} and {self.products}; use at least 1."
            )
        if not (0 < self.reduction < 1 and 0 <= self.tolerated <= 1):
            raise ValueError(
                f"reduction and tolerated: got {self.reduction} and {self.tolerated}; use "
                "fractions."
            )

    def check(self, problem: Problem) -> None:
        check_problem("ProxNewton", problem, nonconvex=True)
        self.inner.check(problem)
        R = problem.regularizer
        if R is not None and not R.has_curvature:
            raise UnsupportedError(
                f"ProxNewton needs the curvature of the penalty on its active coordinates, which "
                f"{type(R).__name__} does not give; use FISTA, which needs its prox only."
            )
        if problem.smooth_terms:
            raise UnsupportedError(
                "ProxNewton: smoothed penalties have no curvature here; use FISTA (SPGD)."
            )

    def init(self, problem: Problem, x0: Tensor) -> ProxNewtonState:
        problem.check_point(x0)
        x = x0.clone()
        alive = (problem.design.split(x)[0] != 0).any(1)
        few = can_restrict(problem) and 2 * int(alive.sum()) < len(alive)
        scores = (restrict_features(problem, alive) if few else problem).scores(x)
        found = select_working_set(problem, x, scores, self.smallest)
        view = restrict_features(problem, found.rows)
        rule, start = self.inner.step_rule, Linearization(x, scores, found.value, found.grad)
        step = probed_step(view, start) if rule.probes else first_step(view, rule)
        inner = self.inner.start(view, x, scores, step)
        return ProxNewtonState(
            iteration=0,
            objective=inner.objective,
            stalled=False,
            passes=0.0,
            inner=inner,
            rows=found.rows,
            target=self.reduction * found.residual,
            calm=False,
            wait=0,
            refused=0,
            surveys=1,
            newton=0,
        )

    def step(self, problem: Problem, state: ProxNewtonState) -> ProxNewtonState:
        view, before = restrict_features(problem, state.rows), state.inner.x
        inner, wait, refused, newton = state.inner, state.wait - 1, state.refused, state.newton
        if state.calm and wait < 0:
            point = newton_step(view, inner.x, inner.scores, state.rows, most=self.products)
            if point is None:
                refused = refused + 1
                wait = 2 ** min(refused, 6)
            else:
                inner = self.inner.start(view, point.x, point.scores, inner.step)
                refused, newton = 0, newton + 1
        inner = self.inner.step(view, inner)
        new = replace(
            state,
            iteration=state.iteration + 1,
            objective=inner.objective,
            inner=inner,
            calm=self._calm(problem, before, inner.x),
            wait=max(wait, 0),
            refused=refused,
            newton=newton,
        )
        # a rejected accelerated step leaves x as it is; the step without momentum may yet move it
        new.stalled = inner.stalled and torch.equal(inner.x, before)
        if inner.residual <= state.target or inner.stalled or new.stalled:
            self._renew(problem, new)
        return new

    def check_resume(self, problem: Problem, state: ProxNewtonState) -> None:
        super().check_resume(problem, state)
        check_scores(problem, state.inner.scores)

    def solution(self, problem: Problem, state: ProxNewtonState) -> Tensor:  # noqa: ARG002
        return state.inner.x

    def _renew(self, problem: Problem, state: ProxNewtonState) -> None:
        """Choose the next working set, and the residual at which to renew it."""
        found: WorkingSet = select_working_set(
            problem, state.inner.x, state.inner.scores, self.smallest
        )
        state.surveys += 1
        state.target = self.reduction * found.residual
        if not torch.equal(found.rows, state.rows):
            state.rows, state.stalled = found.rows, False
            inner = state.inner
            state.inner = self.inner.start(
                restrict_features(problem, found.rows), inner.x, inner.scores, inner.step
            )

    def _calm(self, problem: Problem, old: Tensor, new: Tensor) -> bool:
        R = problem.regularizer
        if R is None:
            return True
        before, after = (R.active(problem.design.split(x)[0]) for x in (old, new))
        return int((before != after).sum()) <= self.tolerated * int(after.sum())
