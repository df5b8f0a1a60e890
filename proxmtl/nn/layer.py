"""A solve as a module: features in, solution and objective out, gradients back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from proxmtl.adjoints import Adjoint, Attached, Envelope, attach
from proxmtl.designs import Design, SharedDesign, TaskDesign
from proxmtl.losses import Loss
from proxmtl.minimization import minimize
from proxmtl.nn.eager import eager
from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer
from proxmtl.result import Result
from proxmtl.solvers.base import Solver
from proxmtl.stopping import MaxIterations, RelativeKKT, Stop
from proxmtl.targets import Targets
from proxmtl.wording import warn

__all__ = ["ProblemTemplate", "SolverLayer"]

Features = Tensor | Sequence[Tensor]

ROUGH = 1e-5
"""Relative KKT residual from which on the end of a solve does not count as its minimiser."""


@dataclass(frozen=True)
class ProblemTemplate:
    """A :class:`Problem` but for its data: call it with features and labels.

    Parameters
    ----------
    loss : Loss
    regularizers : Regularizer or sequence of Regularizer
    intercept : bool
        Add an unpenalised intercept, the parameter's last row.
    targets : dict
        Options of :meth:`Targets.from_labels`: reduction, class weights, coding.
    """

    loss: Loss
    regularizers: Regularizer | Sequence[Regularizer] = ()
    intercept: bool = False
    targets: dict[str, Any] = field(default_factory=dict)

    def __call__(self, features: Features | Design, labels: Any) -> Problem:
        """Build the problem.

        Parameters
        ----------
        features : (N, D) or (M, N, D) Tensor, sequence of M Tensors (N_m, D), or Design
            A design decides about the intercept itself.
        labels : (N, M) Tensor, or sequence of M Tensors (N_m,)
            -1 and +1, or as the options say; NaN or 0: missing. Or :class:`Targets`.
        """
        design: Design
        if isinstance(features, Design):
            design = features
        elif isinstance(features, Tensor) and features.ndim == 2:
            design = SharedDesign(features, intercept=self.intercept)
        else:
            design = TaskDesign(features, intercept=self.intercept)
            if isinstance(labels, Tensor):
                labels = list(labels.T)
        if not isinstance(labels, Targets):
            like = torch.empty(0, dtype=design.dtype, device=design.device)
            tasks = None if design.tasks is None else design.tasks.tolist()
            labels = Targets.from_labels(
                labels, like=like, ranks=design.ranks, tasks=tasks, **self.targets
            )
        return Problem(self.loss, design, labels, self.regularizers)


class SolverLayer(nn.Module):
    """Solve a convex problem in the forward pass; differentiate it by an adjoint in the backward.

    Parameters
    ----------
    problem : callable
        ``(features, labels) -> Problem``, such as a :class:`ProblemTemplate`. It is given features
        without their graph.
    solver : Solver, optional
        As for :func:`proxmtl.minimize`.
    stop : Stop, optional
        Default ``RelativeKKT(1e-9) | MaxIterations(10000)``, 1e-5 in single precision: a gradient
        is as accurate as the solve is.
    adjoint : Adjoint
        Default :class:`Envelope`: the objective has a gradient, the solution has none.
    warm_start : bool
        Start from the last solution where its shape fits.

    Attributes
    ----------
    result : Result or None
        Of the last forward pass, with its certificate.
    """

    def __init__(
        self,
        problem: Callable[[Any, Any], Problem],
        *,
        solver: Solver[Problem, Any, Tensor] | None = None,
        stop: Stop | None = None,
        adjoint: Adjoint | None = None,
        warm_start: bool = True,
    ) -> None:
        super().__init__()
        if not callable(problem):
            raise ValueError(
                f"problem: got {type(problem).__name__}; give a function of features and labels "
                "that makes the problem, such as a ProblemTemplate."
            )
        self.problem, self.solver, self.stop = problem, solver, stop
        self.adjoint = adjoint or Envelope()
        self.warm_start = warm_start
        self.result: Result[Tensor] | None = None

    @eager
    def forward(self, features: Features, labels: Any, strengths: Tensor | None = None) -> Attached:
        """Solve, and attach the solution to the graph.

        Parameters
        ----------
        features : (N, D) or (M, N, D) Tensor, or sequence of M Tensors (N_m, D)
        labels
            What ``problem`` takes.
        strengths : Tensor, shape (number of penalties,), optional
            Replaces those of the problem's penalties, in their order; ``>= 0``. Gradients reach it.

        Returns
        -------
        Attached
            ``solution``, shape (D, M) or (D + 1, M) with an intercept, and ``objective``, 0-d.

        Raises
        ------
        ValueError
            If the data or the strengths do not fit.

        Warns
        -----
        RuntimeWarning
            With :class:`Implicit`, if the solve ended far from its minimiser.
        """
        with torch.no_grad(), torch.autocast(_device_of(features), enabled=False):
            problem = self._problem(features, labels, strengths)
            stop = self.stop
            if stop is None:
                accurate = problem.design.dtype == torch.float64
                stop = RelativeKKT(1e-9 if accurate else 1e-5) | MaxIterations(10000)
            self.result = minimize(problem, self.solver, self._start(problem), stop)
            if self.adjoint.differentiates_solution:
                self._warn_if_rough(self.result)
        with torch.autocast(_device_of(features), enabled=False):
            return attach(problem, self.result.solution, features, strengths, self.adjoint)

    def _warn_if_rough(self, result: Result[Tensor]) -> None:
        """Say that a solution is too far from the minimiser to be differentiated as one."""
        residual = result.certificate.relative_kkt
        if not (result.status.ok or residual <= ROUGH):
            warn(
                f"SolverLayer: the solve ended with a relative KKT residual of {residual:.1e} "
                f"({result.reason}), and the adjoint takes its end for the minimiser: gradients "
                "of the solution will be off. Raise the limit in stop=, or use Unroll(k), which "
                "needs no accuracy.",
                RuntimeWarning,
            )

    def _problem(self, features: Features, labels: Any, strengths: Tensor | None) -> Problem:
        if isinstance(features, Tensor):
            features = features.detach()
        else:
            features = [part.detach() for part in features]
        problem = self.problem(features, labels)
        if strengths is None:
            return problem
        if strengths.shape != (len(problem.regularizers),):
            raise ValueError(
                f"strengths: shape {tuple(strengths.shape)}; give one number for each of the "
                f"{len(problem.regularizers)} penalties."
            )
        pairs = zip(problem.regularizers, strengths.tolist(), strict=True)
        return problem.with_regularizers([term.with_strength(s) for term, s in pairs])

    def _start(self, problem: Problem) -> Tensor | None:
        if not self.warm_start or self.result is None:
            return None
        last = self.result.solution
        fits = tuple(last.shape) == problem.design.parameter_shape(problem.targets)
        return last.to(problem.zeros()) if fits and bool(torch.isfinite(last).all()) else None


def _device_of(features: Features) -> str:
    return (features if isinstance(features, Tensor) else features[0]).device.type
