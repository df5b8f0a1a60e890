"""What the folds say of a choice: which attributes share, how sure it is, and the calibration."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxmtl.estimators.search import Searched
from proxmtl.experiments import fit_platt

__all__ = ["Pair", "calibration", "report", "sharing", "table"]

Pair = tuple[float, float]
"""A candidate: strengths of the shared part (inf: none) and of the own part, in their units."""


def sharing(found: Searched, own: int, shared: int | None) -> NDArray[np.bool_]:
    """Attributes that are to share: those whose expected gain is positive.

    Gains of single attributes are noisy, and attributes are alike: their mean and spread are the
    prior of each (empirical Bayes), from which its own folds move it as far as they agree.
    """
    n_attributes = found.scores.shape[2]
    if shared is None or not found.means[shared] > found.means[own]:
        return np.zeros(n_attributes, dtype=np.bool_)
    gain, error = _gains(found, own, shared)
    known = np.isfinite(error)
    if known.sum() < 2:
        return np.ones(n_attributes, dtype=np.bool_)
    mean = float(gain[known].mean())
    noise = float(np.square(error[known]).mean())  # of one attribute's few folds it is a guess
    spread = max(float(gain[known].var(ddof=1)) - noise, 0.0)
    weight = spread / (spread + noise) if spread > 0 else 0.0
    expected = np.where(known, mean + weight * (gain - mean), mean)
    positive: NDArray[np.bool_] = expected > 0
    return positive


def _gains(
    found: Searched, own: int, shared: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over the folds of the gain of each attribute, and its standard error (inf: unknown)."""
    gains = found.scores[shared] - found.scores[own]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # attributes that no fold could score
        count = (~np.isnan(gains)).sum(axis=0)
        mean = np.nanmean(gains, axis=0)
        error = np.nanstd(gains, axis=0, ddof=1) / np.sqrt(count)
    return mean, np.where(count > 1, error, np.inf)


def calibration(
    held_out: NDArray[np.float32], signs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes of the sigmoids and shifts of the intercepts: ``p = sigmoid(slope (z + shift))``."""
    slopes, shifts = np.ones(signs.shape[1]), np.zeros(signs.shape[1])
    for m in range(signs.shape[1]):
        seen = ~(np.isnan(signs[:, m]) | np.isnan(held_out[:, m]))
        z = held_out[seen, m].astype(np.float64)
        if not len(z) or len(np.unique(signs[seen, m])) < 2:
            continue
        platt = fit_platt(z[:, None], signs[seen, m][:, None])
        # a score that says nothing on rows held out still orders them: its slope stays positive
        slope = max(-float(platt.slope[0]), 1e-6 / max(float(z.std()), 1e-300))
        slopes[m], shifts[m] = slope, -float(platt.offset[0]) / slope
    return slopes, shifts


def report(
    found: Searched,
    best: tuple[int, int | None],
    sharing: NDArray[np.bool_],
    signs: NDArray[np.float64],
) -> pd.DataFrame:
    """One line per attribute; ``best`` are the candidates alone and shared."""
    own, shared = best
    alone = found.scores[own]
    taken = alone if shared is None else np.where(sharing, found.scores[shared], alone)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        table = pd.DataFrame(
            {
                "labels": (~np.isnan(signs)).sum(axis=0),
                "positives": (signs == 1).sum(axis=0),
                "score": np.nanmean(taken, axis=0),
                "score_std": np.nanstd(taken, axis=0),
            }
        )
        if shared is not None:
            gain, error = _gains(found, own, shared)
            table.insert(2, "shared", sharing)
            table["score_alone"] = np.nanmean(alone, axis=0)
            table["gain"], table["gain_error"] = gain, error
    return table


def table(candidates: Sequence[Pair], found: Searched) -> pd.DataFrame:
    """One line per candidate: its strengths, its mean score and the standard error over folds."""
    by_fold = found.by_fold
    return pd.DataFrame(
        {
            "shared_strength": [pair[0] for pair in candidates],
            "own_strength": [pair[1] for pair in candidates],
            "mean": found.means,
            "standard_error": by_fold.std(axis=1, ddof=1) / np.sqrt(by_fold.shape[1]),
        }
    )
