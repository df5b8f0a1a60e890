"""Latent scores of the directions that attributes share, by ``transform``."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from proxmtl.estimators.base import LinearModel
from proxmtl.estimators.inputs import checked
from proxmtl.regularizers import Regularizer, SharedPlusOwn

__all__ = ["LatentScores", "SharedPart", "SharedScores", "TaskScores", "shared_part"]

Array = NDArray[Any]


class LatentScores(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]  # no stubs
    TransformerMixin,  # type: ignore[misc]
    LinearModel,
):
    """Base of models whose attributes share K directions of the features."""

    def _directions(self) -> Array:
        """The shared directions (D, K), on the features as given."""
        raise NotImplementedError

    @property
    def _n_features_out(self) -> int:
        return int(self._directions().shape[1])

    def transform(self, X: Any) -> Array:
        """Latent scores: projections of the features on the shared directions.

        Parameters
        ----------
        X
            Features (N, D), dense or sparse; for a list with a matrix for each task, the scores of
            all rows are stacked.

        Returns
        -------
        numpy.ndarray
            Shape (N, K): ``(X - mean_) @ L`` with ``L_`` or ``shared_directions_`` of the model.
            Features are centred only with ``standardize=True``.

        Raises
        ------
        ValueError
            If features are not finite, or so large that scores overflow.
        """
        check_is_fitted(self)
        L = np.ascontiguousarray(self._directions())  # as it comes back from a file
        samples = replace(checked(self, X), task_of=None)
        return self._linear(samples, L.T, -(self.mean_ @ L))


class TaskScores(LatentScores):
    """Base of models with latent tasks: ``coef_ = (L_ @ S_).T``, plus ``V_.T`` with own parts."""

    L_: Array = field(init=False)
    S_: Array = field(init=False)
    V_: Array = field(init=False)

    def _directions(self) -> Array:
        return self.L_


class SharedPart(NamedTuple):
    """A low-rank shared part, and its factors with the smallest sum of squares."""

    coef: Array
    """Shape (D, M)."""
    directions: Array
    """Shape (D, K)."""
    loadings: Array
    """Shape (K, M)."""
    rank: int


def shared_part(R: Regularizer, coef: torch.Tensor) -> SharedPart:
    """Return the shared part of coefficients (D, M) under a penalty; rank 0 for a ridge."""
    D, M = coef.shape
    if not isinstance(R, SharedPlusOwn):
        return SharedPart(np.zeros((D, M)), np.zeros((D, 0)), np.zeros((0, M)), 0)
    L, S = R.factors(coef)
    return SharedPart(R.split(coef)[0].numpy(), L.numpy(), S.numpy(), R.rank(coef))


class SharedScores(LatentScores):
    """Base of models with a shared part ``(shared_directions_ @ shared_loadings_).T``.

    The factors are singular vectors scaled by the roots of the singular values: of all factors,
    these have the smallest sum of squares, twice the trace norm.
    """

    shared_coef_: Array = field(init=False)
    shared_directions_: Array = field(init=False)
    shared_loadings_: Array = field(init=False)
    n_shared_: int = field(init=False)

    def _directions(self) -> Array:
        return self.shared_directions_

    def _keep_shared(self, part: SharedPart) -> None:
        """Set the shared part, on the features as given."""
        scale = self.scale_[:, np.newaxis]
        self.shared_coef_ = np.ascontiguousarray((part.coef / scale).T)
        self.shared_directions_ = part.directions / scale
        self.shared_loadings_ = part.loadings
