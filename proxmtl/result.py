"""The result of a solve: solution, status, history, and a certificate of its accuracy."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from torch import Tensor

from proxmtl.shown import Shown
from proxmtl.state import State

__all__ = ["Certificate", "Result", "Status"]

Solution = TypeVar("Solution")


class Status(Enum):
    """How a solve ended: each value is a sentence with advice."""

    CONVERGED = "Converged: the accuracy asked for was measured at the returned point."
    BUDGET = (
        "Budget used up before the accuracy was reached: the certificate says how good the answer "
        "is. Raise the limit (max_passes), or lower the accuracy (tol)."
    )
    STALLED = (
        "No further progress at this precision: the iterate no longer changes. The certificate "
        "says how good the answer is."
    )
    DIVERGED = (
        "The objective is no longer finite: check the features' scale (standardise them), or use a "
        "backtracking step."
    )
    COLLAPSED = (
        "The model collapsed to W = 0, a local minimum of the factored problem that no descent "
        "leaves: lower group_strength, l1_strength or frobenius_strength (in Python, after another "
        "init, start from init='svd')."
    )
    INTERRUPTED = "Stopped by the callback: the state can be resumed."

    def advice(self, certificate: Certificate | None = None) -> str:
        """Return a sentence on how the solve ended and what to do about it.

        Parameters
        ----------
        certificate
            Certificate of the returned point; makes the advice specific to the problem (convex or
            factored) and to the precision of the iterations.
        """
        sentence: str = self.value
        if certificate is None:
            return sentence
        solved_in = certificate.solved_in
        if self is Status.STALLED and solved_in != "float64":
            return f"{sentence} Features in float64 (these were in {solved_in}) go further."
        if self is Status.CONVERGED and "L" in certificate.blocks:
            return f"{sentence} That is a stationary point of the factored model, not its minimum."
        return sentence

    @property
    def ok(self) -> bool:
        """Whether the requested accuracy was reached."""
        return self is Status.CONVERGED


@dataclass(frozen=True)
class Certificate(Shown):
    """Quality of the returned point, measured at that point in float64.

    Attributes
    ----------
    objective : float
        The objective without smoothing.
    gap : float or None
        Upper bound on ``objective - optimum`` from a dual feasible point (Fenchel gap); None if the
        problem is not convex or no dual feasible point can be constructed.
    kkt : float
        KKT residual, 0 at a stationary point.
    kkt_kind : str
        ``"subgradient"``: ``kkt`` is the Euclidean norm of the least element of the
        subdifferential. ``"fixed point"``: it is the norm of ``W - prox(W - gradient)``, which has
        the same zeros but is smaller elsewhere (penalties of a linear map, and conjugates).
    scale : float
        Norm of the loss gradient at zero (factored problem: of the partial gradients at the point).
    scales : dict
        Scale of each block's KKT residual, by which :attr:`relative_kkt` divides: the norm of the
        loss gradient in that block; for an intercept, whose gradient vanishes at every solution,
        the norm of the tasks' sums of absolute residuals.
    loss_at_zero : float or None
        Loss at ``W = 0`` (the null loss), for :attr:`unit`.
    blocks : dict
        KKT residual of each block (``"W"``; or ``"L"``, ``"S"``, ``"intercept"``).
    block_gaps : dict
        Duality gap of each block with the others held fixed (factored problem only).
    smoothed_objective, smoothing_error : float or None
        Smoothed runs only: the smoothed objective that was minimised, and a bound on its distance
        from ``objective``.
    precision : str
        Dtype of this measurement.
    solved_in : str
        Dtype of the iterations.
    """

    _SHOWN = ("objective", "gap", "relative_gap", "relative_kkt", "kkt_kind", "solved_in")
    objective: float
    gap: float | None
    kkt: float
    scale: float
    blocks: dict[str, float] = field(default_factory=dict)
    block_gaps: dict[str, float] = field(default_factory=dict)
    smoothed_objective: float | None = None
    smoothing_error: float | None = None
    precision: str = "float64"
    solved_in: str = "float64"
    kkt_kind: str = "subgradient"
    loss_at_zero: float | None = None
    scales: dict[str, float] = field(default_factory=dict)

    @property
    def unit(self) -> float:
        """``max(|objective|, 2 loss_at_zero)``, by which relative gaps divide.

        Like the gap, it is proportional to the weights of the samples and to the square of real
        labels. Twice the loss at zero is 1 for the mean squared hinge, and for the mean squared
        loss of standardised labels. If the loss at zero is not known, 1 takes the place of
        ``2 loss_at_zero``.
        """
        least = 1.0 if self.loss_at_zero is None else 2 * abs(self.loss_at_zero)
        return max(abs(self.objective), least)

    @property
    def relative_gap(self) -> float | None:
        """``gap / unit``; None without a gap."""
        return self.gap / self.unit if self.gap and self.unit > 0 else self.gap

    @property
    def relative_kkt(self) -> float:
        """Largest scaled KKT residual of a block, ``max_j blocks[j] / scales[j]``.

        Each block has a scale of its own, so that a large scale of the features does not hide the
        residual of the intercept, for instance. If ``scales`` is empty, ``kkt / scale``; ``kkt`` if
        that scale is zero, too.
        """
        if not self.scales:
            return self.kkt / self.scale if self.scale > 0 else self.kkt
        return max(self._relative(self.blocks[name], unit) for name, unit in self.scales.items())

    def _relative(self, residual: float, unit: float) -> float:
        return residual / (unit if unit > 0 else self.scale if self.scale > 0 else 1.0)

    def to_dict(self) -> dict[str, Any]:
        """All figures as a dictionary for JSON (numbers that are not finite become None)."""
        figures = asdict(self)
        figures["relative_gap"] = self.relative_gap
        figures["relative_kkt"] = self.relative_kkt
        return {key: _finite(value) for key, value in figures.items()}

    def __str__(self) -> str:
        gap = "no gap" if self.gap is None else f"gap {self.gap:.3g}"
        return (
            f"objective {self.objective:.8g}, {gap}, relative KKT residual {self.relative_kkt:.3g}"
        )


def _finite(value: Any) -> Any:
    """Replace NaN and infinities by None, also inside a dictionary."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Result(Shown, Generic[Solution]):
    """Outcome of a solve.

    Attributes
    ----------
    solution : Tensor or tuple of Tensors
        The parameter, shape (D, M); with an intercept, (D + 1, M), the last row the intercept.
    status : Status
    certificate : Certificate
    history : list of dict
        A record of iteration 0, if its objective is finite, and one for each check: iteration,
        passes, seconds, objective, and the figures that the stopping rules have read. Iteration 0
        is the start, or what a solver that first solves for the intercept makes of it.
    iterations : int
    passes : float
        Passes over the data: (products with X + products with X') / 2.
    seconds : float
    reason : str
        Stopping rule that ended the run, and its figure.
    returned : str
        Which point the solution is: the last iterate, or a point with a lower objective.
    state : State
        Resume with ``minimize(..., state=result.state)``.
    solver : str
        Class of the solver.
    solver_reason : str
        Why ``"auto"`` has taken this solver; empty if the caller has named it.
    why_no_gap : str
        Why the certificate has no duality gap; empty where it has one.
    """

    _SHOWN = (
        "status",
        "reason",
        "solver",
        "solver_reason",
        "iterations",
        "passes",
        "seconds",
        "solution",
        "certificate",
        "why_no_gap",
    )
    solution: Solution
    status: Status
    certificate: Certificate
    history: list[dict[str, float]]
    iterations: int
    passes: float
    seconds: float
    reason: str
    state: State
    returned: str = "the last iterate"
    has_intercept: bool = False
    """Whether the last row of the solution is the intercept."""
    solver: str = ""
    solver_reason: str = ""
    why_no_gap: str = ""

    @property
    def coef(self) -> Tensor:
        """Weights of the tasks, shape (D, M): the solution without its intercept row.

        Raises
        ------
        TypeError
            If the solution consists of several blocks.
        """
        W = self._matrix()
        return W[:-1] if self.has_intercept else W

    @property
    def intercept(self) -> Tensor:
        """Intercepts of the tasks, shape (M,); zero where the problem has none."""
        W = self._matrix()
        return W[-1] if self.has_intercept else W.new_zeros(W.shape[1])

    def _matrix(self) -> Tensor:
        if not isinstance(self.solution, Tensor):
            raise TypeError("solution: consists of blocks, which have no coef; take them apart.")
        return self.solution

    @property
    def objective(self) -> float:
        """Objective at the solution, as certified."""
        return self.certificate.objective

    @property
    def gap(self) -> float | None:
        """Upper bound on ``objective - optimum``; None if there is none."""
        return self.certificate.gap

    def __repr__(self) -> str:
        reason = f" ({self.solver_reason})" if self.solver_reason else ""
        by = f" by {self.solver}{reason}" if self.solver else ""
        found = str(self.certificate)
        if self.why_no_gap:
            found = found.replace("no gap", f"no gap ({self.why_no_gap})", 1)
        return (
            f"Result({self.status.name}{by} after {self.iterations} iterations, "
            f"{self.passes:g} passes, {self.seconds:.3g} s: {found})"
        )
