"""Certificates of points of a problem: objective, duality gap, KKT residual, and their scales."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from torch import Tensor

from proxmtl.counts import OracleCounts
from proxmtl.data_term import DataTerm, OnData
from proxmtl.designs import Design
from proxmtl.numerics import norm
from proxmtl.regularizers import Regularizer, Smoothed, UnsupportedError
from proxmtl.regularizers.splitting import Subgradients
from proxmtl.result import Certificate

__all__ = ["Certified", "Gathered", "Measured", "measured"]

ROUNDING = 64 * torch.finfo(torch.float64).eps
"""Relative margin by which a dual point stays inside the conjugate's domain despite rounding."""


class Measured(NamedTuple):
    """Scores and gradients at a point, float64: all that a certificate needs of the features."""

    scores: Tensor
    residuals: Tensor
    """Gradient of the loss in the scores."""
    grad: Tensor
    """Gradient of the loss in the parameter."""
    dual: tuple[Tensor, Tensor] | None
    """Balanced residuals (a dual point) and ``X'`` times them; None unless requested."""


def measured(design: Design, data: DataTerm, point: Tensor, *, balance: bool) -> Measured:
    """Compute scores and gradients at a float64 point in one read of the features.

    ``balance`` asks for balanced residuals, too. They take a second read for a loss that couples
    the tasks, which has no companion (:meth:`DataTerm.companion`).
    """
    found = Gathered(data, balance=balance)
    scores, adjoints = design.sweep(point, found.residuals_of)
    return found.measured(design, scores, *adjoints)


class Gathered:
    """Residuals, gathered block by block in a sweep, with the companions that balance them.

    ``zero``: also those of scores of zero, whose adjoint comes last.
    """

    def __init__(self, data: DataTerm, *, balance: bool, zero: bool = False) -> None:
        self.data, self.balance, self.zero = data, balance, zero
        self.residuals: Tensor | None = None

    def residuals_of(self, rows: slice, scores: Tensor) -> tuple[Tensor, ...]:
        """Residuals of some samples, and their companions if there are such."""
        whole = rows == slice(0, self.data.shape[0])
        part = self.data if whole else self.data.take(rows, scores.dtype)
        residuals = part.gradient(scores)
        if whole:
            self.residuals = residuals
        else:
            if self.residuals is None:
                self.residuals = residuals.new_empty(self.data.shape)
            self.residuals[rows] = residuals
        companion = part.companion(residuals) if self.balance else None
        found = (residuals,) if companion is None else (residuals, companion)
        return (*found, part.gradient(torch.zeros_like(scores))) if self.zero else found

    def measured(
        self, design: Design, scores: Tensor, grad: Tensor, of_companion: Tensor | None = None
    ) -> Measured:
        """Put together what the sweep gave: scores, and the adjoints of what was gathered."""
        residuals = self.residuals
        assert residuals is not None
        if not self.balance:
            return Measured(scores, residuals, grad, None)
        if of_companion is None:
            balanced = self.data.balanced(residuals)
            assert balanced is not None
            return Measured(scores, residuals, grad, (balanced, design.adjoint(balanced)))
        balanced, own, other = self.data.balanced_by_companion(residuals)
        return Measured(scores, residuals, grad, (balanced, own * grad + other * of_companion))


class Certified(OnData):
    """Base of :class:`proxmtl.Problem`: measures how good a point is."""

    design: Design
    counts: OracleCounts
    terms: tuple[Regularizer, ...]
    smooth_terms: tuple[Smoothed, ...]
    regularizer: Regularizer | None
    ridge: float
    _definite: bool
    _plain: Self | None  # cached: this problem with its intercept in unit 1

    if TYPE_CHECKING:
        zeros: Callable[..., Tensor]
        inside: Callable[[Tensor], Tensor]
        outside: Callable[[Tensor], Tensor]
        regularizer_value: Callable[[Tensor], Tensor]
        smooth_terms_value_and_grad: Callable[[Tensor], tuple[Tensor, Tensor | None]]

    def critical_strength(self) -> float:
        """Smallest strength of the non-smooth regularizer at which all weights are zero.

        By :meth:`null_gradient`; without a non-smooth regularizer, raises `UnsupportedError`.
        """
        if self.regularizer is None:
            raise UnsupportedError("critical_strength: the problem has no non-smooth regularizer.")
        return self.regularizer.critical_strength(self.null_gradient())

    def null_gradient(self) -> Tensor:
        """Gradient of the loss in the weights at :meth:`null_point`."""
        scores = self._scores_without_weights(self._without_weights[0])
        return self.design.split(self.design.adjoint(self.data.gradient(scores)))[0]

    def _scores_without_weights(self, intercept: Tensor | None) -> Tensor:
        """Scores of zero weights, float64; takes a product only if the design is affine."""
        if not self.design.affine:
            zero = self.data.zero_scores(torch.float64)
            return zero if intercept is None else zero + self.data.constant_scores(intercept)
        zero = self.zeros(torch.float64)
        if intercept is None:
            return self.design.scores(zero)
        return self.design.scores(
            self.inside(self.design.join(self.design.split(zero)[0], intercept))
        )

    def null_point(self) -> Tensor:
        """Zero weights with the intercepts that minimise the loss of them; float64.

        This is the solution if the strength is at least :meth:`critical_strength`.
        """
        zero = self.zeros(torch.float64)
        if not self.design.intercept:
            return zero
        best, _ = self._without_weights
        return self.inside(self.design.join(self.design.split(zero)[0], best))

    def null(self, like: Tensor) -> tuple[Tensor, float] | None:
        """:meth:`null_point` in the precision of ``like``, and its objective, without a product.

        None for an affine design, whose scores at zero weights depend on the features.
        """
        if self.design.affine:
            return None
        best, loss = self._without_weights
        point = self.inside(self.design.join(self.design.split(self.zeros(torch.float64))[0], best))
        return point.to(like), loss + float(self.regularizer_value(point))

    @cached_property
    def _without_weights(self) -> tuple[Tensor | None, float]:
        return self.data.null(intercept=self.design.intercept)

    @property
    def loss_at_zero(self) -> float:
        """Loss at ``W = 0``, float64 (the null loss)."""
        return self._at_zero[0]

    @property
    def gradient_scale(self) -> float:
        """Norm of the loss gradient at zero, float64."""
        return math.hypot(*self._at_zero[1])

    @property
    def residual_scales(self) -> dict[str, float]:
        """Scale of the KKT residual of each block: :attr:`Certificate.scales`."""
        of_weights, _ = self._at_zero[1]
        scales = {"W": of_weights}
        if self.design.intercept:
            scales["intercept"] = self._at_zero[2]
        return scales

    @property
    def weight_unit(self) -> float:
        """Norm of the weights at which the loss, linearised at zero, would vanish.

        It tells small from large weights for features of any scale; 1 where the gradient at zero
        vanishes. The first call costs half a pass, unless a certificate has computed the gradient.
        """
        if "_at_zero" not in self.__dict__:
            forward = self.design.share if self.design.affine else 0.0
            self.counts.charge(forward=forward, adjoint=self.design.share)
        slope = self._at_zero[1][0]
        return abs(self.loss_at_zero) / slope if slope > 0 and self.loss_at_zero else 1.0

    @cached_property
    def _at_zero(self) -> tuple[float, tuple[float, float], float]:
        """Loss at zero, norms of its gradient in weights and intercept, scale of the intercept's.

        That scale is the norm of the tasks' sums of absolute residuals.
        """
        residuals = self.data.gradient(self._scores_without_weights(None))
        return self._scales_at_zero(self.design.adjoint(residuals))

    def _scales_at_zero(self, slope: Tensor) -> tuple[float, tuple[float, float], float]:
        """:attr:`_at_zero` by the gradient of the loss at zero, float64."""
        value, residuals = self.data.value_and_gradient(self._scores_without_weights(None))
        grad, bias = self.design.split(slope)
        norms = norm(grad), 0.0 if bias is None else norm(bias)
        return float(value), norms, norm(self.data.per_task(residuals.abs()))

    def certificate(self, W: Tensor, by: Subgradients | None = None) -> Certificate:
        """Measure a point in float64: objective, duality gap (if there is one), KKT residual.

        A point of lower precision is converted to float64, and moved by some units in its last
        place where rounding has hidden an active bound or a rank (:meth:`Regularizer.snap`).

        Parameters
        ----------
        W : Tensor
            The point.
        by : Subgradients, optional
            Stands for :attr:`regularizer` where its subgradients are asked for: what a solver's
            dual variables tell of them.
        """
        if self.design.unit != 1:
            return self._in_plain_units().certificate(self.outside(W), by)
        point = self.settled(W)
        self.data.ranks.check_same("solution", point)
        self.counts.certificates += self.design.share
        certificate = self.certificate_from(
            point,
            self.measured(point),
            self.gradient_scale,
            loss_at_zero=self.loss_at_zero,
            by=by,
        )
        return replace(certificate, solved_in=str(W.dtype).removeprefix("torch."))

    def _in_plain_units(self) -> Self:
        if self._plain is None:
            self._plain = copy(self)
            self._plain.design = self.design.with_unit(1.0)
        return self._plain

    def settled(self, W: Tensor) -> Tensor:
        """Float64 point at which ``W`` is certified: see :meth:`certificate`."""
        point = W.to(torch.float64)
        if self.regularizer is None:
            return point
        penalised, bias = self.design.split(point)
        rounding = torch.finfo(W.dtype).eps
        return self.design.join(self.regularizer.snap(penalised, rounding), bias)

    def certificate_from(
        self,
        point: Tensor,
        at: Measured,
        scale: float,
        *,
        loss_at_zero: float | None = None,
        scales: dict[str, float] | None = None,
        by: Subgradients | None = None,
    ) -> Certificate:
        """Certificate of a float64 point from the quantities measured there; takes no product.

        ``scale`` becomes :attr:`Certificate.scale`, ``scales`` (default: :attr:`residual_scales`)
        :attr:`Certificate.scales`, and ``by`` is as in :meth:`certificate`.
        """
        R, known = self.regularizer, by or self.regularizer
        value = float(self.data.value(at.scores))
        smooth, smooth_grad = self.smooth_terms_value_and_grad(point)
        objective = value + float(self.regularizer_value(point) + smooth)
        penalised, _ = self.design.split(point)
        weights_grad, bias_grad = self.design.split(
            at.grad if smooth_grad is None else at.grad + smooth_grad
        )
        tilted = weights_grad + 2 * self.ridge * penalised
        residual = tilted if known is None else known.kkt_residual(penalised, tilted)
        blocks = {"W": norm(residual)}
        if bias_grad is not None:
            blocks["intercept"] = norm(bias_grad)
        return Certificate(
            objective=objective,
            gap=_duality_gap(self, known, point, at, objective) if self.has_gap else None,
            kkt=math.hypot(*blocks.values()),
            scale=scale,
            blocks=blocks,
            kkt_kind="subgradient" if R is None or R.exact_kkt else "fixed point",
            loss_at_zero=loss_at_zero,
            scales=self.residual_scales if scales is None else scales,
        )

    def gap_from(self, W: Tensor, scores: Tensor, residuals: Tensor, grad: Tensor) -> float:
        """Duality gap at a point from what a solver knows of it; takes no product.

        With an intercept whose residuals do not balance this is an estimate, not a bound: their
        sums are taken for zero. Requires :attr:`has_gap`.
        """
        at = Measured(scores, residuals, grad, None)
        objective = float(self.data.value(scores) + self.regularizer_value(W))
        return _duality_gap(self, self.regularizer, W, at, objective)

    @property
    def has_gap(self) -> bool:
        """Whether a dual feasible point is known, and so a duality gap; see :attr:`why_no_gap`."""
        return not self.why_no_gap

    @property
    def why_no_gap(self) -> str:
        """Why there is no duality gap, and what would give one; empty where there is one."""
        if self.smooth_terms or not all(term.is_convex for term in self.terms):
            return "the penalty is smoothed or not convex"
        if self.design.intercept and not self.data.balances:
            return "residuals of this loss cannot be balanced for the intercept"
        R = self.regularizer
        norm, known = R is not None and R.is_norm, R is not None and R.has_conjugate
        if self.ridge > 0 or known or (norm and self._definite):
            return ""
        if norm:
            return "some weights, as those in no group, have no penalty; see groups.covering()"
        return "there is no penalty with a known conjugate; a ridge is one"

    def balanced(self, residuals: Tensor) -> Tensor:
        """Dual point made of the residuals; with an intercept, each task's entries sum to zero.

        Raises :class:`UnsupportedError` if the loss has no construction of such a point.
        """
        if not self.design.intercept:
            return residuals
        balanced = self.data.balanced(residuals)
        if balanced is None:
            raise UnsupportedError(
                f"{type(self.loss).__name__} makes no dual point that an unpenalised intercept "
                "allows; leave the intercept out, or stop by the KKT residual."
            )
        return balanced

    def measured(self, point: Tensor) -> Measured:
        """Scores and gradients at a float64 point, as a certificate needs them: one read.

        A design that is read in sweeps gives the gradient at zero, whose norm is the scale of
        residuals, in the same read if it is not known yet.
        """
        first = "_at_zero" not in self.__dict__ and self.design.unit == 1
        first = first and not self.design.affine and self.design.sweeps(point.dtype)
        found = Gathered(self.data, balance=self.has_gap and self.design.intercept, zero=first)
        scores, adjoints = self.design.sweep(point, found.residuals_of)
        if first:
            self.__dict__["_at_zero"] = self._scales_at_zero(adjoints[-1])
            adjoints = adjoints[:-1]
        return found.measured(self.design, scores, *adjoints)


def _duality_gap(
    problem: Certified, known: Subgradients | None, W: Tensor, at: Measured, objective: float
) -> float:
    """Fenchel gap of a convex problem, with a dual point made of the residuals at ``W``.

    Parameters
    ----------
    problem : Problem
        With :attr:`Problem.has_gap`.
    known : Subgradients or None
        The problem's regularizer, or what stands for it.
    W : Tensor
        Point, float64.
    at : Measured
        Quantities measured at ``W``; with balanced residuals if the design has an intercept.
    objective : float
        Objective at ``W``.

    Returns
    -------
    float
        Upper bound on ``objective - optimum``, ``>= 0``.
    """
    residuals, grad = at.dual or (at.residuals, at.grad)
    U, _ = problem.design.split(-grad)
    penalised, _ = problem.design.split(W)
    # an affine design has fixed scores c = scores - A w, which enter the dual as <theta, c>
    offset = problem.data.inner(residuals, at.scores) - float((grad * W).sum())
    ridge, R = problem.ridge, problem.regularizer
    if ridge > 0:
        scale = 1.0
        squares = float(U.square().sum()) / (4 * ridge)
        conjugate = squares if known is None else known.ridged_conjugate(U, ridge)
    elif R is not None and R.has_conjugate:
        # shrink a dual point outside the conjugate's domain to inside it, with a rounding margin
        limit = R.conjugate_limit(U) * (1 - ROUNDING)
        scale = 1.0 if limit >= 1 else limit  # NaN stays
        conjugate = R.conjugate(scale * U)
    else:
        assert known is not None
        norm = known.dual_norm(U, at=penalised)
        largest = math.inf if norm == 0 else 1 / norm
        scale = problem.data.dual_scale(residuals, largest, offset)
        conjugate = 0.0
    dual_loss = problem.data.conjugate(residuals, scale)
    return max(objective + dual_loss - scale * offset + conjugate, 0.0)
