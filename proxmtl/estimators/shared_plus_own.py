"""Attributes that share a subspace, each with a part of its own: one convex problem."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from proxmtl.estimators.classifier import LinearAttributeClassifier
from proxmtl.estimators.clusters import groups_for
from proxmtl.estimators.convex import ConvexModel
from proxmtl.estimators.regressor import LinearAttributeRegressor
from proxmtl.estimators.scores import SharedScores, shared_part
from proxmtl.groups import Groups
from proxmtl.latent.strengths import Relative, check_relative, shared_strengths
from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer, SharedPlusOwn, SquaredFrobenius
from proxmtl.targets import Reduction

__all__ = [
    "SharedPlusOwnClassifier",
    "SharedPlusOwnRegressor",
    "shared_plus_own",
]


def shared_plus_own(shared: float, own: float, groups: Groups) -> SquaredFrobenius | SharedPlusOwn:
    """Return the penalty at absolute strengths; ``shared=inf`` leaves the shared part out."""
    if math.isinf(shared):
        return SquaredFrobenius(own)
    return SharedPlusOwn(shared, own / shared, groups)


class SharedPlusOwnModel(SharedScores, ConvexModel):
    """Trace norm of a shared part, ridge on own parts, their strengths given."""

    shared_strength: Relative = "auto"
    own_strength: Relative = "auto"
    groups: Any = None
    reduction: Reduction = "mean"
    max_passes: int = 1000
    tol: float = 1e-4

    shared_strength_: float = field(init=False)
    own_strength_: float = field(init=False)
    n_shared_: int = field(init=False)
    groups_: Groups = field(init=False)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        given = self._given
        check_relative(given.shared_strength, given.own_strength)
        if given.own_strength == math.inf:
            raise ValueError("own_strength: got inf; give a finite number, or 'auto'.")

    def _resolve(self, problem: Problem, sample_weight: NDArray[np.float64] | None) -> None:
        self.groups_ = groups_for(
            self.groups, problem, sample_weight, self.label_names_, together=True
        )

    def _penalty(self, problem: Problem, sample_weight: NDArray[np.float64] | None) -> Regularizer:
        given = self._given
        strengths, _ = shared_strengths(
            problem, self.groups_, sample_weight, given.shared_strength, given.own_strength
        )
        self.shared_strength_, self.own_strength_ = strengths
        return shared_plus_own(self.shared_strength_, self.own_strength_, self.groups_)

    def _solve(self, *args: Any, **options: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        coef, intercept = super()._solve(*args, **options)
        R = shared_plus_own(self.shared_strength_, self.own_strength_, self.groups_)
        shared = shared_part(R, torch.from_numpy(coef))
        self.n_shared_ = shared.rank
        self._keep_shared(shared)
        return coef, intercept


class SharedPlusOwnClassifier(LinearAttributeClassifier, SharedPlusOwnModel):
    r"""Coefficients ``W = A + V``: a shared part of low rank, and a part of each attribute's own.

    .. math:: \min_{A, V, b} \; \frac{1}{N} \sum_{m,i} c_{mi}\,
              \log(1 + e^{-y_{mi} (x_i^\top (a_m + v_m) + b_m)})
              + \alpha \|A\|_* + \lambda \|V\|_F^2

    The trace norm makes the attributes draw on few directions of the features, which they learn
    together; the ridge gives each attribute what it needs beyond them. The problem is convex and
    contains both of its neighbours: with a large ``shared_strength`` nothing is shared, and each
    attribute has a ridge-penalised classifier; with a large ``own_strength`` there are no own
    parts, and the trace norm is left. Sharing pays where labels are few;
    :class:`SharedPlusOwnClassifierCV` finds out whether it does.

    Parameters
    ----------
    shared_strength : float or "auto"
        Weight of the trace norm, ``> 0``, as a fraction of the one from which on nothing is shared
        if attributes have no parts of their own. ``inf`` leaves the shared part out. ``"auto"``:
        from the share of noise in that one (:func:`~proxmtl.latent.strengths.shared_strengths`).
    own_strength : float or "auto"
        Weight of the ridge, ``> 0``, in units of the mean squared norm of the (standardised)
        features over the number of labels: as the logarithm of a Gaussian prior, 1 lets the scores
        have variance 1/2. ``"auto"``: from the error of single-task ridges on labels that are left
        out.
    groups : Groups, dict, list of lists, "auto" or None
        Disjoint groups of attributes, each with a shared part of its own (an attribute in no group
        is a group of one); ``"auto"``: clusters of attributes with like labels and like classifiers
        (:func:`~proxmtl.estimators.cluster_attributes`). None: all attributes share one.
    loss : {"logistic", "squared_hinge", "squared", "smoothed_hinge", "huber"}
        Loss of a label; ``"squared"`` and ``"huber"`` regress on the signs.
    fit_intercept, standardize, class_weight, label_names
        As for :class:`LassoClassifier`.
    reduction : {"mean", "task_mean", "sum"}
        Divide the loss by the number of labels of all attributes, each attribute's by its own, or
        not at all.
    max_passes : int
        Budget in passes over the features; strengths take some more, at most five.
    tol : float
        Relative duality gap at which the solver stops.

    Attributes
    ----------
    shared_coef_ : ndarray of shape (M, D)
        The shared part of them, :math:`A^\top`; the attributes' own part is the difference.
    n_shared_ : int
        Rank of the shared part, 0 where nothing is shared (with groups: the sum of the ranks).
    shared_strength_, own_strength_ : float
        :math:`\alpha` and :math:`\lambda`, in units of the loss on standardised features.
    result_ : Result
        Status, certificate (a duality gap) and history of the solver.
    coef_, intercept_, label_values_, classes_, mean_, scale_, n_features_in_
        As for :class:`LassoClassifier`.

    Warns
    -----
    ConvergenceWarning
        If the budget was used up before the gap reached ``tol``.

    References
    ----------
    Argyriou, Evgeniou, Pontil, "Convex multi-task feature learning", 2008; Jalali, Ravikumar,
    Sanghavi, Ruan, "A dirty model for multi-task learning", 2010.
    """


class SharedPlusOwnRegressor(LinearAttributeRegressor, SharedPlusOwnModel):
    r"""Regressions ``W = A + V``: a shared part of low rank, and a part of each attribute's own.

    .. math:: \min_{A, V, b} \; \frac{1}{N} \sum_{m,i} c_{mi}\, \tfrac12
              (y_{mi} - x_i^\top (a_m + v_m) - b_m)^2 + \alpha \|A\|_* + \lambda \|V\|_F^2

    on labels that are centred and divided by their standard deviation, attribute by attribute. Else
    it is :class:`SharedPlusOwnClassifier` with real labels, whose parameters and attributes it has
    but for those of classes, and:

    Parameters
    ----------
    loss : {"squared", "huber"}
        Loss of a label; Huber's is linear beyond one unit of the labels, and has medians for units.

    Attributes
    ----------
    target_mean_, target_scale_
        Centre and unit of the labels, as for :class:`SingleTaskRegressor`.
    """
