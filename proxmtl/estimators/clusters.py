"""Groups of attributes that are alike, where nobody has given any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import silhouette_score

from proxmtl.groups import Groups

__all__ = ["cluster_attributes"]

Array = NDArray[np.float64]

RELIABLE = 50
"""Rows with both labels at which a correlation counts half as much as the weights' cosine."""


def cluster_attributes(signs: Array, coef: Array, names: Sequence[str] | None = None) -> Groups:
    r"""Groups of attributes with like labels and like classifiers.

    Two attributes are alike by the mean of :math:`|r|`, the correlation of their labels on rows
    that have both, and :math:`|\cos|`, the cosine of their coefficients; the first counts
    less where few rows have both labels. Opposite attributes are alike: they use the same features.
    Average-linkage clustering is cut where the mean silhouette is largest; where no cut has a
    positive one, all attributes are one group.

    Parameters
    ----------
    signs : ndarray, shape (N, M)
        Labels -1, +1 and NaN.
    coef : ndarray, shape (M, D)
        Coefficients of classifiers of single attributes, on features of one scale.
    names : sequence of str, optional
        Names of the attributes: a group is named after the member that is most like the others.

    Returns
    -------
    Groups
        Disjoint, of all attributes.
    """
    n = len(coef)
    if n < 3:
        return Groups.single(n)
    alike = _alikeness(signs, coef)
    distance = np.clip(1 - alike, 0.0, 1.0)
    np.fill_diagonal(distance, 0.0)
    best, found = 0.0, np.zeros(n, dtype=np.intp)
    for n_clusters in range(2, n):
        labels = AgglomerativeClustering(
            n_clusters, metric="precomputed", linkage="average"
        ).fit_predict(distance)
        score = float(silhouette_score(distance, labels, metric="precomputed"))
        if score > best:
            best, found = score, labels
    members = [np.flatnonzero(found == k) for k in np.unique(found)]
    members.sort(key=lambda each: int(each[0]))
    called = None
    if names is not None:
        centres = [each[np.argmax(alike[np.ix_(each, each)].sum(axis=1))] for each in members]
        called = [
            f"like {names[c]}" if len(each) > 1 else names[c]
            for c, each in zip(centres, members, strict=True)
        ]
    return Groups.from_lists([each.tolist() for each in members], n, called)


def _alikeness(signs: Array, coef: Array) -> Array:
    """Similarities in [0, 1], shape (M, M)."""
    observed = ~np.isnan(signs)
    filled, seen = np.where(observed, signs, 0.0), observed.astype(np.float64)
    both = seen.T @ seen
    count = np.maximum(both, 1.0)
    # moments of each attribute on the rows that have both labels; the square of a sign is 1
    product, mean = filled.T @ filled / count, filled.T @ seen / count
    spread = np.sqrt(np.clip((1 - mean**2) * (1 - mean.T**2), 0.0, None))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(spread > 0, (product - mean * mean.T) / spread, 0.0)
    norms = np.linalg.norm(coef, axis=1, keepdims=True)
    unit = np.divide(coef, norms, out=np.zeros_like(coef), where=norms > 0)
    share = both / (both + RELIABLE)
    alike: Array = (share * np.abs(correlation) + np.abs(unit @ unit.T)) / (share + 1)
    return (alike + alike.T) / 2
