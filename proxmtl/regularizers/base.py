"""What a regularizer is, and how the capability check asks what it can do."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from proxmtl.regularizers.half import COMPUTED, in_float32

if TYPE_CHECKING:
    from typing import Self

    from proxmtl.regularizers.smoothed import Smoothed
    from proxmtl.regularizers.splitting import Splitting

__all__ = [
    "COMBINATIONS",
    "REGULARIZERS",
    "Regularizer",
    "RowNorms",
    "UnsupportedError",
    "check_step",
    "check_strength",
    "combination",
    "largest_ratio",
    "norm_ratio",
    "scaled_value",
]

REGULARIZERS: dict[str, type[Regularizer]] = {}
"""Every regularizer by class name, filled as subclasses are defined."""


Rule = Callable[[Any, Any], "Regularizer | None"]
"""Makes one regularizer with a prox in closed form out of two, or declines with None."""

COMBINATIONS: list[tuple[type[Regularizer], type[Regularizer], Rule]] = []
"""Exact sums of two regularizers: their types and the rule, filled by :func:`combination`."""


def combination(first: type[Any], second: type[Any]) -> Callable[[Rule], Rule]:
    """Register a rule for the sum of two types of regularizers (and their subclasses).

    Rules between two named classes are tried before those that take any regularizer; at most one
    of each kind may apply to a pair, so the order in which modules are imported has no effect.
    """

    def register(rule: Rule) -> Rule:
        COMBINATIONS.append((first, second, rule))
        COMBINATIONS.sort(key=lambda entry: Regularizer in entry[:2])
        return rule

    return register


class UnsupportedError(NotImplementedError):
    """Something asked for has no implementation; the message says what would do instead."""


class RowNorms(NamedTuple):
    """A penalty ``sum_j sum_g p_gj ||W[j, g]|| + ridge ||W||^2`` of weights (D, M).

    Each row of weights is divided into the same groups of tasks: whole rows, single weights, or
    disjoint groups.
    """

    groups: Tensor
    """Number g of the group of each task, (M,), int64."""
    factors: Tensor
    """Factors p of the norms, (G, D), float64."""
    ridge: float


def check_strength(strength: float) -> None:
    """Raise ``ValueError`` unless the strength is a finite, non-negative number."""
    if not (math.isfinite(strength) and strength >= 0):
        raise ValueError(f"strength: got {strength}; it must be finite and >= 0.")


def check_step(step: float | Tensor) -> None:
    """Raise ``ValueError`` unless a step is finite and non-negative."""
    if not 0 <= float(step) < math.inf:
        raise ValueError(f"step: got {float(step)}; a proximal step must be finite and >= 0.")


class Regularizer(ABC):
    """A penalty ``R(W)``, weight included, with its prox and its certificates.

    Methods take tensors of any floating dtype; float16 and bfloat16 are computed on in float32.
    Tensors without entries have the value 0, and themselves as prox and residual.

    A subclass is a frozen dataclass. It states its properties by class attributes and overrides
    the methods that go with them; other methods raise :class:`UnsupportedError`, and the
    capability checks of the solvers look at the attributes before a run. Strengths are checked
    when a regularizer is made, and steps before :meth:`prox` is entered.

    Attributes
    ----------
    strength : float
        The weight in front of the penalty, ``>= 0``; 1 for an indicator, which no weight changes.
    is_convex : bool
        Otherwise there are no gaps, and only monotone solvers take it.
    is_norm : bool
        ``R`` is ``strength`` times a norm, or a gauge: ``R*`` is the indicator of
        ``dual_norm(U) <= 1``.
    is_indicator : bool
        ``R`` is 0 on a convex set and infinite outside, and no strength changes it.
    is_constraint : bool
        ``R`` is infinite outside a set, whatever it is inside; the prox ends in the set, for a
        step of zero too.
    exact_kkt : bool
        :meth:`kkt_residual` is the least subgradient; otherwise it is the fixed-point residual.
    is_absolutely_monotone : bool
        ``R(W)`` depends on ``|W|`` only and does not decrease as ``|W|`` grows.
    is_separable : bool
        ``R`` is a sum of functions of one coordinate each.
    has_conjugate : bool
        :meth:`conjugate` is offered and finite near 0, without a ridge term (norms: not needed).
    has_curvature : bool
        :meth:`curvature_product` is offered.
    is_smoothable : bool
        :meth:`smoothed` is offered.
    exact_prox : bool
        The prox is in closed form; otherwise it is iterative and reports its own gap.
    is_slicewise : bool
        Slices along ``axis`` (entries, where a penalty has no axis) are penalised apart.
    value_vmaps : bool
        ``torch.vmap`` takes :meth:`value` without a loop.
    """

    strength: float
    is_convex: bool = True
    is_norm: bool = False
    is_indicator: bool = False
    is_constraint: bool = False
    exact_kkt: bool = True
    is_absolutely_monotone: bool = False
    is_separable: bool = False
    has_conjugate: bool = False
    has_curvature: bool = False
    is_smoothable: bool = False
    exact_prox: bool = True
    is_slicewise: bool = False
    value_vmaps: bool = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in COMPUTED:
            if name in vars(cls):
                method = vars(cls)[name]
                setattr(cls, name, in_float32(_checked(method) if name == "prox" else method))
        REGULARIZERS[cls.__name__] = cls

    def __post_init__(self) -> None:
        check_strength(self.strength)

    @property
    def stacks(self) -> bool:
        """Whether matrices may be stacked along a new dimension 1, to the shape (D, B, M).

        The prox of the stack is then the stack of the proxes, up to the accuracy of the prox.
        """
        return self.is_slicewise and getattr(self, "axis", 0) in {-1, 0}

    def is_coercive(self, W: Tensor) -> bool:
        """Whether ``R`` grows in every direction of the space of ``W``: no entry is unpenalised."""
        return self.strength > 0

    @abstractmethod
    def value(self, W: Tensor) -> Tensor:
        """``R(W)``, 0-d."""

    @abstractmethod
    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``argmin_X 1/2 ||X - W||^2 + step R(X)`` and ``R`` at that point.

        Parameters
        ----------
        W : Tensor
            Any shape the regularizer takes; not modified.
        step : float or 0-d Tensor
            ``>= 0``; 0 returns ``W`` itself, copied (a constraint's projection of it).
        warm_start : Tensor, optional
            A point near the result, such as the last iterate: an iterative prox may start there.
            Nothing is remembered between calls; closed forms ignore it.

        Raises
        ------
        ValueError
            If ``step`` is negative, infinite or NaN.
        """

    @abstractmethod
    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Element of ``grad + dR(W)`` of least Euclidean norm, same shape.

        With ``grad`` the gradient of the smooth part at ``W``, its norm is the distance from 0 to
        the subdifferential of the objective: 0 exactly at a minimiser. Where :attr:`exact_kkt` is
        false it is ``W - prox(W - grad)`` instead: 0 at a minimiser too, but smaller elsewhere.
        """

    def snap(self, W: Tensor, rounding: float) -> Tensor:
        """Round ``W`` to the structure that rounding hid; entries are known to ``rounding`` only.

        Certificates are measured at this float64 point: on bounds that a float32 number cannot
        meet exactly, at a lower rank. No entry moves by more than a few units of ``rounding``.
        """
        return W

    def for_parameter(self, W: Tensor) -> Regularizer:
        """The same penalty in the form that sums with others best, for the shape of ``W``."""
        return self

    @property
    def splitting(self) -> Splitting | None:
        """The penalty as a norm of a linear image, if its own prox is the dearer of the two."""
        return None

    def ridged_conjugate(self, U: Tensor, ridge: float) -> float:
        """``(R + ridge ||.||^2)*(U)``, whose maximiser is ``prox_{R/2ridge}(U / 2ridge)``.

        Where that prox is inexact, an upper bound.
        """
        step = 1 / (2 * ridge)
        point = U * step
        best, value = self.prox(point, step)
        inner = float((U * best).sum() - ridge * best.square().sum() - value)
        # an inexact prox falls short of the maximum by at most its own gap
        return inner if self.exact_prox else inner + 2 * ridge * self.prox_gap(point, step)

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        """Dual norm of ``R`` at ``U``, strength included: ``R*(U) = 0`` iff it is ``<= 1``.

        Where the dual norm has no closed form an upper bound is returned that is tight when ``U``
        is a subgradient at the point ``at``.
        """
        raise UnsupportedError(
            f"{type(self).__name__} is not a norm, it has no dual norm; its conjugate is "
            "evaluated through its prox when a SquaredFrobenius term is present."
        )

    def conjugate(self, U: Tensor) -> float:
        """``R*(U) = sup_W <U, W> - R(W)``."""
        if self.is_norm:
            return 0.0 if self.dual_norm(U) <= 1 else math.inf
        raise UnsupportedError(
            f"{type(self).__name__} has no conjugate in closed form; add a SquaredFrobenius term, "
            "with which it is evaluated through the prox."
        )

    def conjugate_limit(self, U: Tensor) -> float:
        """Largest ``s`` for which ``R*(s U)`` is finite; infinite where the conjugate always is."""
        return math.inf

    def active(self, W: Tensor) -> Tensor:
        """Mask of the coordinates along which ``R`` is smooth at ``W``, same shape.

        The others sit at a kink: they stay where they are while the solution moves a little.
        """
        return (
            torch.full_like(W, fill_value=True, dtype=torch.bool) if self.strength == 0 else W != 0
        )

    def active_gradient(self, W: Tensor) -> Tensor:
        """Gradient of ``R`` in the active coordinates at ``W``, zero in the others; same shape."""
        return torch.where(self.active(W), self.kkt_residual(W, torch.zeros_like(W)), 0.0)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        """Hessian of ``R`` in the active coordinates at ``W``, times ``V``; same shape.

        ``V`` must be zero outside :meth:`active`, and so is the product.
        """
        raise UnsupportedError(
            f"{type(self).__name__} has no curvature on an active set; use FISTA, which needs none."
        )

    def as_elastic_net(self, W: Tensor) -> tuple[Tensor, float] | None:
        """Weights ``a``, broadcast to the shape of ``W``, and b of ``sum a_ij |W_ij| + b ||W||^2``.

        In float64; None if the penalty is not of this form.
        """
        return None

    def as_row_norms(self, W: Tensor) -> RowNorms | None:
        """Norms of the rows of weights (D, M), in float64; None if the penalty is not of this form.

        An elastic net is: each task is a group by itself.
        """
        found = self.as_elastic_net(W) if W.ndim == 2 else None
        if found is None:
            return None
        return RowNorms(torch.arange(W.shape[1], device=W.device), found[0].t(), found[1])

    def critical_strength(self, grad_at_zero: Tensor) -> float:
        """Smallest strength at which 0 minimises loss + R, given the loss's gradient at 0.

        Raises
        ------
        UnsupportedError
            If the penalty is not a norm and has no rule of its own.
        """
        unit = self.with_strength(1.0)
        if not unit.is_norm:
            raise UnsupportedError(
                f"critical_strength: none is known for {type(self).__name__}; give the strengths "
                "of a path as numbers."
            )
        return unit.dual_norm(-grad_at_zero)

    def with_strength(self, strength: float) -> Self:
        """Return the same penalty with another strength."""
        return replace(self, strength=strength)  # type: ignore[type-var]

    def prox_gap(self, W: Tensor, step: float) -> float:
        """Bound on the suboptimality of :meth:`prox` in ``1/2||X-W||^2 + step R(X)``."""
        return 0.0

    def smoothed(self, smoothness: float) -> Smoothed:
        """Nesterov-smooth lower approximation with parameter ``smoothness``."""
        raise UnsupportedError(
            f"{type(self).__name__} has no Nesterov smoothing here; GroupL2, "
            "OverlappingGroupL2 and GraphFused have. Use FISTA, which takes its prox "
            f"(smoothness={smoothness})."
        )


def _checked(prox: Callable[..., Any]) -> Callable[..., Any]:
    """Let a prox begin with the check of its step."""

    @functools.wraps(prox)
    def checked(self: Any, W: Tensor, step: float | Tensor, **options: Any) -> Any:
        check_step(step)
        return prox(self, W, step, **options)

    return checked


def norm_ratio(numerator: float, denominator: float) -> float:
    """``numerator / denominator`` with 0/0 = 0 and x/0 = inf: dual norms at strength zero."""
    if numerator == 0:
        return 0.0
    return numerator / denominator if denominator > 0 else math.inf


def scaled_value(strength: float, total: Tensor, like: Tensor) -> Tensor:
    """``strength * total`` in the dtype of ``like``; 0 at strength 0, whatever the total but NaN.

    ``total`` is best given in float64, in which the product over- or underflows last.
    """
    if strength == 0:
        return torch.where(torch.isnan(total), total, 0.0).to(like.dtype)
    return (strength * total.to(torch.float64)).to(like.dtype)


def largest_ratio(ratios: Iterable[float]) -> float:
    """Maximum that a NaN does not vanish from, as it would from ``max``."""
    found = list(ratios)
    return math.nan if any(math.isnan(ratio) for ratio in found) else max(found, default=0.0)
