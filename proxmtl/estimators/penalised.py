"""The paper's convex baselines: all features and attributes in one W, under one penalty."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from proxmtl.arrays import as_python
from proxmtl.baselines import BASELINES
from proxmtl.estimators.classifier import LinearAttributeClassifier
from proxmtl.estimators.clusters import groups_for
from proxmtl.estimators.convex import ConvexModel
from proxmtl.groups import Groups
from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer

__all__ = ["GroupLassoClassifier", "L21Classifier", "LassoClassifier", "RidgeMTLClassifier"]


class LassoClassifier(LinearAttributeClassifier, ConvexModel):
    r"""Lasso: each attribute depends on a few features of its own.

    .. math:: \min_{W, b} \; \sum_m \frac{1}{N_m} \sum_i c_{mi}\,
              \log(1 + e^{-y_{mi} (x_i^\top w_m + b_m)}) + \alpha \sum_{d,m} |W_{dm}|

    Solved by FISTA until the relative duality gap is at most ``tol``; ``result_.certificate`` holds
    the final gap.

    Parameters
    ----------
    strength : float
        :math:`\alpha > 0`, in units of the mean loss of an attribute.
    loss : {"logistic", "squared_hinge", "squared", "smoothed_hinge", "huber"}
        Loss of a label; ``"squared"`` and ``"huber"`` regress on the signs.
    fit_intercept : bool
        Fit an unpenalised intercept per attribute.
    standardize : bool
        Centre features and scale them to unit variance before the fit; coefficients are those on
        the features as given.
    reduction : {"task_mean", "mean", "sum"}
        Divide each attribute's loss by its number of labels, the loss by the total number, or not.
    class_weight : None, "balanced" or dict of class -> weight
        Weights of the two classes, within each attribute.
    max_passes : int
        Budget in passes over the features.
    tol : float
        Relative duality gap at which the solver stops.
    label_names : sequence of str, optional
        Attribute names; default: the columns of Y if it is a data frame.

    Attributes
    ----------
    coef_ : ndarray of shape (M, D)
        Coefficients on the features as given, with exact zeros.
    intercept_ : ndarray of shape (M,)
        Intercepts.
    label_values_ : ndarray of shape (2,)
        The two label values, negative first.
    classes_ : ndarray
        For scikit-learn: the indices of the attributes, 0 .. M - 1; for a single attribute its two
        label values.
    mean_, scale_ : ndarray of shape (D,)
        Standardisation that was folded into ``coef_``.
    result_ : Result
        Status, certificate and history of the solver.
    n_features_in_ : int
        Number of features D.

    Warns
    -----
    ConvergenceWarning
        If the budget was exhausted before the gap reached ``tol``.

    References
    ----------
    Tibshirani, "Regression shrinkage and selection via the lasso", 1996.
    """

    baseline: ClassVar[str] = "lasso"

    strength: float = 1e-2

    def _regularizer(self, n_attributes: int) -> Regularizer:
        strength = as_python(self.strength)
        if not strength > 0:
            raise ValueError(f"strength: got {strength}; the penalty needs a positive one.")
        return BASELINES[self.baseline].regularizer(self._groups(n_attributes), strength)

    def _groups(self, n_attributes: int) -> Groups | int:
        return n_attributes


class L21Classifier(LassoClassifier):
    r"""All attributes depend on the same features: the :math:`\ell_{2,1}` norm, "all-sharing".

    :math:`R(W) = \alpha \sum_d \|W_{d,:}\|_2`: a feature is used by every attribute or by none.
    Parameters and attributes are those of :class:`LassoClassifier`.

    References
    ----------
    Argyriou, Evgeniou, Pontil, "Convex multi-task feature learning", 2008; Obozinski, Taskar,
    Jordan, "Joint covariate selection and joint subspace selection", 2010.
    """

    baseline = "l21"


class RidgeMTLClassifier(LassoClassifier):
    r"""Least squares on the signs with a ridge, the paper's "l2 regression loss".

    :math:`R(W) = \alpha \|W\|_F^2`, loss :math:`\tfrac12 (y - x^\top w_m - b_m)^2`. Parameters and
    attributes are those of :class:`LassoClassifier`, with another default loss. With
    ``loss="logistic"`` this is ridge logistic regression for each attribute, with
    ``"squared_hinge"`` it is :class:`SingleTaskClassifier`.
    """

    baseline = "ridge"
    loss: str = "squared"


class GroupLassoClassifier(LassoClassifier):
    r"""Group lasso: groups share features within and compete for them between ("decorrelated").

    :math:`R(W) = \alpha \sum_d \sum_g w_g \|W_{d,g}\|_2`: a feature is used by all attributes of a
    group or by none of them. The solver of the reference squares this penalty, which changes the
    scale of the strength but not the path of solutions.

    Parameters
    ----------
    groups : Groups, dict, list of lists, "auto", "singletons" or None
        Groups of attributes, as for :class:`LatentMTLClassifier`; they may overlap. None and
        ``"singletons"``: each attribute is a group, which is the lasso.
    strength, loss, fit_intercept, standardize, reduction, class_weight, max_passes, tol
        As for :class:`LassoClassifier`.
    label_names
        As for :class:`LassoClassifier`.

    Attributes
    ----------
    groups_ : Groups
        Groups used in the fit; other attributes are those of :class:`LassoClassifier`.

    References
    ----------
    Jayaraman, Sha, Grauman, "Decorrelating semantic visual attributes by resisting the urge to
    share", 2014.
    """

    baseline = "decorrelated"
    groups: Any = None

    groups_: Groups = field(init=False)

    def _resolve(self, problem: Problem, sample_weight: NDArray[np.float64] | None) -> None:
        self.groups_ = groups_for(self.groups, problem, sample_weight, self.label_names_)

    def _groups(self, n_attributes: int) -> Groups:
        del n_attributes
        return self.groups_
