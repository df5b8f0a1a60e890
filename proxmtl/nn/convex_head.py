"""Any convex penalty as the last layer of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from proxmtl.losses import Loss, SquaredHinge
from proxmtl.minimization import minimize
from proxmtl.nn.layer import ProblemTemplate
from proxmtl.nn.linear import Centred
from proxmtl.nn.solved_head import SolvedHead
from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer, add
from proxmtl.result import Result
from proxmtl.solvers import FISTA
from proxmtl.solvers.base import Solver
from proxmtl.stopping import MaxPasses, RelativeKKT, Stop
from proxmtl.targets import ClassWeight, Reduction

__all__ = ["ConvexHead"]


class ConvexHead(SolvedHead[Result[Tensor]]):
    """Scores ``z_m = x_m' w_m + b_m`` of M tasks, ``W`` solved for under any convex penalty.

    ``min_{W,b} loss(X W + b) + R(W)``: with a ridge each task is on its own, with a group or a
    nuclear norm they share. Solved now and then, or trained as :class:`LatentMTLHead` is.

    Parameters
    ----------
    n_features, n_tasks : int
        D and M.
    regularizers : Regularizer or sequence of Regularizer
        Of W (D, M), the intercept left free.
    loss : Loss
        Of a score and its label; squared hinge by default.
    fit_intercept, reduction, class_weight
        As for :class:`LatentMTL`.
    solver : Solver
        FISTA by default.
    stop : Stop, optional
        Default ``RelativeKKT(1e-4) | MaxPasses(1000)``.
    trainable, distributed, tasks, device, dtype
        As for :class:`LatentMTLHead`.

    Attributes
    ----------
    W, intercept : Parameter, shapes (D, M), (M,)
        Zero before the first solve.
    solved, census, result
        As for :class:`LatentMTLHead`; ``result`` is a :class:`Result`.
    """

    def __init__(
        self,
        n_features: int,
        n_tasks: int,
        regularizers: Regularizer | Sequence[Regularizer],
        *,
        loss: Loss | None = None,
        fit_intercept: bool = True,
        reduction: Reduction = "mean",
        class_weight: ClassWeight = None,
        solver: Solver[Problem, Any, Tensor] | None = None,
        stop: Stop | None = None,
        trainable: bool = False,
        distributed: bool = False,
        tasks: Sequence[int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            n_features,
            n_tasks,
            reduction=reduction,
            class_weight=class_weight,
            trainable=trainable,
            distributed=distributed,
            tasks=tasks,
            device=device,
            dtype=dtype,
        )
        options = {"reduction": reduction, "class_weight": class_weight}
        self.problem = ProblemTemplate(
            loss or SquaredHinge(), regularizers, fit_intercept, targets=options
        )
        self.solver = solver or FISTA()
        self.stop = stop or RelativeKKT(1e-4) | MaxPasses(1000)
        self.W = self._weight(torch.zeros(n_features, n_tasks))
        self.intercept = self._weight(torch.zeros(n_tasks)) if fit_intercept else None
        self.penalty()  # raises if a regularizer does not take this shape

    @property
    def data_loss(self) -> Loss:
        """Loss of a score and its label."""
        return self.problem.loss

    def coef_as(self, dtype: torch.dtype) -> Tensor:
        """W computed in a precision."""
        return self.W.to(dtype)

    def penalty(self) -> Tensor:
        """The penalty at the present weights, 0-d, without a graph."""
        with torch.no_grad():
            total = self._regularizer
            return self.W.new_zeros(()) if total is None else total.value(self.W.detach())

    def penalties(self) -> dict[nn.Parameter, Regularizer]:
        """Regularizer of W, for :class:`ProximalOptimizer`."""
        total = self._regularizer
        return {} if total is None else {self.W: total}

    @property
    def _regularizer(self) -> Regularizer | None:
        terms = self.problem.regularizers
        return terms if isinstance(terms, Regularizer) else add(list(terms))

    def _minimise(
        self, features: Any, labels: Any, sample_weight: Any, **options: Any
    ) -> Result[Tensor]:
        has_intercept = self.intercept is not None
        design = self._design(features, intercept=has_intercept)
        centred = Centred(features, wanted=has_intercept, design=design)
        design = self._design(centred.features, intercept=has_intercept)
        template = self.problem
        if sample_weight is not None:
            template = replace(
                template, targets={**template.targets, "sample_weight": sample_weight}
            )
        problem = template(design, labels)
        W, b = self.W.detach(), None if self.intercept is None else self.intercept.detach()
        start = None
        if bool(self.solved):
            like = problem.zeros()
            inside = None if b is None else centred.inside(W, b).to(like)
            start = problem.design.join(W.to(like), inside)
        state = options.pop("state")
        if isinstance(state, Mapping):
            state = self.solver.state_type.from_state_dict(dict(state))
        stop = options.pop("stop") or self.stop
        result = minimize(problem, self.solver, start, stop, state=state, **options)
        W, b = problem.design.split(result.solution)
        outside = None if b is None else centred.outside(W, b)
        return replace(result, solution=problem.design.join(W, outside))

    @torch.no_grad()
    def _take(self, result: Result[Tensor]) -> None:
        self.W.copy_(result.solution[: self.n_features])
        if self.intercept is not None:
            self.intercept.copy_(result.solution[-1])
        self.solved.fill_(value=True)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"n_features={self.n_features}, n_tasks={self.n_tasks}, {self._regularizer}"
