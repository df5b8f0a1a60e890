"""How good a point of a problem is: certificates, and what they are measured against."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from proxmtl.counts import OracleCounts
from proxmtl.designs import Design
from proxmtl.duality import duality_gap
from proxmtl.losses import Loss, without_weights
from proxmtl.numerics import norm
from proxmtl.regularizers import Regularizer, Smoothed, UnsupportedError
from proxmtl.result import Certificate
from proxmtl.targets import Targets

__all__ = ["Certified"]


class Certified:
    """The part of :class:`proxmtl.Problem` that measures points."""

    loss: Loss
    design: Design
    targets: Targets
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
        targets = self.targets.to(torch.float64)
        _, grad = self.design.loss_and_grad(self.loss, targets, self.null_point())
        return self.regularizer.critical_strength(self.design.split(grad)[0])

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
        return without_weights(self.loss, self.targets, intercept=self.design.intercept)

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

        The unit in which weights are small or large, whatever the scale of the features. Found in a
        pass, which is counted, unless a certificate has found it; 1 where there is no gradient.
        """
        if "_at_zero" not in self.__dict__:
            self.counts.charge(forward=self.design.share, adjoint=self.design.share)
        slope = self._at_zero[1][0]
        return abs(self.loss_at_zero) / slope if slope > 0 and self.loss_at_zero else 1.0

    @cached_property
    def _at_zero(self) -> tuple[float, tuple[float, float], float]:
        """Loss at zero, norms of its gradient in weights and intercept, unit of the latter."""
        targets = self.targets.to(torch.float64)
        scores = self.design.scores(self.zeros(torch.float64))
        value, residuals = self.loss.value_and_grad(scores, targets.labels, targets.weights)
        grad, bias = self.design.split(self.design.adjoint(residuals))
        norms = norm(grad), 0.0 if bias is None else norm(bias)
        return float(value), norms, norm(targets.per_task(residuals.abs()))

    def certificate(self, W: Tensor) -> Certificate:
        """Measure a point in float64: objective, duality gap where there is one, KKT residual.

        A point of lower precision is measured where its rounding left it, or within some units of
        that where it hides bounds or a rank (:meth:`Regularizer.snap`).
        """
        if self.design.unit != 1:
            return self._in_plain_units().certificate(self.outside(W))
        point = self.settled(W)
        targets = self.targets.to(torch.float64)
        scores = self.design.scores(point)
        _, residuals = self.loss.value_and_grad(scores, targets.labels, targets.weights)
        grad = self.design.adjoint(residuals)
        certificate = self.certificate_from(
            point, scores, residuals, grad, self.gradient_scale, loss_at_zero=self.loss_at_zero
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
        scores: Tensor,
        residuals: Tensor,
        grad: Tensor,
        scale: float,
        *,
        loss_at_zero: float | None = None,
        scales: dict[str, float] | None = None,
        dual: tuple[Tensor, Tensor] | None = None,
    ) -> Certificate:
        """Certificate from what is known already at a float64 point.

        ``residuals`` are the loss gradient in the scores, ``grad`` that in the parameter; ``dual``
        the :meth:`balanced` residuals and their adjoint, where somebody has computed them.
        """
        targets = self.targets.to(torch.float64)
        value = float(self.loss.value(scores, targets.labels, targets.weights))
        smooth, smooth_grad = self.smooth_terms_value_and_grad(point)
        objective = value + float(self.regularizer_value(point) + smooth)
        penalised, _ = self.design.split(point)
        weights_grad, bias_grad = self.design.split(
            grad if smooth_grad is None else grad + smooth_grad
        )
        tilted = weights_grad + 2 * self.ridge * penalised
        R = self.regularizer
        residual = tilted if R is None else R.kkt_residual(penalised, tilted)
        blocks = {"W": norm(residual)}
        if bias_grad is not None:
            blocks["intercept"] = norm(bias_grad)
        gap = None
        if self.has_gap:
            gap = duality_gap(self, point, scores, dual or self._dual(residuals, grad), objective)
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
        if self.design.intercept and not self._balances:
            return False
        R = self.regularizer
        return self.ridge > 0 or (
            R is not None and (R.has_conjugate or (R.is_norm and self._definite))
        )

    @cached_property
    def _balances(self) -> bool:
        return self.loss.balance(torch.zeros_like(self.targets.labels), self.targets) is not None

    def balanced(self, residuals: Tensor) -> Tensor:
        """Residuals as dual variables: each task's sum to zero if there is an intercept."""
        if not self.design.intercept:
            return residuals
        balanced = self.loss.balance(residuals, self.targets.to(residuals.dtype))
        if balanced is None:
            raise UnsupportedError(
                f"{type(self.loss).__name__} makes no dual point that an unpenalised intercept "
                "allows; leave the intercept out, or stop by the KKT residual."
            )
        return balanced

    def _dual(self, residuals: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        if not (self.has_gap and self.design.intercept):
            return residuals, grad
        residuals = self.balanced(residuals)
        return residuals, self.design.adjoint(residuals)
