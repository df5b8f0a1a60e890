"""Groups of similar attributes by clustering, for ``groups="auto"``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import silhouette_score

from proxmtl.estimators.convex import minimised
from proxmtl.estimators.grouping import distinct, resolve_groups
from proxmtl.groups import Groups
from proxmtl.latent.strengths import strength_units
from proxmtl.problem import Problem
from proxmtl.regularizers import SquaredFrobenius, UnsupportedError

__all__ = ["cluster_attributes", "groups_for", "is_auto"]

Array = NDArray[np.float64]

OWN = 0.1
"""Ridge of the compared classifiers, in the units of ``own_strength``: a medium one."""
TOLERANCE = 1e-2
"""Relative duality gap of these classifiers."""
PASSES = 100
"""Budget of each fit."""

RELIABLE = 50
"""Number of rows with both labels at which a correlation has half the weight of the cosine."""


def cluster_attributes(labels: Array, coef: Array, names: Sequence[str] | None = None) -> Groups:
    r"""Cluster attributes by the similarity of their labels and classifiers.

    The similarity of two attributes is a weighted mean of :math:`|r|`, the correlation of their
    labels on rows that have both, and :math:`|\cos|`, the cosine of their coefficients; the first
    has less weight if few rows have both labels. Opposite attributes are similar, since they use
    the same features. Average-linkage clustering is cut at the largest mean silhouette; if no cut
    has a positive one, all attributes form one group.

    Parameters
    ----------
    labels : ndarray, shape (N, M)
        -1 and +1, or real labels; NaN if missing.
    coef : ndarray, shape (M, D)
        Coefficients of single-task classifiers on standardised features.
    names : sequence of str, optional
        Names of the attributes; a group is named after its most central member.

    Returns
    -------
    Groups
        Disjoint groups that cover all attributes.
    """
    n = len(coef)
    if n < 3:
        return Groups.single(n)
    alike = _alikeness(labels, coef)
    distance = np.clip(1 - alike, 0.0, 1.0)
    np.fill_diagonal(distance, 0.0)
    best, found = 0.0, np.zeros(n, dtype=np.intp)
    for n_clusters in range(2, n):
        cut = AgglomerativeClustering(
            n_clusters, metric="precomputed", linkage="average"
        ).fit_predict(distance)
        score = float(silhouette_score(distance, cut, metric="precomputed"))
        if score > best:
            best, found = score, cut
    members = [np.flatnonzero(found == k) for k in np.unique(found)]
    members.sort(key=lambda each: int(each[0]))
    called = None
    if names is not None:
        centres = [each[np.argmax(alike[np.ix_(each, each)].sum(axis=1))] for each in members]
        plain = [
            f"like {names[c]}" if len(each) > 1 else names[c]
            for c, each in zip(centres, members, strict=True)
        ]
        called = distinct(plain, (), " (another)")
    return Groups.from_lists([each.tolist() for each in members], n, called)


def is_auto(groups: Any) -> bool:
    """Whether the argument ``groups`` of an estimator is ``"auto"``."""
    return isinstance(groups, str) and groups == "auto"


def groups_for(
    given: Any,
    problem: Problem,
    sample_weight: Array | None,
    names: Sequence[str] | None,
    *,
    together: bool = False,
) -> Groups:
    """Groups of the attributes of a problem, from the argument ``groups`` of an estimator.

    Parameters
    ----------
    given
        As for :func:`~proxmtl.estimators.grouping.resolve_groups`, or ``"auto"``: clusters of
        :func:`cluster_attributes`, from the problem's labels and a ridge fit of each attribute.
    problem : Problem
        Without a penalty. Passes of the ridge fit count as its own.
    sample_weight : ndarray, optional
        As for :func:`~proxmtl.latent.strengths.strength_units`.
    names : sequence of str, optional
        Of the attributes.
    together
        Whether None means one group of all attributes, and not each alone.
    """
    targets = problem.targets
    if is_auto(given) and problem.design.sample_of is not None:
        raise UnsupportedError(
            "groups: 'auto' compares all labels of all attributes, and a sparse matrix stores some "
            "of them only; give the groups, or dense labels with NaN for missing."
        )
    if given is None and together:
        return Groups.single(targets.n_tasks)
    if not is_auto(given):
        return resolve_groups(given, targets.n_tasks, names)
    unit = strength_units(problem, Groups.single(targets.n_tasks), sample_weight).own
    ridge = problem.with_regularizers(SquaredFrobenius(OWN * unit))
    fitted = minimised(ridge, tol=TOLERANCE, max_passes=PASSES)
    coef = problem.design.split(fitted.solution)[0].numpy().T.astype(np.float64)
    if targets.task_of is not None:  # no row has labels of two attributes
        return cluster_attributes(np.empty((0, len(coef))), coef, names)
    labels, weights = map(targets.whole, (targets.labels, targets.weights))
    signs = torch.where(weights > 0, labels.to(torch.float64), torch.nan)
    return cluster_attributes(signs.numpy(), coef, names)


def _alikeness(labels: Array, coef: Array) -> Array:
    """Similarities in [0, 1], shape (M, M)."""
    observed = ~np.isnan(labels)
    filled, seen = np.where(observed, labels, 0.0), observed.astype(np.float64)
    both = seen.T @ seen
    count = np.maximum(both, 1.0)
    # moments of each attribute on the rows that have both labels
    mean, square = filled.T @ seen / count, filled.T**2 @ seen / count
    covariance = filled.T @ filled / count - mean * mean.T
    variance = np.clip(square - mean**2, 0.0, None)
    spread = np.sqrt(variance * variance.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(spread > 0, covariance / spread, 0.0)
    norms = np.linalg.norm(coef, axis=1, keepdims=True)
    unit = np.divide(coef, norms, out=np.zeros_like(coef), where=norms > 0)
    share = both / (both + RELIABLE)
    alike: Array = (share * np.abs(correlation) + np.abs(unit @ unit.T)) / (share + 1)
    return (alike + alike.T) / 2
