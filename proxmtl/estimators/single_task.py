"""Single-task baselines: a ridge-penalised model for each attribute."""

from __future__ import annotations

from typing import ClassVar

from proxmtl.arrays import as_python
from proxmtl.estimators.classifier import LinearAttributeClassifier
from proxmtl.estimators.convex import ConvexModel
from proxmtl.estimators.regressor import LinearAttributeRegressor
from proxmtl.regularizers import SquaredFrobenius

__all__ = ["SingleTaskClassifier", "SingleTaskRegressor"]


class SingleTaskModel(ConvexModel):
    """Base of models with a ridge on each attribute."""

    strength_name: ClassVar[str] = "l2_strength"

    l2_strength: float = 1e-2

    def _regularizer(self, n_attributes: int) -> SquaredFrobenius:
        del n_attributes
        strength = as_python(self.l2_strength)
        if not strength > 0:
            raise ValueError(f"l2_strength: got {strength}; a ridge needs a positive strength.")
        return SquaredFrobenius(strength)


class SingleTaskClassifier(LinearAttributeClassifier, SingleTaskModel):
    r"""Independent linear classifiers, one per attribute, with a ridge penalty.

    For each attribute m, on its observed labels,

    .. math:: \min_{w_m, b_m} \; \frac{1}{N_m} \sum_i c_{mi}\, \tfrac12
              \max(0, 1 - y_{mi} (x_i^\top w_m + b_m))^2 + \lambda \|w_m\|_2^2 .

    The M convex problems are solved together, by :class:`proxmtl.LBFGS` or exact Newton steps on
    shared features and by :class:`proxmtl.FISTA` on features of each task, until the relative
    duality gap of their sum is at most ``tol``; ``result_.certificate`` holds the final gap.

    Parameters
    ----------
    l2_strength : float
        :math:`\lambda > 0`. With ``reduction="sum"``, the loss is not divided by N_m, so a
        comparable strength is larger by that factor.
    loss : {"squared_hinge", "logistic", "squared", "smoothed_hinge", "huber"}
        Loss of a label; ``"squared"`` and ``"huber"`` regress on the signs.
    fit_intercept, standardize, reduction, class_weight, max_passes, tol, label_names
        As for :class:`LassoClassifier`.

    Attributes
    ----------
    coef_, intercept_, label_values_, classes_, mean_, scale_, result_, n_features_in_
        As for :class:`LassoClassifier`.

    Warns
    -----
    ConvergenceWarning
        If the budget was used up before the gap reached ``tol``.
    """

    loss: str = "squared_hinge"


class SingleTaskRegressor(LinearAttributeRegressor, SingleTaskModel):
    r"""Independent ridge regressions, one per attribute.

    For each attribute m, on its observed labels, centred and divided by their standard deviation,

    .. math:: \min_{w_m, b_m} \; \frac{1}{N_m} \sum_i c_{mi}\, \tfrac12
              (y_{mi} - x_i^\top w_m - b_m)^2 + \lambda \|w_m\|_2^2 .

    The relative duality gap of the sum is at most ``tol``: ``result_.certificate``.

    Parameters
    ----------
    l2_strength : float
        :math:`\lambda > 0`; scikit-learn's ``Ridge(alpha=2 * N_m * l2_strength)`` has the same
        solution on standardised features. With ``reduction="sum"`` the loss is not divided by N_m.
    loss : {"squared", "huber"}
        Loss of a label; Huber's is linear beyond one unit of the labels, and has medians for units.
    fit_intercept, standardize, reduction, max_passes, tol, label_names
        As for :class:`SingleTaskClassifier`.

    Attributes
    ----------
    target_mean_, target_scale_ : ndarray of shape (M,)
        Centre and unit of the labels. If all labels of an attribute are equal, its unit is 0, and
        that label is predicted.
    coef_, intercept_, mean_, scale_, result_, n_features_in_
        As for :class:`LassoClassifier`; coefficients and intercepts are for the labels as given.
    """
