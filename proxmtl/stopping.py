"""Stopping rules: callables on the progress of a run, combined with ``|`` and ``&``."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from proxmtl.result import Certificate, Status

__all__ = [
    "KKT",
    "Decision",
    "Gap",
    "MaxIterations",
    "MaxPasses",
    "MaxSeconds",
    "ObjectiveChange",
    "Progress",
    "RelativeGap",
    "RelativeKKT",
    "Stop",
]

ROUNDING = 8 * sys.float_info.epsilon
"""Relative KKT residual below which a point is stationary to the rounding of float64."""


@dataclass
class Progress:
    """State of a run after an iteration, as stopping rules and callbacks read it.

    ``objective`` is in the working precision and costs nothing. ``certificate`` is computed when it
    is first read in an iteration, and then cached; it is not counted in ``passes``. It reads the
    features once, in float64; the first certificate of a problem reads them once more, for the
    scale of relative residuals. With an iterative prox, the dual norm and the least subgradient
    take proxes, too. ``long`` marks an iteration that cost far more than a certificate;
    ``estimated`` the iterations of a solver that marks those at which a certificate is worth while.
    """

    iteration: int
    passes: float
    seconds: float
    objective: float
    measure: Callable[[], Certificate] = field(repr=False)
    history: list[dict[str, float]] = field(default_factory=list, repr=False)
    stalled: bool = False
    long: bool = False
    estimated: bool = False

    @cached_property
    def certificate(self) -> Certificate:
        """Certificate of the point that the run would return if it stopped now."""
        return self.measure()

    @property
    def at_rounding(self) -> bool:
        """Whether iterations make no progress beyond the rounding errors of float64.

        Depending on the rounding of the processor's sums, such an iterate either stays where it is
        or cycles between neighbouring points. No certificate is computed for this: a run
        ends so at an iteration at which its rule, or the caller's callback, has read one.
        """
        if self.stalled:
            return True
        known: Certificate | None = self.__dict__.get("certificate")
        return known is not None and 0 <= known.relative_kkt <= ROUNDING


class Decision(NamedTuple):
    """Decision to stop: the status of the run, and the figure that decided."""

    status: Status
    reason: str


class Stop(ABC):
    """A stopping rule; ``a | b`` stops when either does, ``a & b`` when both do."""

    @abstractmethod
    def __call__(self, progress: Progress) -> Decision | None:
        """Return a decision to stop, or None to continue."""

    @property
    def most_passes(self) -> float:
        """Upper limit of the passes of a run; no product that would exceed it is made."""
        return math.inf

    def __or__(self, other: Stop) -> Stop:
        return _Any(self, other)

    def __and__(self, other: Stop) -> Stop:
        return _All(self, other)


@dataclass(frozen=True)
class _Any(Stop):
    first: Stop
    second: Stop

    def __call__(self, progress: Progress) -> Decision | None:
        decisions = [d for d in (self.first(progress), self.second(progress)) if d is not None]
        # an accuracy reached in the iteration that exhausts the budget counts as reached
        return min(decisions, key=lambda d: not d.status.ok, default=None)

    @property
    def most_passes(self) -> float:
        return min(self.first.most_passes, self.second.most_passes)


@dataclass(frozen=True)
class _All(Stop):
    first: Stop
    second: Stop

    def __call__(self, progress: Progress) -> Decision | None:
        first = self.first(progress)
        if first is None:
            return None
        second = self.second(progress)
        if second is None:
            return None
        status = first.status if not first.status.ok else second.status
        return Decision(status, f"{first.reason} and {second.reason}")


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name}: got {value}; it must be > 0.")


@dataclass(frozen=True)
class MaxIterations(Stop):
    """Stop after ``limit`` iterations."""

    limit: int

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError(f"limit: got {self.limit}; it must be >= 0.")

    def __call__(self, progress: Progress) -> Decision | None:
        if progress.iteration < self.limit:
            return None
        return Decision(Status.BUDGET, f"{self.limit} iterations")


@dataclass(frozen=True)
class MaxPasses(Stop):
    """Stop before a product with the features that would exceed ``limit`` passes over the data.

    The limit includes the products of the start, of Lipschitz estimates and of line searches. An
    iteration that does not fit in the limit is abandoned; the run ends with the one before it.
    """

    limit: float

    def __post_init__(self) -> None:
        _check_positive("limit", self.limit)

    def __call__(self, progress: Progress) -> Decision | None:
        if progress.passes < self.limit * (1 - 1e-12):  # passes are a rounded sum of fractions
            return None
        return Decision(Status.BUDGET, f"{self.limit:g} passes")

    @property
    def most_passes(self) -> float:
        return self.limit


@dataclass(frozen=True)
class MaxSeconds(Stop):
    """Stop after ``limit`` seconds of wall-clock time."""

    limit: float

    def __post_init__(self) -> None:
        _check_positive("limit", self.limit)

    def __call__(self, progress: Progress) -> Decision | None:
        if progress.seconds < self.limit:
            return None
        return Decision(Status.BUDGET, f"{self.limit:g} s")


@dataclass(frozen=True)
class _Measured(Stop):
    """Base of rules on a figure of the certificate.

    The certificate is measured every ``every`` iterations, when the run stalls, and after each
    iteration that the solver marks as long. At the start it is not where the solver estimates that
    it would not do.
    """

    tolerance: float
    every: int = 10

    def __post_init__(self) -> None:
        _check_positive("tolerance", self.tolerance)
        _check_positive("every", self.every)

    @abstractmethod
    def figure(self, certificate: Certificate) -> float | None:
        """Figure to compare with the tolerance; None if the problem has no such figure."""

    def __call__(self, progress: Progress) -> Decision | None:
        unasked = progress.iteration % self.every or (progress.estimated and not progress.iteration)
        if unasked and not (progress.stalled or progress.long):
            return None
        figure = self.figure(progress.certificate)
        if figure is None:
            raise ValueError(
                f"stop: {type(self).__name__} needs a figure that this problem does not have (a "
                "gap needs a convex problem with a ridge term, or with a norm that leaves nothing "
                "free); use RelativeKKT."
            )
        if progress.history:
            progress.history[-1][type(self).__name__] = figure
        if figure <= self.tolerance:
            return Decision(
                Status.CONVERGED, f"{type(self).__name__} {figure:.3g} <= {self.tolerance:g}"
            )
        return None


@dataclass(frozen=True)
class Gap(_Measured):
    """Stop when the duality gap is at most ``tolerance``."""

    def figure(self, certificate: Certificate) -> float | None:
        return certificate.gap


@dataclass(frozen=True)
class RelativeGap(_Measured):
    """Stop when ``gap / max(|objective|, 2 loss at zero)`` is at most ``tolerance``."""

    def figure(self, certificate: Certificate) -> float | None:
        return certificate.relative_gap


@dataclass(frozen=True)
class KKT(_Measured):
    """Stop when the KKT residual's norm is at most ``tolerance``."""

    def figure(self, certificate: Certificate) -> float | None:
        return certificate.kkt


@dataclass(frozen=True)
class RelativeKKT(_Measured):
    """Stop when the KKT residual of every block, over its scale, is at most ``tolerance``.

    The scale of weights is the norm of the loss gradient at zero; see
    :attr:`proxmtl.result.Certificate.relative_kkt`.
    """

    def figure(self, certificate: Certificate) -> float | None:
        return certificate.relative_kkt


@dataclass(frozen=True)
class ObjectiveChange(Stop):
    """Stop when the objective changed by less than ``tolerance`` (relative) over ``window`` checks.

    This certifies nothing, since small steps look like a minimum. The status is therefore BUDGET,
    never CONVERGED.
    """

    tolerance: float
    window: int = 10

    def __post_init__(self) -> None:
        _check_positive("tolerance", self.tolerance)
        _check_positive("window", self.window)

    def __call__(self, progress: Progress) -> Decision | None:
        history = [record for record in progress.history[-1 - self.window :] if record["iteration"]]
        if len(history) <= self.window:
            return None
        before, now = history[0]["objective"], history[-1]["objective"]
        if abs(before - now) > self.tolerance * max(abs(before), abs(now)):
            return None
        return Decision(Status.BUDGET, f"objective changed by less than {self.tolerance:g}")
