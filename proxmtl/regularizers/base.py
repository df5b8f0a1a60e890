"""What a regularizer is, and how the capability check asks what it can do."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

if TYPE_CHECKING:
    from proxmtl.regularizers.smoothed import SmoothedGroupNorm

__all__ = [
    "REGULARIZERS",
    "Regularizer",
    "UnsupportedError",
    "check_step",
    "check_strength",
    "largest_ratio",
    "norm_ratio",
]

REGULARIZERS: dict[str, type[Regularizer]] = {}
"""Every regularizer by class name, filled as subclasses are defined."""


class UnsupportedError(NotImplementedError):
    """Something asked for has no implementation; the message says what would do instead."""


def check_strength(strength: float) -> None:
    """Raise ``ValueError`` unless the strength is a finite, non-negative number."""
    if not (math.isfinite(strength) and strength >= 0):
        raise ValueError(f"strength: got {strength}; it must be finite and >= 0.")


def check_step(step: float | Tensor) -> None:
    """Raise ``ValueError`` unless a step is finite and non-negative."""
    if not 0 <= float(step) < math.inf:
        raise ValueError(f"step: got {float(step)}; a proximal step must be finite and >= 0.")


class Regularizer(ABC):
    """A convex penalty ``R(W)``, weight included, with its prox and its certificates.

    Attributes
    ----------
    strength : float
        The weight in front of the penalty, ``>= 0``.
    is_norm : bool
        ``R`` is ``strength`` times a norm: ``R*`` is the indicator of ``dual_norm(U) <= 1``.
    is_smooth : bool
        ``R`` has a Lipschitz gradient everywhere.
    exact_prox : bool
        The prox is in closed form; otherwise it is iterative and reports its own gap.
    """

    strength: float
    is_norm: ClassVar[bool] = False
    is_smooth: ClassVar[bool] = False
    exact_prox: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        REGULARIZERS[cls.__name__] = cls

    @property
    def definite(self) -> bool:
        """Whether ``R(W) = 0`` for ``W = 0`` only: nothing is left unpenalised."""
        return self.strength > 0

    @abstractmethod
    def value(self, W: Tensor) -> Tensor:
        """``R(W)``, 0-d."""

    @abstractmethod
    def prox(self, W: Tensor, step: float | Tensor) -> tuple[Tensor, Tensor]:
        """``argmin_X 1/2 ||X - W||^2 + step R(X)`` and ``R`` at that point.

        Parameters
        ----------
        W : Tensor
            Any shape the regularizer takes; not modified.
        step : float or 0-d Tensor
            ``>= 0``; 0 returns ``W`` itself, copied.

        Raises
        ------
        ValueError
            If ``step`` is negative, infinite or NaN.
        """

    @abstractmethod
    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Element of ``grad + dR(W)`` of least Euclidean norm, same shape.

        With ``grad`` the gradient of the smooth part at ``W``, its norm is the distance from 0 to
        the subdifferential of the objective: 0 exactly at a minimiser.
        """

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:  # noqa: ARG002
        """Dual norm of ``R`` at ``U``, strength included: ``R*(U) = 0`` iff it is ``<= 1``.

        Where the dual norm has no closed form an upper bound is returned that is tight when ``U``
        is a subgradient at the point ``at``.
        """
        raise UnsupportedError(
            f"{type(self).__name__} is not a norm, it has no dual norm; its conjugate is "
            "evaluated through its prox when a SquaredFrobenius term is present."
        )

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """Smallest strength at which 0 minimises loss + R, given the loss's gradient at 0."""
        unit = self.with_strength(1.0)
        return unit.dual_norm(-grad_at_zero)

    @abstractmethod
    def with_strength(self, strength: float) -> Regularizer:
        """Return the same penalty with another strength."""

    def prox_gap(self, W: Tensor, step: float) -> float:  # noqa: ARG002 - closed forms have none
        """Bound on the suboptimality of :meth:`prox` in ``1/2||X-W||^2 + step R(X)``."""
        return 0.0

    def smoothed(self, smoothness: float) -> SmoothedGroupNorm:
        """Nesterov-smooth lower approximation with parameter ``smoothness``."""
        raise UnsupportedError(
            f"{type(self).__name__} has no Nesterov smoothing here; GroupL2 and "
            f"OverlappingGroupL2 have. Use FISTA, which takes its prox (smoothness={smoothness})."
        )


def norm_ratio(numerator: float, denominator: float) -> float:
    """``numerator / denominator`` with 0/0 = 0 and x/0 = inf: dual norms at strength zero."""
    if numerator == 0:
        return 0.0
    return numerator / denominator if denominator > 0 else math.inf


def largest_ratio(ratios: Iterable[float]) -> float:
    """Maximum that a NaN does not vanish from, as it would from ``max``."""
    found = list(ratios)
    return math.nan if any(math.isnan(ratio) for ratio in found) else max(found)
