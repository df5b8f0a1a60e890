"""GO-MTL: latent tasks, without groups of attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxmtl.estimators.classifier import LinearAttributeClassifier
from proxmtl.estimators.latent import FactoredModel
from proxmtl.problem import Problem
from proxmtl.targets import Reduction

__all__ = ["GOMTLClassifier"]


class GOMTLClassifier(LinearAttributeClassifier, FactoredModel):
    r"""GO-MTL: each attribute is a sparse combination of a few latent tasks.

    .. math:: \min_{L, S, b} \; \sum_m \frac{1}{N_m} \sum_i c_{mi}\,
              \phi(x_i^\top L s_m + b_m; y_{mi}) + \mu \|S\|_1 + \lambda \|L\|_F^2

    The problem is not convex; ``result_`` certifies the accuracy reached. This is
    :class:`LatentMTLClassifier` with ``groups="singletons"`` and without own parts or an L1 norm
    on L.

    Parameters
    ----------
    n_latents : int
        K; choose it below the number of attributes, so that they share.
    strength : float
        :math:`\mu > 0`, which makes S sparse.
    frobenius_strength : float
        :math:`\lambda > 0`, the ridge on L.
    loss, algorithm, init, fit_intercept, standardize, reduction, class_weight, max_passes, tol
        As for :class:`LatentMTLClassifier`.
    random_state, label_names
        As for :class:`LatentMTLClassifier`.

    Attributes
    ----------
    coef_, intercept_, L_, S_, label_values_, classes_, mean_, scale_, result_, n_features_in_
        As for :class:`LatentMTLClassifier`.

    References
    ----------
    Kumar, Daume, "Learning task grouping and overlap in multi-task learning", 2012.
    """

    n_latents: int | None = 5
    loss: str = "logistic"
    strength: float = 1e-2
    frobenius_strength: float = 1e-3
    reduction: Reduction = "task_mean"

    def _strengths(
        self, problem: Problem, sample_weight: NDArray[np.float64] | None
    ) -> dict[str, Any]:
        del problem, sample_weight
        return {
            "group_strength": self.strength,
            "l1_strength": 0.0,
            "frobenius_strength": self.frobenius_strength,
            "own_strength": None,
        }
