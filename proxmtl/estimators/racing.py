"""Racing: drops candidates of a search that are clearly worse after the first folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

__all__ = ["promising"]

SCORES = 8
"""Minimum number of scores (of an attribute in a fold) before a candidate can be dropped."""
LEVELS = (0.9987, 0.977)
"""Levels of the one-sided t test that a candidate is worse, after one fold and after more (three
and two standard errors for many scores). Differences of the attributes in one fold are of the same
rows, so their standard error is too small."""


def promising(
    scores: NDArray[np.float64],
    kept: NDArray[np.bool_],
    race_of: NDArray[np.intp],
    rival: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Mask of the candidates that may still be the best of all, (C,), and of the race leaders.

    A candidate is dropped if it is worse than the leader of its race, or than the rival if that is
    better, in each fold so far, and significantly worse by a t test of the differences. The
    differences are paired by attribute and fold, which removes the effects that attributes and
    folds have on both candidates.

    Parameters
    ----------
    scores : ndarray, shape (C, F, M)
        Scores on the folds so far; NaN if there is no score.
    kept : ndarray of bool, shape (C,)
        Mask of the candidates that were solved on all of these folds.
    race_of : ndarray of int, shape (C,)
        Index of each candidate's race. At least one candidate of each race is kept.
    rival : ndarray, shape (F, M), optional
        Scores of the best candidate of an earlier search.
    """
    kept = kept.copy()
    for race in np.unique(race_of):
        members = np.flatnonzero(kept & (race_of == race))
        scored = ~np.isnan(scores[members].sum(axis=0))
        if rival is not None:
            scored &= ~np.isnan(rival)
        folds, count = np.flatnonzero(scored.any(axis=1)), int(scored.sum())
        if count < SCORES:
            continue
        means = scores[members][:, scored].mean(axis=1)
        leader = members[int(means.argmax())]
        best = scores[leader]
        if rival is not None and rival[scored].mean() > means.max():
            best = rival
        behind = best - scores[members]
        mean, spread = behind[:, scored].mean(axis=1), behind[:, scored].std(axis=1, ddof=1)
        by_fold = np.stack([behind[:, f, scored[f]].mean(axis=1) for f in folds])
        everywhere = (by_fold > 0).all(axis=0)
        error = float(t.ppf(LEVELS[len(folds) > 1], count - 1)) * spread / np.sqrt(count)
        kept[members] = ~everywhere | (mean <= error)
        kept[leader] = True
    return kept
