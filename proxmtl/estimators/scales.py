"""Scales of the features among which a search chooses, and problems on features so scaled."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from proxmtl.estimators.convex import minimised
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.paths import followed
from proxmtl.estimators.samples import Posed, Samples
from proxmtl.latent.strengths import own_unit
from proxmtl.losses import Loss
from proxmtl.problem import Problem
from proxmtl.regularizers import SquaredFrobenius
from proxmtl.targets import Reduction

__all__ = ["AS_GIVEN", "PARETO", "UNIT", "Rescaled", "Scale", "Training"]

Array = NDArray[Any]


class Scale(NamedTuple):
    r"""Factors of features of unit variance, up to a common one.

    Without relevance, feature d has the factor :math:`\sigma_d^p`, where :math:`\sigma_d` is its
    standard deviation and p the power. With it, the factor is
    :math:`(\sigma_d^p \|v_d\|_2)^{r / 2}`, where :math:`v_d` are the coefficients of all attributes
    on the feature, in single-task models on features of that power; the product is their size on
    features of unit variance. For r = 1 a ridge on features so scaled is the first of the
    reweighted ridges whose limit is the L21 norm, if p = 0.
    """

    power: float
    """p: 0 is unit variance, 1 the features as given, and 1/2 between ("Pareto scaling")."""
    relevance: int = 0
    """r, 0 to 2."""
    ridge: float = 0.0
    """Strength of the single-task models, in its unit; 0 without relevance."""

    def __str__(self) -> str:
        named = {0.0: "unit variance", 0.5: "Pareto", 1.0: "as given"}[self.power]
        return named + ("", ", relevance", ", relevance squared")[self.relevance]

    @property
    def base(self) -> Scale:
        """The same power without relevance."""
        return Scale(self.power)


TINY = 1e-30
"""Features whose standard deviation is so small would vanish beside one of 1."""

UNIT, PARETO, AS_GIVEN = Scale(0.0), Scale(0.5), Scale(1.0)


class Rescaled(NamedTuple):
    """A problem on features that have been multiplied by factors."""

    problem: Problem
    factors: NDArray[np.float64] | None
    """Shape (D,); None: all are 1."""

    def point(self, x: torch.Tensor) -> torch.Tensor:
        """Parameter on the features before, from one of the problem."""
        if self.factors is None:
            return x
        coef, bias = self.problem.design.split(x)
        factors = torch.from_numpy(self.factors).to(coef)[:, None]
        return self.problem.design.join(coef * factors, bias)


@dataclass(frozen=True)
class Training:
    """Rows and labels to learn from, as problems without a penalty on features of several scales.

    Attributes
    ----------
    X : Samples
        Features, standardised or as given.
    labels : EncodedLabels
        Labels of the M' attributes of the problems.
    columns : ndarray of int, shape (M',), or None
        Indices of these attributes among all; None: they are all.
    spread : ndarray, shape (D,), or None
        Standard deviations of the features as given; None if `X` are these.
    loss, fit_intercept, reduction
        Of the problems.
    known : dict
        Sizes of coefficients that were found before, by scales of the first power of the relevance;
        None where nothing was learnt.
    """

    X: Samples
    labels: EncodedLabels
    columns: NDArray[np.intp] | None
    spread: NDArray[np.float64] | None
    loss: Loss
    fit_intercept: bool
    reduction: Reduction
    known: dict[Scale, NDArray[np.float64] | None] = field(default_factory=dict)

    @cached_property
    def posed(self) -> Posed:
        """Design and targets of the features of `X`."""
        return self._posed(self.X)

    @cached_property
    def problem(self) -> Problem:
        """Problem on the features of `X`; its counts are those of the other scales, too."""
        return Problem(self.loss, self.posed.design, self.posed.targets)

    @property
    def sample_weight(self) -> NDArray[np.float64] | None:
        """As `Posed.sample_weight`."""
        return self.posed.sample_weight

    def at(self, scale: Scale, **accuracy: Any) -> Rescaled:
        """Problem on features of a scale, as a copy that is not kept.

        ``accuracy`` are ``tol`` and ``max_passes`` of the models whose coefficients are the
        relevance; without them they are solved as the candidates of a search.
        """
        factors = self._factors(scale, accuracy)
        if factors is None:
            return Rescaled(self.problem, None)
        design = self._posed(self.X.multiplied(factors)).design
        counts = self.problem.counts
        return Rescaled(Problem(self.loss, design, self.posed.targets, counts=counts), factors)

    def _posed(self, X: Samples) -> Posed:
        return X.posed(
            self.labels,
            intercept=self.fit_intercept,
            reduction=self.reduction,
            columns=self.columns,
        )

    def _factors(self, scale: Scale, accuracy: dict[str, Any]) -> NDArray[np.float64] | None:
        """Factors of the features of `X`; None: all are 1."""
        if not scale.relevance:
            if self.spread is None or not scale.power:
                return None
            return _largest_one(_varied(self.spread) ** scale.power)
        deviations = 1.0 if self.spread is not None else self.X.moments(self.labels.per_row()).scale
        key, known = scale._replace(relevance=1), {} if accuracy else self.known
        if key not in known:
            known[key] = self._sizes(scale.base, scale.ridge, accuracy, deviations)
        sizes = known[key]
        if sizes is None:
            return self._factors(scale.base, {})
        return sizes ** (scale.relevance / 2) / deviations

    def _sizes(
        self, base: Scale, ridge: float, accuracy: dict[str, Any], deviations: Any
    ) -> NDArray[np.float64] | None:
        """Sizes of the coefficients of single-task models, on features of unit variance."""
        at = self.at(base)
        penalty = SquaredFrobenius(ridge * own_unit(at.problem, self.sample_weight))
        if accuracy:
            point = minimised(at.problem.with_regularizers(penalty), **accuracy).solution
        else:
            (point,) = followed(at.problem, [penalty])
        coef = at.problem.design.split(at.point(point))[0].numpy().astype(np.float64)
        sizes = _largest_one(np.sqrt(np.square(coef).sum(axis=1)) * deviations)
        return sizes if np.isfinite(sizes).all() and sizes.any() else None


def _varied(spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations, where far smaller ones show that those of 1 are of constant features."""
    others = spread[spread != 1]
    if others.size and others.max() < TINY:
        return np.where(spread == 1, others.max(), spread)
    return spread


def _largest_one(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative values over the largest of them."""
    largest = values.max()
    return values / largest if largest > 0 else values
