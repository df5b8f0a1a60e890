"""A problem: a loss on the scores of a design, plus regularizers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.counts import OracleCounts
from proxmtl.designs import Design
from proxmtl.duality import duality_gap
from proxmtl.losses import Loss, best_intercept
from proxmtl.regularizers import (
    Regularizer,
    Smoothed,
    SquaredFrobenius,
    UnsupportedError,
    add,
)
from proxmtl.regularizers.frobenius import ridged_prox
from proxmtl.result import Certificate
from proxmtl.targets import Targets

__all__ = ["OracleCounts", "Problem"]


class Problem:
    """``min_W  loss(scores(W), labels) + sum_j R_j(W)``, the intercept row left out of every R.

    Any number of :class:`SquaredFrobenius` terms are composed exactly with the prox of the rest.
    Several other terms are merged where their sum has a prox in closed form; else it is computed
    iteratively (:class:`proxmtl.regularizers.Sum`), or the solver splits (:class:`DavisYin`,
    :class:`PDHG`). Smoothed terms are added by :meth:`smoothed`.

    Parameters
    ----------
    loss : Loss
    design : Design
    targets : Targets
        As made by :meth:`Targets.from_labels`.
    regularizers : Regularizer or sequence of Regularizer
        Empty: no penalty (then there is no duality gap).

    Raises
    ------
    ValueError
        If the targets do not fit the design.
    UnsupportedError
        If the sum of the regularizers has no prox; the message names what would work.

    Attributes
    ----------
    terms : tuple of Regularizer
        The regularizers other than squared norms, as given.
    regularizer : Regularizer or None
        Their sum as one regularizer with one prox.
    ridge : float
        Strength of all squared Frobenius norms together.
    """

    def __init__(
        self,
        loss: Loss,
        design: Design,
        targets: Targets,
        regularizers: Regularizer | Sequence[Regularizer] = (),
    ) -> None:
        _expect("loss", loss, Loss, "SquaredHinge()")
        _expect("design", design, Design, "SharedDesign(X)")
        _expect("targets", targets, Targets, "Targets.from_labels(Y)")
        design.check_device(targets)
        design.check_targets(targets)
        loss.check_labels(targets.labels, targets.weights)
        self.loss = loss
        self.design = design
        self.targets = targets.to(design.dtype)
        self.smooth_terms: tuple[Smoothed, ...] = ()
        self.counts = OracleCounts()
        self._found: dict[str, float] = {}  # of the design, once for all views of the problem
        self._penalise(regularizers)

    def _penalise(self, regularizers: Regularizer | Sequence[Regularizer]) -> None:
        terms = list(regularizers) if isinstance(regularizers, Sequence) else [regularizers]
        for term in terms:
            _expect("regularizers", term, Regularizer, "L1(0.1)")
        self.regularizers: tuple[Regularizer, ...] = tuple(terms)
        self.ridge = sum(r.strength for r in terms if isinstance(r, SquaredFrobenius))
        self.terms = tuple(r for r in terms if not isinstance(r, SquaredFrobenius))
        weights = self.design.split(self.zeros())[0]
        for term in self.terms:
            term.value(weights)  # raises if shapes don't fit
        summed = self.terms
        if len(summed) > 1:
            summed = tuple(term.for_parameter(weights) for term in summed)
        self.regularizer: Regularizer | None = add(summed)
        R = self.regularizer
        self._definite = R is not None and R.definite_on(weights)

    # ------------------------------------------------------------------ points

    def zeros(self, dtype: torch.dtype | None = None) -> Tensor:
        """The zero parameter."""
        shape = self.design.parameter_shape(self.targets)
        return torch.zeros(shape, dtype=dtype or self.design.dtype, device=self.design.device)

    def check_point(self, W: Tensor) -> None:
        """Raise ``ValueError`` unless ``W`` is a finite parameter of the right shape and device."""
        shape = self.design.parameter_shape(self.targets)
        if tuple(W.shape) != shape:
            raise ValueError(f"x0: shape {tuple(W.shape)}; this problem's parameter has {shape}.")
        if W.device != self.design.device:
            raise ValueError(f"x0: on {W.device}, the features are on {self.design.device}.")
        if not bool(torch.isfinite(W).all()):
            raise ValueError("x0: holds NaN or infinite values.")

    # ------------------------------------------------------------------ oracles

    def scores(self, W: Tensor) -> Tensor:
        """One product with the features."""
        self.counts.forward += self.design.share
        return self.design.scores(W)

    def scores_along(self, V: Tensor) -> Tensor:
        """Linear part of the scores: one product with the features."""
        self.counts.forward += self.design.share
        return self.design.linear(V)

    def adjoint(self, residuals: Tensor) -> Tensor:
        """One product with the features' transpose."""
        self.counts.adjoint += self.design.share
        return self.design.adjoint(residuals)

    def smooth_value_and_grad(self, W: Tensor) -> tuple[Tensor, Tensor]:
        """Loss plus smoothed terms, value and gradient: one pass over the data."""
        self.counts.forward += self.design.share
        self.counts.adjoint += self.design.share
        value, grad = self.design.loss_and_grad(self.loss, self.targets, W)
        extra, extra_grad = self.smooth_terms_value_and_grad(W)
        return value + extra, grad + extra_grad if extra_grad is not None else grad

    def smooth_terms_value_and_grad(self, W: Tensor) -> tuple[Tensor, Tensor | None]:
        """Smoothed regularizers alone (no product with the features)."""
        value = W.new_zeros(())
        if not self.smooth_terms:
            return value, None
        penalised, bias = self.design.split(W)
        grad = torch.zeros_like(penalised)
        for term in self.smooth_terms:
            part, part_grad = term.value_and_grad(penalised)
            value, grad = value + part, grad + part_grad
        return value, self.design.join(grad, None if bias is None else torch.zeros_like(bias))

    def prox(
        self, W: Tensor, step: float | Tensor, *, near: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Prox of the sum of the regularizers, and their value there; the intercept is kept.

        A point ``near`` the result, such as the last iterate, saves an iterative prox time.
        """
        penalised, bias = self.design.split(W)
        hint = None if near is None else self.design.split(near)[0]
        out, value = ridged_prox(self.regularizer, self.ridge, penalised, step, hint)
        return self.design.join(out, bias), value

    def regularizer_value(self, W: Tensor) -> Tensor:
        """Sum of the (unsmoothed) regularizers, 0-d."""
        penalised, _ = self.design.split(W)
        value = self.ridge * penalised.square().sum()
        return value if self.regularizer is None else value + self.regularizer.value(penalised)

    def objective(self, W: Tensor) -> Tensor:
        """The unsmoothed objective, 0-d, in the precision of ``W``."""
        targets = self.targets.to(W.dtype)
        loss = self.loss.value(self.scores(W), targets.labels, targets.weights)
        return loss + self.regularizer_value(W) + self.smooth_terms_value_and_grad(W)[0]

    def curvature_product(self, scores: Tensor, V: Tensor) -> Tensor:
        """Hessian of loss + ridge, at a point with these scores, times ``V``: one pass.

        The other regularizers have :meth:`Regularizer.curvature_product` for their part.
        """
        targets = self.targets.to(V.dtype)
        along = self.scores_along(V)
        bent = self.loss.curvature_product(scores, targets.labels, targets.weights, along)
        penalised, bias = self.design.split(V)
        ridge = 2 * self.ridge * penalised
        return self.adjoint(bent) + self.design.join(
            ridge, None if bias is None else torch.zeros_like(bias)
        )

    @property
    def lipschitz(self) -> float:
        """Upper estimate of the Lipschitz constant of the smooth part's gradient."""
        data = self.loss.curvature_bound * self._design_lipschitz
        return data + sum(term.lipschitz for term in self.smooth_terms)

    def prepare(self) -> None:
        """Find the design's curvature now: it is kept, and its passes are counted once."""
        _ = self._design_lipschitz

    @property
    def _design_lipschitz(self) -> float:
        if "lipschitz" not in self._found:
            with self.counts.curvature_of(self.design):
                self._found["lipschitz"] = self.design.lipschitz(self.targets)
        return self._found["lipschitz"]

    def smoothed(self, smoothness: float) -> Problem:
        """Return the problem with its smoothable terms in Nesterov's smooth approximation.

        The others keep their prox. Shares the design, the targets, the counts and what was
        computed of them.
        """
        if not any(term.is_smoothable for term in self.terms):
            names = ", ".join(type(term).__name__ for term in self.terms) or "no regularizer"
            raise UnsupportedError(
                f"smoothed: the problem has {names}, of which none has a Nesterov smoothing. Use "
                "FISTA, which takes the prox."
            )
        other = self.with_regularizers([r for r in self.regularizers if not r.is_smoothable])
        other.smooth_terms = self.smoothings(smoothness)
        return other

    def with_regularizers(self, regularizers: Regularizer | Sequence[Regularizer]) -> Problem:
        """Return the problem with other penalties.

        Shares the design, the targets, the counts and what is computed of them.
        """
        other = copy(self)  # loss, design and targets were checked when this problem was made
        other.smooth_terms = ()
        other._penalise(regularizers)  # noqa: SLF001 - of the same class
        return other

    def smoothings(self, smoothness: float) -> tuple[Smoothed, ...]:
        """Nesterov's smooth approximation of each term that has one."""
        return tuple(term.smoothed(smoothness) for term in self.terms if term.is_smoothable)

    # ------------------------------------------------------------------ certificates

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
        best = best_intercept(self.loss, self.targets.to(torch.float64))
        return self.design.join(self.design.split(zero)[0], best)

    @property
    def loss_at_zero(self) -> float:
        """Loss of the zero parameter, float64: what there is to explain."""
        return self._at_zero[0]

    @property
    def gradient_scale(self) -> float:
        """Norm of the loss gradient at zero, float64: the unit of relative KKT residuals."""
        return self._at_zero[1]

    @cached_property
    def _at_zero(self) -> tuple[float, float]:
        """Loss and norm of its gradient at zero."""
        targets = self.targets.to(torch.float64)
        value, grad = self.design.loss_and_grad(self.loss, targets, self.zeros(torch.float64))
        return float(value), float(grad.norm())

    def certificate(self, W: Tensor) -> Certificate:
        """Measure a point in float64: objective, duality gap where there is one, KKT residual.

        A point of lower precision is measured where its rounding left it, or within some units of
        that where it hides bounds or a rank (:meth:`Regularizer.settle`).
        """
        point = self.settled(W)
        targets = self.targets.to(torch.float64)
        scores = self.design.scores(point)
        _, residuals = self.loss.value_and_grad(scores, targets.labels, targets.weights)
        grad = self.design.adjoint(residuals)
        certificate = self.certificate_from(
            point, scores, residuals, grad, self.gradient_scale, loss_at_zero=self.loss_at_zero
        )
        return replace(certificate, solved_in=str(W.dtype).removeprefix("torch."))

    def settled(self, W: Tensor) -> Tensor:
        """Float64 point at which ``W`` is certified."""
        point = W.to(torch.float64)
        if self.regularizer is None:
            return point
        penalised, bias = self.design.split(point)
        rounding = torch.finfo(W.dtype).eps
        return self.design.join(self.regularizer.settle(penalised, rounding), bias)

    def certificate_from(
        self,
        point: Tensor,
        scores: Tensor,
        residuals: Tensor,
        grad: Tensor,
        scale: float,
        *,
        loss_at_zero: float | None = None,
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
        blocks = {"W": float(residual.norm())}
        if bias_grad is not None:
            blocks["intercept"] = float(bias_grad.norm())
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


def _expect(name: str, given: object, kind: type, example: str) -> None:
    if not isinstance(given, kind):
        seen = (
            f"the class {given.__name__}"
            if isinstance(given, type)
            else f"a {type(given).__name__}"
        )
        raise ValueError(f"{name}: got {seen}; give an object such as {example}.")
