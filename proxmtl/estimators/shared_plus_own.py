"""Attributes that share a subspace and have own parts, as one convex problem."""

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
    """Return the penalty at absolute strengths; ``shared=inf`` means no shared part."""
    if math.isinf(shared):
        return SquaredFrobenius(own)
    return SharedPlusOwn(shared, own / shared, groups)


class SharedPlusOwnModel(SharedScores, ConvexModel):
    """Base of models with a trace norm on a shared part and a ridge on own parts."""

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
    r"""Coefficients ``W = A + V``: a low-rank shared part, and own parts of the attributes.

    .. math:: \min_{A, V, b} \; \frac{1}{N} \sum_{m,i} c_{mi}\,
              \log(1 + e^{-y_{mi} (x_i^\top (a_m + v_m) + b_m)})
              + \alpha \|A\|_* + \lambda \|V\|_F^2

    With the trace norm, the attributes use a few common directions of the features, which they
    learn together; the ridge part models what an attribute needs beyond these. The problem is
    convex. With a large ``shared_strength`` nothing is shared, and each attribute has a ridge
    classifier; with a large ``own_strength`` there are no own parts, only the trace norm. Sharing
    helps if labels are few; :class:`SharedPlusOwnClassifierCV` tests whether it does.

    Parameters
    ----------
    shared_strength : float or "auto"
        Weight of the trace norm, ``> 0``, as a fraction of the critical one, from which on nothing
        is shared in a model without own parts. ``inf``: no shared part. ``"auto"``: from the noise
        share of the critical strength (:func:`~proxmtl.latent.strengths.shared_strengths`).
    own_strength : float or "auto"
        Weight of the ridge, ``> 0``, in units of the mean squared norm of the (standardised)
        features over the number of labels: as a Gaussian prior, 1 gives the scores a variance of
        1/2. ``"auto"``: from the leave-one-out errors of single-task ridges.
    groups : Groups, dict, list of lists, "auto" or None
        Disjoint groups of attributes, each with its own shared part (an attribute in no group is a
        group of one). ``"auto"``: clusters of attributes with similar labels and classifiers
        (:func:`~proxmtl.estimators.cluster_attributes`). None: all attributes are one group.
    loss : {"logistic", "squared_hinge", "squared", "smoothed_hinge", "huber"}
        Loss of a label; ``"squared"`` and ``"huber"`` regress on the signs.
    fit_intercept, standardize, class_weight, label_names
        As for :class:`LassoClassifier`.
    reduction : {"mean", "task_mean", "sum"}
        Divide the loss by the number of labels of all attributes; divide each attribute's loss by
        its own number; or do not divide it.
    max_passes : int
        Budget in passes over the features; relative strengths take at most five more.
    tol : float
        Relative duality gap at which the solver stops.

    Attributes
    ----------
    shared_coef_ : ndarray of shape (M, D)
        The shared part :math:`A^\top` of the coefficients; own parts are the difference.
    n_shared_ : int
        Rank of the shared part, 0 if nothing is shared (with groups: the sum of the ranks).
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
    r"""Regressions ``W = A + V``: a low-rank shared part, and own parts of the attributes.

    .. math:: \min_{A, V, b} \; \frac{1}{N} \sum_{m,i} c_{mi}\, \tfrac12
              (y_{mi} - x_i^\top (a_m + v_m) - b_m)^2 + \alpha \|A\|_* + \lambda \|V\|_F^2

    on labels that are standardised for each attribute. The model is that of
    :class:`SharedPlusOwnClassifier`, whose parameters and attributes it has, except those that
    concern classes, and in addition:

    Parameters
    ----------
    loss : {"squared", "huber"}
        Loss of a label; Huber's is linear beyond one unit of the labels, and has medians for units.

    Attributes
    ----------
    target_mean_, target_scale_
        Centre and unit of the labels, as for :class:`SingleTaskRegressor`.
    """
