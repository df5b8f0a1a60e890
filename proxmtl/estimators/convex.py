"""Base of estimators with a single convex problem: poses, solves and certifies it."""

from __future__ import annotations

import math
import sys
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sklearn.base import clone

from proxmtl.estimators.base import Array, LinearModel
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.losses import resolve_loss
from proxmtl.estimators.samples import Samples
from proxmtl.estimators.standardize import Standardization
from proxmtl.estimators.watch import Watch
from proxmtl.minimization import minimize
from proxmtl.numerics import norm
from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer, SharedPlusOwn
from proxmtl.result import Result
from proxmtl.solvers import LBFGS
from proxmtl.solvers.choice import choose
from proxmtl.stopping import MaxPasses, RelativeGap
from proxmtl.targets import Reduction

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ConvexModel", "minimised"]

AIM = 0.7
"""Fraction of the requested gap at which LBFGS deactivates a task: its gaps are approximate."""


GAINED = 0.01
"""Largest gap of a problem with a ridge, as a fraction of what weights can gain."""


def minimised(
    problem: Problem,
    *,
    tol: float,
    max_passes: float,
    start: torch.Tensor | None = None,
    **watched: Any,
) -> Result[torch.Tensor]:
    """Minimise to a relative gap within a budget of passes, with the default solver.

    Under a strong ridge, zero weights are within any tolerance of the minimum, but order no rows:
    there the gap is at most a fraction of what weights can gain. A tolerance of zero means: as far
    as arithmetic or the budget goes.

    ``watched``: what `Watch.solve` gives.
    """
    tol = max(min(tol, GAINED * _gain(problem)), sys.float_info.min)
    chosen = choose(problem, tolerance=AIM * tol, most=max_passes)
    if start is None and LBFGS.serves(problem):
        start = problem.null_point().to(problem.design.dtype)
    result = minimize(
        problem,
        chosen.solver,
        x0=start,
        stop=RelativeGap(tol, every=chosen.row.every) | MaxPasses(max_passes),
        **watched,
    )
    return replace(result, solver_reason=chosen.reason)


def _gain(problem: Problem) -> float:
    """Bound on the relative gap of zero weights under a ridge; inf without one.

    It is the conjugate of the ridge at the gradient there, of own parts alone: of a shared part
    that pays, weights gain more.
    """
    penalty, ridge = problem.regularizer, problem.ridge
    if isinstance(penalty, SharedPlusOwn):
        ridge += penalty.strength * penalty.own
    elif penalty is not None:  # the minimum itself may be zero
        return math.inf
    if not ridge > 0:
        return math.inf
    slope, scale = norm(problem.null_gradient()), 2 * problem.loss_at_zero
    gain = slope * slope / (4 * ridge)
    return gain / scale if gain > 0 and scale > 0 else math.inf


class ConvexModel(LinearModel):
    """Base of linear models ``loss(X W + b) + R(W)``, solved to a certified accuracy.

    Subclasses implement `_regularizer`.

    Attributes
    ----------
    result_ : Result
        Status, certificate and history of the solver.
    """

    takes_pairs = True
    strength_name: ClassVar[str] = "strength"
    """Name of the parameter that holds the strength of the penalty."""

    loss: str = "logistic"
    reduction: Reduction = "task_mean"
    max_passes: int = 2000
    tol: float = 1e-6

    result_: Result[torch.Tensor] = field(init=False)

    def _regularizer(self, n_attributes: int) -> Regularizer:
        """Return the penalty on W (D, M)."""
        raise NotImplementedError

    def _resolve(self, problem: Problem, sample_weight: NDArray[np.float64] | None) -> None:
        """Compute what the penalty needs besides strengths (groups); its passes are counted."""

    def _penalty(
        self,
        problem: Problem,
        sample_weight: NDArray[np.float64] | None,  # noqa: ARG002 - for strengths in units of data
    ) -> Regularizer:
        """Return the penalty on W, for a problem without a penalty."""
        return self._regularizer(problem.targets.n_tasks)

    def pose(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[Problem, Standardization]:
        """Return the problem that `fit` solves, and the standardisation of its features.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Raises
        ------
        ValueError
            As `fit`.
        """
        model = clone(self)
        problem, _ = model._problem(*model._prepared(X, y, sample_weight))  # noqa: SLF001
        return problem, Standardization(model.mean_, model.scale_)

    def _problem(self, X: Samples, labels: EncodedLabels) -> tuple[Problem, float]:
        """Return the problem, and the passes spent on its penalty."""
        given = self._given
        loss = resolve_loss(given.loss)
        design, targets, weights = X.posed(
            labels, intercept=given.fit_intercept, reduction=given.reduction
        )
        problem = Problem(loss, design, targets)
        with problem.counts.limited(given.max_passes / 2):
            self._resolve(problem, weights)
        spent = problem.counts.passes
        # not part of the budget, like a search of strengths by cross-validation
        penalty = self._penalty(Problem(loss, design, targets), weights)
        return problem.with_regularizers(penalty), spent

    def _solve(
        self, X: Samples, labels: EncodedLabels, watch: Watch, *, warm: bool
    ) -> tuple[Array, Array]:
        del warm  # the problem is convex: the result does not depend on the start
        given = self._given
        problem, spent = self._problem(X, labels)
        most = given.max_passes - spent
        result = minimised(problem, tol=given.tol, max_passes=most, **watch.solve("solve"))
        # The state is for resuming the run; it holds arrays as large as the scores.
        self.result_ = replace(result, state=None, passes=result.passes + spent)  # type: ignore[arg-type]
        self._warn_of(self.result_)
        coef, intercept = problem.design.split(self.result_.solution)
        if intercept is None:
            intercept = coef.new_zeros(coef.shape[1])
        return coef.numpy(), intercept.numpy()
