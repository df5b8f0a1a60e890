"""How good a point of a problem is: certificates, and what they are measured against."""

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
from proxmtl.result import Certificate

__all__ = ["Certified", "Gathered", "Measured", "measured"]

ROUNDING = 64 * torch.finfo(torch.float64).eps
"""Relative margin inside the domain of a conjugate: past the rounding of its gauge."""


class Measured(NamedTuple):
    """Scores and gradients at a point, float64."""

    scores: Tensor
    residuals: Tensor
    """Gradient of the loss in the scores."""
    grad: Tensor
    """Gradient of the loss in the parameter."""
    dual: tuple[Tensor, Tensor] | None
    """Balanced residuals and their adjoint, where they were asked for."""


def measured(design: Design, data: DataTerm, point: Tensor, *, balance: bool) -> Measured:
    """Measure a float64 point in one read of the features, with or without balanced residuals.

    A loss whose tasks do not balance one by one takes a second read.
    """
    found = Gathered(data, balance=balance)
    scores, adjoints = design.sweep(point, found.residuals_of)
    return found.measured(design, scores, *adjoints)


class Gathered:
    """Residuals, and the companions that balance them, gathered block by block in a sweep."""

    def __init__(self, data: DataTerm, *, balance: bool) -> None:
        self.data, self.balance = data, balance
        self.blocks: list[tuple[Tensor, ...]] = []

    def residuals_of(self, rows: slice, scores: Tensor) -> tuple[Tensor, ...]:
        """Residuals of some samples, and their companions if there are such."""
        part = self.data
        if rows != slice(0, self.data.shape[0]):
            part = self.data.take(rows, scores.dtype)
        residuals = part.gradient(scores)
        companion = part.companion(residuals) if self.balance else None
        self.blocks.append((residuals,) if companion is None else (residuals, companion))
        return self.blocks[-1]

    def measured(
        self, design: Design, scores: Tensor, grad: Tensor, of_companion: Tensor | None = None
    ) -> Measured:
        """Put together what the sweep gave: scores, and the adjoints of what was gathered."""
        parts = list(zip(*self.blocks, strict=True))
        residuals, *companion = (each[0] if len(each) == 1 else torch.cat(each) for each in parts)
        if not self.balance:
            return Measured(scores, residuals, grad, None)
        balanced = self.data.balanced(residuals)
        assert balanced is not None
        if of_companion is None:
            return Measured(scores, residuals, grad, (balanced, design.adjoint(balanced)))
        own, other = self.data.balancing(residuals, companion[0])
        return Measured(scores, residuals, grad, (balanced, own * grad + other * of_companion))


class Certified(OnData):
    """The part of :class:`proxmtl.Problem` that measures points."""

    design: Design
    counts: OracleCounts
    terms: tuple[Regularizer, ...]
    smooth_terms: tuple[Smoothed, ...]
    regularizer: Regularizer | None
    ridge: float
    _definite: bool
    _plain: Self | None  # the problem that this is in other units

    if TYPE_CHECKING:
        zeros: Callable[..., Tensor]
        inside: Callable[[Tensor], Tensor]
        outside: Callable[[Tensor], Tensor]
        regularizer_value: Callable[[Tensor], Tensor]
        smooth_terms_value_and_grad: Callable[[Tensor], tuple[Tensor, Tensor | None]]

    def critical_strength(self) -> float:
        """Smallest strength of the non-smooth regularizer at which its argument is all zero.

        With an intercept, the loss is first minimised over the intercept alone, exactly as the
        solution with zero weights does.
        """
        if self.regularizer is None:
            raise UnsupportedError("critical_strength: the problem has no non-smooth regularizer.")
        residuals = self.data.gradient(self._scores_without_weights(self._without_weights[0]))
        grad = self.design.adjoint(residuals)
        return self.regularizer.critical_strength(self.design.split(grad)[0])

    def _scores_without_weights(self, intercept: Tensor | None) -> Tensor:
        """Scores of zero weights, float64; no product, unless a part of them is held fixed."""
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
        """Zero weights, with the intercept that then minimises the loss; float64.

        The solution wherever the strength is at least the critical one.
        """
        zero = self.zeros(torch.float64)
        if not self.design.intercept:
            return zero
        best, _ = self._without_weights
        return self.inside(self.design.join(self.design.split(zero)[0], best))

    def null(self, like: Tensor) -> tuple[Tensor, float] | None:
        """:meth:`null_point` in the precision of ``like``, and its objective, without a product.

        None where a part of the scores is held fixed: then they depend on the features at zero too.
        """
        if self.design.affine:
            return None
        best, loss = self._without_weights
        weights, _ = self.design.split(self.zeros(torch.float64))
        point = self.inside(self.design.join(weights, best))
        return point.to(like), loss + float(self.regularizer_value(point))

    @cached_property
    def _without_weights(self) -> tuple[Tensor | None, float]:
        return self.data.null(intercept=self.design.intercept)

    @property
    def loss_at_zero(self) -> float:
        """Loss of the zero parameter, float64: what there is to explain."""
        return self._at_zero[0]

    @property
    def gradient_scale(self) -> float:
        """Norm of the loss gradient at zero, float64."""
        return math.hypot(*self._at_zero[1])

    @property
    def residual_scales(self) -> dict[str, float]:
        """Units of the KKT residuals of the blocks, :attr:`Certificate.scales`."""
        of_weights, _ = self._at_zero[1]
        scales = {"W": of_weights}
        if self.design.intercept:
            scales["intercept"] = self._at_zero[2]
        return scales

    @property
    def weight_unit(self) -> float:
        """Length of weights at which the loss, linear as it is at zero, would be zero.

        The unit in which weights are small or large, whatever the scale of the features; 1 where
        there is no gradient. Found in half a pass, which is counted, unless a certificate found it.
        """
        if "_at_zero" not in self.__dict__:
            forward = self.design.share if self.design.affine else 0.0
            self.counts.charge(forward=forward, adjoint=self.design.share)
        slope = self._at_zero[1][0]
        return abs(self.loss_at_zero) / slope if slope > 0 and self.loss_at_zero else 1.0

    @cached_property
    def _at_zero(self) -> tuple[float, tuple[float, float], float]:
        """Loss at zero, norms of its gradient in weights and intercept, unit of the latter."""
        value, residuals = self.data.value_and_gradient(self._scores_without_weights(None))
        grad, bias = self.design.split(self.design.adjoint(residuals))
        norms = norm(grad), 0.0 if bias is None else norm(bias)
        return float(value), norms, norm(self.data.per_task(residuals.abs()))

    def certificate(self, W: Tensor) -> Certificate:
        """Measure a point in float64: objective, duality gap where there is one, KKT residual.

        A point of lower precision is measured where its rounding left it, or within some units of
        that where it hides bounds or a rank (:meth:`Regularizer.snap`).
        """
        if self.design.unit != 1:
            return self._in_plain_units().certificate(self.outside(W))
        point = self.settled(W)
        self.counts.certificates += self.design.share
        certificate = self.certificate_from(
            point, self.measured(point), self.gradient_scale, loss_at_zero=self.loss_at_zero
        )
        return replace(certificate, solved_in=str(W.dtype).removeprefix("torch."))

    def _in_plain_units(self) -> Self:
        if self._plain is None:
            self._plain = copy(self)
            self._plain.design = self.design.with_unit(1.0)
        return self._plain

    def settled(self, W: Tensor) -> Tensor:
        """Float64 point at which ``W`` is certified."""
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
    ) -> Certificate:
        """Certificate from what was measured at a float64 point: no product with the features."""
        value = float(self.data.value(at.scores))
        smooth, smooth_grad = self.smooth_terms_value_and_grad(point)
        objective = value + float(self.regularizer_value(point) + smooth)
        penalised, _ = self.design.split(point)
        weights_grad, bias_grad = self.design.split(
            at.grad if smooth_grad is None else at.grad + smooth_grad
        )
        tilted = weights_grad + 2 * self.ridge * penalised
        R = self.regularizer
        residual = tilted if R is None else R.kkt_residual(penalised, tilted)
        blocks = {"W": norm(residual)}
        if bias_grad is not None:
            blocks["intercept"] = norm(bias_grad)
        gap = None
        if self.has_gap:
            gap = _duality_gap(self, point, at, objective)
        return Certificate(
            objective=objective,
            gap=gap,
            kkt=math.hypot(*blocks.values()),
            scale=scale,
            blocks=blocks,
            kkt_kind="subgradient" if R is None or R.exact_kkt else "fixed point",
            loss_at_zero=loss_at_zero,
            scales=self.residual_scales if scales is None else scales,
        )

    @property
    def has_gap(self) -> bool:
        """Whether a feasible dual point can be made: a ridge, or a penalty that is a norm.

        Not for smoothed problems, and not where the penalty leaves a part of the parameter free.
        """
        if self.smooth_terms or not all(term.is_convex for term in self.terms):
            return False
        if self.design.intercept and not self.data.balances:
            return False
        R = self.regularizer
        return self.ridge > 0 or (
            R is not None and (R.has_conjugate or (R.is_norm and self._definite))
        )

    def balanced(self, residuals: Tensor) -> Tensor:
        """Residuals as dual variables: each task's sum to zero if there is an intercept."""
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
        """What a certificate is made of, at a float64 point: one read of the features."""
        return measured(
            self.design, self.data, point, balance=self.has_gap and self.design.intercept
        )


def _duality_gap(problem: Certified, W: Tensor, at: Measured, objective: float) -> float:
    """Fenchel gap of a convex problem at a dual point made of the loss's own residuals.

    Parameters
    ----------
    problem : Problem
        One that :attr:`Problem.has_gap`.
    W : Tensor
        Point, float64.
    at : Measured
        There; with balanced residuals where the design has an intercept.
    objective : float
        At the point.

    Returns
    -------
    float
        Upper bound on ``objective - optimum``, ``>= 0``.
    """
    residuals, grad = at.dual or (at.residuals, at.grad)
    U, _ = problem.design.split(-grad)
    penalised, _ = problem.design.split(W)
    # fixed part of an affine design: <theta, scores - A w>
    offset = float((residuals * at.scores).sum() - (grad * W).sum())
    if problem.ridge > 0:
        scale, conjugate = 1.0, _conjugate_with_ridge(problem, U)
    elif problem.regularizer is not None and problem.regularizer.has_conjugate:
        # a dual point just outside the conjugate's domain is shrunk into it, past rounding
        limit = problem.regularizer.conjugate_limit(U) * (1 - ROUNDING)
        scale = 1.0 if limit >= 1 else limit  # NaN stays
        conjugate = problem.regularizer.conjugate(scale * U)
    else:
        assert problem.regularizer is not None
        norm = problem.regularizer.dual_norm(U, at=penalised)
        largest = math.inf if norm == 0 else 1 / norm
        scale = problem.data.dual_scale(residuals, largest, offset)
        conjugate = 0.0
    dual_loss = problem.data.conjugate(scale * residuals)
    return max(objective + dual_loss - scale * offset + conjugate, 0.0)


def _conjugate_with_ridge(problem: Certified, U: Tensor) -> float:
    """``(R + ridge ||.||^2)*(U)``: its maximiser is a prox, ``prox_{R/2ridge}(U / 2ridge)``."""
    step = 1 / (2 * problem.ridge)
    point = U * step
    if problem.regularizer is None:
        return float(U.square().sum()) / (4 * problem.ridge)
    best, value = problem.regularizer.prox(point, step)
    inner = float((U * best).sum() - problem.ridge * best.square().sum() - value)
    # an inexact prox falls short of the maximum by at most its own gap
    slack = 0.0
    if not problem.regularizer.exact_prox:
        slack = 2 * problem.ridge * problem.regularizer.prox_gap(point, step)
    return inner + slack
