"""Racing: drops candidates of a search that are clearly worse after the first folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

__all__ = ["promising"]

FOLDS = 2
"""Minimum number of scored folds before a candidate can be dropped."""
SCORES = 8
"""Minimum number of scores (of an attribute in a fold) before a candidate can be dropped."""
LEVEL = 0.977
"""Level of the one-sided t test that a candidate is worse (two standard errors for many scores)."""


def promising(
    scores: NDArray[np.float64], kept: NDArray[np.bool_], race_of: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Mask of the candidates that may still be the best of their race, (C,).

    A candidate is dropped if it is worse than the leader of its race in each fold so far, and
    significantly worse by a t test of the differences. The differences are paired by attribute and
    fold, which removes the effects that attributes and folds have on both candidates.

    Parameters
    ----------
    scores : ndarray, shape (C, F, M)
        Scores on the folds so far; NaN if there is no score.
    kept : ndarray of bool, shape (C,)
        Mask of the candidates that were solved on all of these folds.
    race_of : ndarray of int, shape (C,)
        Index of each candidate's race. At least one candidate of each race is kept.
    """
    kept = kept.copy()
    for race in np.unique(race_of):
        members = np.flatnonzero(kept & (race_of == race))
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
