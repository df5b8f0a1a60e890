"""Stopping rules: small objects that read the progress and combine with ``|`` and ``&``."""

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
"""Relative KKT residual of a point that float64 does not tell from a stationary one."""


@dataclass
class Progress:
    """What a stopping rule or a callback may read after an iteration.

    ``objective`` is in the working precision and free. ``certificate`` is computed when first read,
    and kept for the iteration; passes do not count it. It reads the features once, in float64, and
    at its first reading once more for the scale of relative residuals; where a penalty's prox is
    iterative, it takes the proxes behind the dual norm and the least subgradient.
    """

    iteration: int
    passes: float
    seconds: float
    objective: float
    measure: Callable[[], Certificate] = field(repr=False)
    history: list[dict[str, float]] = field(default_factory=list, repr=False)
    stalled: bool = False
    long: bool = False

    @cached_property
    def certificate(self) -> Certificate:
        """Certificate at the point that would be returned now."""
        return self.measure()

    @property
    def at_rounding(self) -> bool:
        """Whether iterations change nothing, or nothing that float64 can tell from rounding.

        At such a point an iterate may stay as it is, or move between neighbours for ever, as the
        last digits of a processor's sums will have it. No certificate is computed for this: a run
        ends so at an iteration at which its rule, or the caller's callback, has read one.
        """
        if self.stalled:
            return True
        known: Certificate | None = self.__dict__.get("certificate")
        return known is not None and 0 <= known.relative_kkt <= ROUNDING


class Decision(NamedTuple):
    """A verdict to stop: how to call it, and the figure that decided."""

    status: Status
    reason: str


class Stop(ABC):
    """A rule; ``a | b`` stops when either does, ``a & b`` when both do."""

    @abstractmethod
    def __call__(self, progress: Progress) -> Decision | None:
        """Return a decision to stop, or None to go on."""

    @property
    def most_passes(self) -> float:
        """Passes beyond which this rule never lets a run go: no product is made that would."""
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
        # an accuracy reached in the very iteration that uses up the budget counts as reached
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
    """Stop before a product that would lead beyond ``limit`` passes over the data.

    Whatever the product is for: the start, a curvature, a line search. An iteration that does not
    fit in is given up, and the run ends with what came before it.
    """

    limit: float

    def __post_init__(self) -> None:
        _check_positive("limit", self.limit)

    def __call__(self, progress: Progress) -> Decision | None:
        if progress.passes < self.limit * (1 - 1e-12):  # a sum of shares
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
    """A rule on the certificate, measured every ``every`` iterations and where a run stalls.

    After each of the iterations that a solver calls long, too.
    """

    tolerance: float
    every: int = 10

    def __post_init__(self) -> None:
        _check_positive("tolerance", self.tolerance)
        _check_positive("every", self.every)

    @abstractmethod
    def figure(self, certificate: Certificate) -> float | None:
        """The figure compared with the tolerance; None if the problem has none."""

    def __call__(self, progress: Progress) -> Decision | None:
        if progress.iteration % self.every and not (progress.stalled or progress.long):
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
    """Stop when the KKT residual of every block, in its own unit, is at most ``tolerance``.

    For weights the unit is the norm of the loss gradient at zero; see
    :attr:`proxmtl.result.Certificate.relative_kkt`.
    """

    def figure(self, certificate: Certificate) -> float | None:
        return certificate.relative_kkt


@dataclass(frozen=True)
class ObjectiveChange(Stop):
    """Stop when the objective fell by less than ``tolerance`` (relative) over ``window`` checks.

    This certifies nothing: a small step looks the same as a minimum. The status is therefore
    never CONVERGED but BUDGET.
    """

    tolerance: float
    window: int = 10

    def __post_init__(self) -> None:
        _check_positive("tolerance", self.tolerance)
        _check_positive("window", self.window)

    def __call__(self, progress: Progress) -> Decision | None:
        history = progress.history
        if len(history) <= self.window:
            return None
        before, now = history[-1 - self.window]["objective"], history[-1]["objective"]
        if abs(before - now) > self.tolerance * max(abs(before), abs(now)):
            return None
        return Decision(Status.BUDGET, f"objective changed by less than {self.tolerance:g}")
