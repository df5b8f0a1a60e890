"""Which candidates of a search are worth another fold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

__all__ = ["promising"]

FOLDS = 2
"""Folds that score, before a candidate can be given up."""
SCORES = 8
"""Scores, of an attribute in a fold each, before that: the leader of few is a matter of chance."""
LEVEL = 0.977
"""Of the one-sided t test that it has fallen behind: two standard errors of many differences."""


def promising(
    scores: NDArray[np.float64], kept: NDArray[np.bool_], path_of: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Candidates that may still turn out the best of their path, (C,).

    Given up is what falls behind the leader of its path in each fold so far, and in the mean by
    a t test of the differences. These are of single attributes in single folds: what an attribute
    or a fold is worth to both candidates is no part of them.

    Parameters
    ----------
    scores : ndarray, shape (C, F, M)
        On the folds so far; NaN where there is no score.
    kept : ndarray of bool, shape (C,)
        Candidates that were solved on all of these folds.
    path_of : ndarray of int, shape (C,)
        Number of each candidate's path. One candidate of each path is kept.
    """
    kept = kept.copy()
    for path in np.unique(path_of):
        members = np.flatnonzero(kept & (path_of == path))
        scored = ~np.isnan(scores[members].sum(axis=0))
        folds = np.flatnonzero(scored.sum(axis=1))
        if len(folds) < FOLDS or scored.sum() < SCORES:
            continue
        leader = int(scores[members][:, scored].mean(axis=1).argmax())
        behind = scores[members[leader]] - scores[members]
        mean, spread = behind[:, scored].mean(axis=1), behind[:, scored].std(axis=1, ddof=1)
        by_fold = np.stack([behind[:, f, scored[f]].mean(axis=1) for f in folds])
        everywhere = (by_fold > 0).all(axis=0)
        count = int(scored.sum())
        error = float(t.ppf(LEVEL, count - 1)) * spread / np.sqrt(count)
        kept[members] = ~everywhere | (mean <= error)
    return kept
