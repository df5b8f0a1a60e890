"""A problem: a loss on the scores of a design, plus regularizers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.certified import Certified
from proxmtl.counts import OracleCounts
from proxmtl.data_term import DataTerm
from proxmtl.designs import Design
from proxmtl.losses import Loss
from proxmtl.regularizers import (
    Regularizer,
    Smoothed,
    SquaredFrobenius,
    UnsupportedError,
    add,
)
from proxmtl.regularizers.frobenius import ridged_prox
from proxmtl.targets import Targets

__all__ = ["OracleCounts", "Problem"]


class Problem(Certified):
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
    counts : OracleCounts, optional
        To which products with the features are charged; the problem's own by default.

    Raises
    ------
    ValueError
        If the targets do not fit the design.
    UnsupportedError
        If the sum of the regularizers has no prox; the message names what would work.

    Attributes
    ----------
    data : DataTerm
        The loss summed over the labels, as a function of the scores.
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
        *,
        counts: OracleCounts | None = None,
    ) -> None:
        _expect("loss", loss, Loss, "SquaredHinge()")
        _expect("design", design, Design, "SharedDesign(X)")
        _expect("targets", targets, Targets, "Targets.from_labels(Y)")
        design.check_device(targets)
        design.check_targets(targets)
        self.data = DataTerm.checked(loss, targets, design.dtype)
        self.design = design
        self.smooth_terms: tuple[Smoothed, ...] = ()
        self.counts = OracleCounts() if counts is None else counts
        self._found: dict[float, float] = {}  # Lipschitz constants by the design's unit, once
        self._plain: Problem | None = None  # the problem that this is in other units
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
        self._definite = R is not None and R.is_coercive(weights)

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

    def in_units(self) -> Problem:
        """Return the problem in units in which features of any scale are alike.

        :func:`proxmtl.minimize` gives a solver this one. The same problem, but for the unit of its
        intercept (:meth:`Design.in_units`): points go there by :meth:`inside` and come back by
        :meth:`outside`; certificates are those of this problem. Shares targets, penalties, counts
        and what is computed of them.
        """
        design = self.design.in_units()
        if design is self.design:
            return self
        other = self.on(design)
        # what is known of the features is known by unit, or the same in all units
        other._found, other._plain = self._found, self  # noqa: SLF001 - of the same class
        if "_at_zero" in self.__dict__:
            other.__dict__["_at_zero"] = self._at_zero
        return other

    def on(self, design: Design) -> Problem:
        """Return the problem on another design of the same samples.

        Shares the data term, the penalties and the counts, and nothing that was computed of the
        features.
        """
        other = copy(self)
        for name in ("_at_zero", "_restricted_design", "_span", "reads_once"):
            other.__dict__.pop(name, None)
        other.design, other._found, other._plain = design, {}, None  # noqa: SLF001
        return other

    def inside(self, W: Tensor) -> Tensor:
        """Point of this problem in units, of one of the plain problem."""
        return self._with_intercept(W, 1 / self.design.unit)

    def outside(self, W: Tensor) -> Tensor:
        """Point of the plain problem, of one of this problem in units."""
        return self._with_intercept(W, self.design.unit)

    def _with_intercept(self, W: Tensor, factor: float) -> Tensor:
        if factor == 1:
            return W
        weights, bias = self.design.split(W)
        return self.design.join(weights, None if bias is None else factor * bias)

    # ------------------------------------------------------------------ oracles

    def scores(self, W: Tensor) -> Tensor:
        """One product with the features."""
        self.counts.charge(forward=self.design.share)
        return self.design.scores(W)

    def scores_along(self, V: Tensor) -> Tensor:
        """Linear part of the scores: one product with the features."""
        self.counts.charge(forward=self.design.share)
        return self.design.linear(V)

    def adjoint(self, residuals: Tensor) -> Tensor:
        """One product with the features' transpose."""
        self.counts.charge(adjoint=self.design.share)
        return self.design.adjoint(residuals)

    def smooth_value_and_grad(self, W: Tensor) -> tuple[Tensor, Tensor]:
        """Loss plus smoothed terms, value and gradient: one pass over the data."""
        self.counts.charge(forward=self.design.share, adjoint=self.design.share)
        value, grad = self.design.loss_and_grad(self.data, W)
        extra, extra_grad = self.smooth_terms_value_and_grad(W)
        return value + extra, grad + extra_grad if extra_grad is not None else grad

    def evaluate(self, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, and value and gradient of loss plus smoothed terms: one pass over the data."""
        self.counts.charge(forward=self.design.share, adjoint=self.design.share)
        scores, value, grad = self.design.evaluate(self.data, W)
        extra, extra_grad = self.smooth_terms_value_and_grad(W)
        return scores, value + extra, grad + extra_grad if extra_grad is not None else grad

    @cached_property
    def reads_once(self) -> bool:
        """Whether :meth:`evaluate` takes one read of the features, not two."""
        columns = self.design.parameter_shape(self.targets)[1]
        return self.design.reads_once(self.data, columns, self.design.dtype)

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
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Prox of the sum of the regularizers, and their value there; the intercept is kept.

        A ``warm_start`` near the result, such as the last iterate, saves an iterative prox time.
        """
        penalised, bias = self.design.split(W)
        hint = None if warm_start is None else self.design.split(warm_start)[0]
        out, value = ridged_prox(self.regularizer, self.ridge, penalised, step, hint)
        return self.design.join(out, bias), value

    def regularizer_value(self, W: Tensor) -> Tensor:
        """Sum of the (unsmoothed) regularizers, 0-d."""
        penalised, _ = self.design.split(W)
        value = (math.sqrt(self.ridge) * penalised).square().sum()
        return value if self.regularizer is None else value + self.regularizer.value(penalised)

    def objective(self, W: Tensor) -> Tensor:
        """The unsmoothed objective, 0-d, in the precision of ``W``."""
        return (
            self.data.value(self.scores(W))
            + self.regularizer_value(W)
            + self.smooth_terms_value_and_grad(W)[0]
        )

    def curvature_product(self, scores: Tensor, V: Tensor) -> Tensor:
        """Hessian of loss + ridge, at a point with these scores, times ``V``: one pass.

        The other regularizers have :meth:`Regularizer.curvature_product` for their part.
        """
        bent = self.data.curvature_product(scores, self.scores_along(V))
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
        unit = self.design.unit
        if unit not in self._found:
            with self.counts.curvature_of(self.design):
                self._found[unit] = self.design.lipschitz(self.targets)
        return self._found[unit]

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
        other._plain = None  # noqa: SLF001 - of the same class
        other._penalise(regularizers)  # noqa: SLF001 - of the same class
        return other

    def smoothings(self, smoothness: float) -> tuple[Smoothed, ...]:
        """Nesterov's smooth approximation of each term that has one."""
        return tuple(term.smoothed(smoothness) for term in self.terms if term.is_smoothable)


def _expect(name: str, given: object, kind: type, example: str) -> None:
    if not isinstance(given, kind):
        seen = (
            f"the class {given.__name__}"
            if isinstance(given, type)
            else f"a {type(given).__name__}"
        )
        raise ValueError(f"{name}: got {seen}; give an object such as {example}.")
