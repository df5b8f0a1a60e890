"""What attributes share, as features of its own: latent scores, by ``transform``."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from proxmtl.estimators.base import LinearModel
from proxmtl.estimators.samples import checked
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
        """The directions (D, K), on the features as given."""
        raise NotImplementedError

    @property
    def _n_features_out(self) -> int:
        return int(self._directions().shape[1])

    def transform(self, X: Any) -> Array:
        """Latent scores: what the attributes know of the features in common.

        Parameters
        ----------
        X
            Features (N, D), dense or sparse; of tasks with rows of their own, in a list, the scores
            are those of all rows, one task after the other.

        Returns
        -------
        numpy.ndarray
            Shape (N, K): ``(X - mean_) @ L``, where L are the ``L_`` or ``shared_directions_`` of
            the model. Centred at the training set with ``standardize=True``; without it the
            features are taken as they are.

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
    """Latent tasks: ``coef_ = (L_ @ S_).T``, and a part of each attribute's own if there is one."""

    L_: Array = field(init=False)
    S_: Array = field(init=False)
    V_: Array = field(init=False)

    def _directions(self) -> Array:
        return self.L_


class SharedPart(NamedTuple):
    """A shared part of low rank, and its factors with the least sum of squares."""

    coef: Array
    """Shape (D, M)."""
    directions: Array
    """Shape (D, K)."""
    loadings: Array
    """Shape (K, M)."""
    rank: int


def shared_part(R: Regularizer, coef: torch.Tensor) -> SharedPart:
    """Return what a penalty takes for shared of coefficients (D, M); nothing if it is a ridge."""
    D, M = coef.shape
    if not isinstance(R, SharedPlusOwn):
        return SharedPart(np.zeros((D, M)), np.zeros((D, 0)), np.zeros((0, M)), 0)
    L, S = R.factors(coef)
    return SharedPart(R.split(coef)[0].numpy(), L.numpy(), S.numpy(), R.rank(coef))


class SharedScores(LatentScores):
    """A shared part, ``shared_coef_ = (shared_directions_ @ shared_loadings_).T``.

    Of all factors of the shared part these have the least sum of squares, which is twice its trace
    norm: singular vectors, each with the root of its singular value.
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
