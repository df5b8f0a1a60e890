"""What a solve returns: the solution, how it ended, and how good it provably is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from torch import Tensor

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
        """Say how a solve ended, and what to do.

        Parameters
        ----------
        certificate
            Of the returned point: of which problem it is, and in which precision it was found.
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
        """Whether the answer has the accuracy asked for."""
        return self is Status.CONVERGED


@dataclass(frozen=True)
class Certificate:
    """Quality of the returned point, measured at that point in float64.

    Attributes
    ----------
    objective : float
        The objective asked for, no smoothing in it.
    gap : float or None
        Bound on ``objective - optimum`` from a feasible dual point; None where the problem is not
        convex or no dual point is at hand.
    kkt : float
        Euclidean norm of the least element of the subdifferential: 0 at a stationary point.
    kkt_kind : str
        ``"subgradient"``: as said. ``"fixed point"``: the norm of ``W - prox(W - gradient)``, which
        is 0 at the same points but smaller elsewhere, for penalties of a linear map and conjugates.
    scale : float
        Norm of the loss gradient at zero (joint problem: of its partial gradients at the point).
    scales : dict
        Unit of each block's KKT residual, by which :attr:`relative_kkt` divides: the norm of the
        loss gradient in that block, in place of which an intercept has that of the residuals'
        absolute sums, since its own gradient is zero at every solution.
    loss_at_zero : float or None
        Loss of the zero parameter: what there is to explain, for :attr:`unit`.
    blocks : dict
        KKT residual of each block (``"W"``; or ``"L"``, ``"S"``, ``"intercept"``).
    block_gaps : dict
        Duality gap of each block with the others held fixed (joint problem only).
    smoothed_objective, smoothing_error : float or None
        For smoothed runs: the objective that was descended, and the bound on its distance from
        the true one.
    precision : str
        Precision of this measurement.
    solved_in : str
        Precision of the iterations.
    """

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
        """``max(|objective|, 2 loss_at_zero)``, the unit of relative gaps.

        The loss at zero is what there is to explain; twice that is 1 for the mean of a squared
        hinge, and of a squared loss of standardised labels. Both grow with the weights of the
        samples and with the square of real labels, as the gap does. Without a known loss at zero
        1 stands for it.
        """
        least = 1.0 if self.loss_at_zero is None else 2 * abs(self.loss_at_zero)
        return max(abs(self.objective), least)

    @property
    def relative_gap(self) -> float | None:
        """``gap / unit``; a gap of zero is zero in any unit."""
        return self.gap / self.unit if self.gap and self.unit > 0 else self.gap

    @property
    def relative_kkt(self) -> float:
        """Largest residual of a block in its own unit, ``max_j blocks[j] / scales[j]``.

        So no block hides behind another that is measured in smaller numbers, such as an intercept
        beside the weights of features of any scale. ``kkt / scale`` where the units of the blocks
        are not known, and ``kkt`` where nothing has a gradient.
        """
        if not self.scales:
            return self.kkt / self.scale if self.scale > 0 else self.kkt
        return max(self._relative(self.blocks[name], unit) for name, unit in self.scales.items())

    def _relative(self, residual: float, unit: float) -> float:
        return residual / (unit if unit > 0 else self.scale if self.scale > 0 else 1.0)

    def to_dict(self) -> dict[str, Any]:
        """All figures, fit for JSON (non-finite numbers become None)."""
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
    """None in place of NaN and infinities, also inside a dictionary."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Result(Generic[Solution]):
    """Outcome of a solve.

    Attributes
    ----------
    solution : Tensor or tuple of Tensors
        The parameter; with an intercept its last row is the intercept.
    status : Status
    certificate : Certificate
    history : list of dict
        One record a check: iteration, passes, seconds, objective, and what the stopping rule read.
    iterations : int
    passes : float
        Passes over the data: (products with X + products with X') / 2.
    seconds : float
    reason : str
        Which stopping rule ended it, and its figure.
    returned : str
        Which point the solution is: the last iterate's, or one that is lower than that.
    state : State
        Resume with ``minimize(..., state=result.state)``.
    """

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

    @property
    def coef(self) -> Tensor:
        """Weights of the tasks, shape (D, M): the solution of a convex problem, less its intercept.

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
        """Bound on ``objective - optimum``; None where there is none."""
        return self.certificate.gap

    def __repr__(self) -> str:
        return (
            f"Result({self.status.name} after {self.iterations} iterations, "
            f"{self.passes:g} passes, {self.seconds:.3g} s: {self.certificate})"
        )
