"""The optimisation problem: a loss of the scores that a design computes, plus regularizers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from proxmtl.arrays import Array
from proxmtl.certified import Certified
from proxmtl.counts import OracleCounts
from proxmtl.data_term import DataTerm
from proxmtl.designs import Design
from proxmtl.label_arrays import SparseLabels, is_sparse
from proxmtl.losses import Loss, loss_of
from proxmtl.posing import design_of, observed_design, targets_of
from proxmtl.regularizers import (
    Regularizer,
    Smoothed,
    SquaredFrobenius,
    UnsupportedError,
    add,
)
from proxmtl.regularizers.frobenius import ridged_prox
from proxmtl.shown import Shown
from proxmtl.targets import ClassWeight, Targets

__all__ = ["OracleCounts", "Problem"]


class Problem(Certified, Shown):
    """``min_W  loss(scores(W), labels) + sum_j R_j(W)``; no ``R_j`` penalises the intercept row.

    All :class:`SquaredFrobenius` terms together form one ridge, which is composed exactly with the
    prox of the other terms. Several other terms are merged where their sum has a prox in closed
    form; otherwise that prox is computed iteratively (:class:`proxmtl.regularizers.Sum`), or the
    solver splits the sum (:class:`DavisYin`, :class:`PDHG`). :meth:`smoothed` moves terms into the
    smooth part.

    Parameters
    ----------
    loss : Loss
    design : Design
    targets : Targets
        As made by :meth:`Targets.from_labels`.
    regularizers : Regularizer or sequence of Regularizer
        An empty sequence means no penalty; the problem then has no duality gap.
    counts : OracleCounts, optional
        Counter to which products with the features are charged. Default: a new one.

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
        The given regularizers other than :class:`SquaredFrobenius`.
    regularizer : Regularizer or None
        The sum of ``terms`` as one regularizer with one prox; None if ``terms`` is empty.
    ridge : float
        Sum of the strengths of all :class:`SquaredFrobenius` terms.
    """

    _SHOWN = ("loss", "terms", "ridge", "design", "targets")

    def __init__(
        self,
        loss: Loss,
        design: Design,
        targets: Targets,
        regularizers: Regularizer | Sequence[Regularizer] = (),
        *,
        counts: OracleCounts | None = None,
    ) -> None:
        loss = loss_of(loss)
        _expect("design", design, Design, "SharedDesign(X)")
        _expect("targets", targets, Targets, "Targets.from_labels(Y)")
        design.check_device(targets)
        design.check_targets(targets)
        self.data = DataTerm.checked(loss, targets, design.dtype)
        self.design = design
        self.smooth_terms: tuple[Smoothed, ...] = ()
        self.counts = OracleCounts() if counts is None else counts
        self._found: dict[float, float] = {}  # cached Lipschitz constants, by the design's unit
        self._plain: Problem | None = None  # cached: this problem with its intercept in unit 1
        self._penalise(regularizers)

    @classmethod
    def of(
        cls,
        X: Any,
        Y: Any,
        regularizers: Regularizer | Sequence[Regularizer] = (),
        *,
        loss: Loss | str | None = None,
        fit_intercept: bool = True,
        sample_weight: Array | None = None,
        class_weight: ClassWeight = None,
        reduction: Literal["sum", "mean", "task_mean"] = "mean",
    ) -> Problem:
        """Pose a problem on arrays.

        Parameters
        ----------
        X : array (N, D), or list of M arrays (N_m, D)
            Features: one matrix, dense or sparse, that all tasks share, or a matrix for each task.
        Y : array or SciPy sparse matrix (N, M), or list of M arrays (N_m,)
            Labels: 0 and 1, -1 and +1, or booleans; real numbers for a regression loss; class
            numbers, shape (N,), for a multi-class loss. NaN marks a missing label. Of a sparse
            matrix, the entries that it stores are labels (also a stored 0), and all others are
            missing; time and memory then grow with their number (:class:`ObservedDesign`).
        regularizers : Regularizer or sequence of Regularizer
        loss : Loss or str, optional
            Default :class:`SquaredHinge`; a name as estimators take it, such as ``"logistic"``.
        fit_intercept : bool
            Whether each task has an intercept, which is not penalised.
        sample_weight, class_weight, reduction
            As for :meth:`Targets.from_labels`.

        Raises
        ------
        ValueError
            If the shapes of features and labels disagree, the loss does not accept the coding of
            the labels, or a sparse matrix of labels stores only 1, or goes with sparse features.

        Examples
        --------
        >>> problem = Problem.of(X, Y, [L1(0.01), SquaredFrobenius(0.1)])
        >>> result = minimize(problem, tol=1e-6)
        >>> result.coef, result.intercept
        """
        loss = loss_of("squared_hinge" if loss is None else loss)
        design = design_of(X, intercept=fit_intercept)
        if is_sparse(Y):
            with design.ranks.together():
                Y = SparseLabels.of(Y)
            design = observed_design(design, Y)
        targets = targets_of(
            Y,
            design,
            loss,
            sample_weight=sample_weight,
            class_weight=class_weight,
            reduction=reduction,
        )
        return cls(loss, design, targets, regularizers)

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
        """Return the zero parameter, in the dtype of the design unless another is given."""
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
        """Return the problem with its intercept rescaled to the scale of the features.

        :func:`proxmtl.minimize` passes this problem to the solver. It differs from the original
        only in the unit of the intercept (:meth:`Design.in_units`): :meth:`inside` converts a point
        to it, :meth:`outside` converts a point back. Its certificates are those of the original.
        Shares the targets, penalties, counts and cached constants.
        """
        design = self.design.in_units()
        if design is self.design:
            return self
        other = self.on(design)
        # shared caches: Lipschitz constants are keyed by unit, values at zero hold in every unit
        other._found, other._plain = self._found, self  # noqa: SLF001 - of the same class
        if "_at_zero" in self.__dict__:
            other.__dict__["_at_zero"] = self._at_zero
        return other

    def on(self, design: Design) -> Problem:
        """Return the problem on another design of the same samples.

        Shares the data term, the penalties and the counts, but no cached value that depends on the
        features.
        """
        other = copy(self)
        for name in ("_at_zero", "_restricted_design", "_span", "reads_once"):
            other.__dict__.pop(name, None)
        other.design, other._found, other._plain = design, {}, None  # noqa: SLF001
        return other

    def inside(self, W: Tensor) -> Tensor:
        """Convert a point of the original problem to one of this rescaled problem."""
        return self._with_intercept(W, 1 / self.design.unit)

    def outside(self, W: Tensor) -> Tensor:
        """Convert a point of this rescaled problem to one of the original problem."""
        return self._with_intercept(W, self.design.unit)

    def _with_intercept(self, W: Tensor, factor: float) -> Tensor:
        if factor == 1:
            return W
        weights, bias = self.design.split(W)
        return self.design.join(weights, None if bias is None else factor * bias)

    # ------------------------------------------------------------------ oracles

    def scores(self, W: Tensor) -> Tensor:
        """Scores of ``W``; costs one product with the features (half a pass)."""
        self.counts.charge(forward=self.design.share)
        return self.design.scores(W)

    def scores_along(self, V: Tensor) -> Tensor:
        """Linear part of the scores, ``X V``; costs one product with the features (half a pass)."""
        self.counts.charge(forward=self.design.share)
        return self.design.linear(V)

    def adjoint(self, residuals: Tensor) -> Tensor:
        """Gradient in the parameter, ``X' residuals``; costs one product (half a pass)."""
        self.counts.charge(adjoint=self.design.share)
        return self.design.adjoint(residuals)

    def loss_and_grad_at(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (0-d), and its gradient in the parameter, from scores: one product (half a pass)."""
        self.counts.charge(adjoint=self.design.share)
        return self.design.loss_and_grad_at(self.data, scores)

    def loss_gradient(self, W: Tensor) -> Tensor:
        """Gradient of the loss in the parameter; costs one pass."""
        self.counts.charge(forward=self.design.share, adjoint=self.design.share)
        return self.design.loss_and_grad(self.data, W)[1]

    def smooth_value_and_grad(self, W: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient of the smooth part (loss plus smoothed terms); costs one pass."""
        self.counts.charge(forward=self.design.share, adjoint=self.design.share)
        value, grad = self.design.loss_and_grad(self.data, W)
        extra, extra_grad = self.smooth_terms_value_and_grad(W)
        return value + extra, grad + extra_grad if extra_grad is not None else grad

    def evaluate(self, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores at ``W``, and value and gradient of the smooth part there; costs one pass."""
        self.counts.charge(forward=self.design.share, adjoint=self.design.share)
        scores, value, grad = self.design.evaluate(self.data, W)
        extra, extra_grad = self.smooth_terms_value_and_grad(W)
        return scores, value + extra, grad + extra_grad if extra_grad is not None else grad

    @cached_property
    def reads_once(self) -> bool:
        """Whether :meth:`evaluate` reads the features once for its two products."""
        columns = self.design.parameter_shape(self.targets)[1]
        return self.design.reads_once(self.data, columns, self.design.dtype)

    def smooth_terms_value_and_grad(self, W: Tensor) -> tuple[Tensor, Tensor | None]:
        """Value and gradient of the smoothed regularizers, which is None if there are none."""
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
        """Prox of the sum of the regularizers, and their value there; leaves the intercept as is.

        ``warm_start`` is a point near the result, such as the last iterate, from which an iterative
        prox starts.
        """
        penalised, bias = self.design.split(W)
        hint = None if warm_start is None else self.design.split(warm_start)[0]
        out, value = ridged_prox(self.regularizer, self.ridge, penalised, step, hint)
        return self.design.join(out, bias), value

    def regularizer_value(self, W: Tensor) -> Tensor:
        """Sum of the regularizers that are not smoothed, 0-d."""
        penalised, _ = self.design.split(W)
        value = (math.sqrt(self.ridge) * penalised).square().sum()
        return value if self.regularizer is None else value + self.regularizer.value(penalised)

    def objective(self, W: Tensor) -> Tensor:
        """Loss plus all regularizers at ``W``, 0-d, in the dtype of ``W``; costs half a pass."""
        return (
            self.data.value(self.scores(W))
            + self.regularizer_value(W)
            + self.smooth_terms_value_and_grad(W)[0]
        )

    def curvature_product(self, scores: Tensor, V: Tensor) -> Tensor:
        """Product of ``V`` with the Hessian of loss + ridge at a point with these scores: one pass.

        :meth:`Regularizer.curvature_product` is the contribution of the other regularizers.
        """
        self.counts.charge(forward=self.design.share, adjoint=self.design.share)

        def bent(rows: slice, along: Tensor) -> tuple[Tensor]:
            return (self.data.take(rows).curvature_product(scores[rows], along),)

        if self.design.sweeps(V.dtype) and not self.design.affine:
            back = self.design.sweep(V, bent)[1][0]
        else:
            back = self.design.adjoint(self.data.curvature_product(scores, self.design.linear(V)))
        penalised, bias = self.design.split(V)
        ridge = 2 * self.ridge * penalised
        return back + self.design.join(ridge, None if bias is None else torch.zeros_like(bias))

    @property
    def lipschitz(self) -> float:
        """Upper estimate of the Lipschitz constant of the smooth part's gradient."""
        data = self.loss.curvature_bound * self._design_lipschitz
        return data + sum(term.lipschitz for term in self.smooth_terms)

    def prepare(self) -> None:
        """Compute and cache the Lipschitz constant of the design; its passes are counted once."""
        _ = self._design_lipschitz

    @property
    def _design_lipschitz(self) -> float:
        unit = self.design.unit
        if unit not in self._found:
            with self.counts.curvature_of(self.design):
                self._found[unit] = self.design.lipschitz(self.targets)
        return self._found[unit]

    def smoothed(self, smoothness: float) -> Problem:
        """Return the problem with each smoothable term replaced by its Nesterov smoothing.

        The other terms keep their prox. Shares the design, the targets, the counts and the cached
        values. Raises :class:`UnsupportedError` if no term is smoothable.
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

        Shares the design, the targets, the counts and the cached values.
        """
        other = copy(self)  # loss, design and targets were checked when this problem was made
        other.smooth_terms = ()
        other._plain = None  # noqa: SLF001 - of the same class
        other._penalise(regularizers)  # noqa: SLF001 - of the same class
        return other

    def smoothings(self, smoothness: float) -> tuple[Smoothed, ...]:
        """Nesterov smoothing of each smoothable term."""
        return tuple(term.smoothed(smoothness) for term in self.terms if term.is_smoothable)


def _expect(name: str, given: object, kind: type, example: str) -> None:
    if not isinstance(given, kind):
        seen = (
            f"the class {given.__name__}"
            if isinstance(given, type)
            else f"a {type(given).__name__}"
        )
        raise ValueError(f"{name}: got {seen}; give an object such as {example}.")
