"""Conclusions from the folds: the best candidate, and the attributes that share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.scales import UNIT, Scale
from proxmtl.estimators.search import Searched
from proxmtl.selection.edges import Edge, edges_of

__all__ = [
    "Candidate",
    "Evidence",
    "best_of",
    "beyond_the_end",
    "ends",
    "leading",
    "report",
    "said_of",
    "sharing",
    "table",
]

TIES = 1e-7
"""Relative difference of scores that rounding of float32 decision values may cause."""
ALIKE = 0.01
"""Difference of log evidences up to which candidates tell labels equally well."""
COMPARED = 6
"""Maximum number of candidates with the best score of which the evidence is computed."""

Evidence: TypeAlias = Callable[[NDArray[np.float32]], float]
"""How well the scores of held-out rows, (N, M), tell the labels: a logarithm of a likelihood."""


class Candidate(NamedTuple):
    """A candidate of a search."""

    shared: float
    """Strength of the shared part, in its unit; inf: none."""
    own: float
    """Strength of the own part, in its unit."""
    scale: Scale = UNIT
    """Of the features."""

    def has_part(self) -> bool:
        """Whether it has a shared part."""
        return math.isfinite(self.shared)

    def shares(self) -> bool:
        """Whether attributes have something in common: a shared part, or relevant features."""
        return self.has_part() or self.scale.relevance > 0

    def is_alone(self) -> bool:
        """Whether each attribute is learnt from its own labels alone."""
        return not self.shares()

    @property
    def follows(self) -> str:
        """Name of the strength that its path varies."""
        return "own" if math.isinf(self.shared) else "shared"

    def at(self, strength: float) -> Candidate:
        """Candidate of the same path with another strength."""
        if math.isinf(self.shared):
            return self._replace(own=strength)
        return self._replace(shared=strength)

    def is_beside(self, other: Candidate) -> bool:
        """Whether another one is of the same path."""
        return self.follows == other.follows and self == other.at(getattr(self, self.follows))


def sharing(
    found: Searched, own: int, shared: int | None, *, fallback: bool = True
) -> NDArray[np.bool_]:
    """Mask of the attributes that share: those with a positive expected gain, or all of them.

    None shares unless the mean gain is more than its standard error over the attributes: where
    labels are few, the best of many candidates that share is ahead by chance. Gains of single
    attributes are noisier. Empirical Bayes shrinks each gain towards the mean gain of all
    attributes, the more, the larger its standard error is relative to the spread of the gains.
    """
    n_attributes = found.scores.shape[2]
    if shared is not None and not fallback:
        return np.ones(n_attributes, dtype=np.bool_)
    if shared is None:
        return np.zeros(n_attributes, dtype=np.bool_)
    gain, error = _gains(found, own, shared)
    if not found.means[shared] > found.means[own] + _error_over_attributes(gain):
        return np.zeros(n_attributes, dtype=np.bool_)
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


def _error_over_attributes(gains: NDArray[np.float64]) -> float:
    """Standard error of the mean gain; 0 where it is unknown, for one attribute."""
    gains = gains[~np.isnan(gains)]
    return float(gains.std(ddof=1)) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0


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


def report(
    found: Searched,
    best: tuple[int, int | None],
    sharing: NDArray[np.bool_],
    labels: EncodedLabels,
) -> pd.DataFrame:
    """Report with a row per attribute; ``best`` are the best single-task and shared candidates."""
    own, shared = best
    alone = found.scores[own]
    taken = alone if shared is None else np.where(sharing, found.scores[shared], alone)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        table = pd.DataFrame(
            {
                "labels": labels.observed.sum(axis=0),
                "score": np.nanmean(taken, axis=0),
                "score_std": np.nanstd(taken, axis=0),
            }
        )
        if labels.coding == "signs":
            table.insert(1, "positives", (labels.numbers == 1).sum(axis=0))
        if shared is not None:
            gain, error = _gains(found, own, shared)
            table.insert(table.columns.get_loc("score"), "shared", sharing)
            table["score_alone"] = np.nanmean(alone, axis=0)
            table["gain"], table["gain_error"] = gain, error
    return table


def table(candidates: Sequence[Candidate], found: Searched) -> pd.DataFrame:
    """Table with a row per candidate: strengths, scaling of the features, folds, and scores.

    The mean score and its standard error are NaN unless the candidate was solved on all folds,
    since means over different folds are not comparable.
    """
    error = np.where(found.complete, _standard_error(found.by_fold), np.nan)
    return pd.DataFrame(
        {
            "shared_strength": [each.shared for each in candidates],
            "own_strength": [each.own for each in candidates],
            "scaling": [str(each.scale) for each in candidates],
            "folds": found.folds,
            "mean": found.means,
            "standard_error": error,
        }
    )


def _standard_error(by_fold: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error of the mean over the folds, (C, F) -> (C,); NaN for one fold."""
    count = (~np.isnan(by_fold)).sum(axis=1)
    error = np.full(len(by_fold), np.nan)
    some = count > 1
    error[some] = np.nanstd(by_fold[some], axis=1, ddof=1) / np.sqrt(count[some])
    return error


def ends(
    candidates: Sequence[Candidate], means: NDArray[np.float64], flat: float = 0.0
) -> list[Edge]:
    """Ends of the best candidate's path at which it lies, so that the path should be extended.

    Not at the strongest shared part, which is nearly critical: beyond it nothing is shared. Nor at
    an end whose last step gained at most the fraction ``flat`` of the path's range.
    """
    best = candidates[leading(means)]
    path = [each for each in candidates if each.is_beside(best)]
    name = f"{best.follows}_strength"
    found = edges_of([{name: getattr(each, best.follows)} for each in path], path.index(best))
    if len(path) > 1:
        scores = np.array([means[candidates.index(each)] for each in sorted(path)])
        gains = {"lowest": scores[0] - scores[1], "highest": scores[-1] - scores[-2]}
        found = [edge._replace(gain=float(gains[edge.side])) for edge in found]
        least = flat * (np.nanmax(scores) - np.nanmin(scores))
        # next to a dropped candidate the gain is unknown (NaN), but large
        found = [edge for edge in found if not (flat > 0 and edge.gain <= least)]
    return [edge for edge in found if best.follows == "own" or edge.side == "lowest"]


def best_of(
    candidates: Sequence[Candidate],
    found: Searched,
    *,
    among: Callable[[Candidate], bool],
    evidence: Evidence,
    one_standard_error: bool = False,
    over: int | None = None,
) -> int | None:
    """Index of the best of some of the candidates; None if there is none of them.

    That is the one with the largest mean score or, with the index ``over`` of another one, with the
    largest mean gain over that, less the standard error of the gain over the attributes: of many
    candidates that gain for some attributes and lose for others, one is ahead by chance. Where
    several have the best score, as where all of them order all rows correctly, it is the
    strongest of those whose held-out scores tell the labels best (of many, some along the path are
    compared). With ``one_standard_error``: the
    strongest one within a standard error of the best.
    """
    means = found.means
    if over is not None:
        gains = (_gains(found, over, i)[0] for i in range(len(candidates)))
        means = means - np.array([_error_over_attributes(gain) for gain in gains])
    known = np.isfinite(means)
    numbers = [i for i, each in enumerate(candidates) if among(each) and known[i]]
    if not numbers:
        return None
    best = numbers[leading(means[numbers])]
    if one_standard_error:
        error = float(np.nan_to_num(_standard_error(found.by_fold)[best]))
        # of one path: strengths are in units of their scale
        path = [i for i in numbers if candidates[i].is_beside(candidates[best])]
        return max((i for i in path if means[i] >= means[best] - error), key=candidates.__getitem__)
    tied = [i for i in numbers if means[i] >= means[best] - TIES * abs(means[best])]
    if len(tied) == 1:
        return best
    tied = tied[:: math.ceil(len(tied) / COMPARED)]
    known_by = np.nan_to_num([evidence(found.held_out[i]) for i in tied], nan=-np.inf)
    return tied[int(np.flatnonzero(known_by >= known_by.max() - ALIKE)[0])]


def leading(means: NDArray[np.float64]) -> int:
    """Index of the best candidate; of those that are equal to rounding, the first.

    Paths begin with the strongest penalty, so that is chosen if weaker ones change nothing.
    """
    best = np.nanmax(means)
    return int(np.flatnonzero(means >= best - TIES * abs(best))[0])


def beyond_the_end(
    candidates: Sequence[Candidate], means: NDArray[np.float64], flat: float = 0.0
) -> list[list[Candidate]]:
    """Extend a path whose end is best by three steps, at the ratio of its strengths."""
    best = candidates[leading(means)]
    further = []
    for edge in ends(candidates, means, flat):
        values = sorted(getattr(each, best.follows) for each in candidates if each.is_beside(best))
        if edge.side == "only":
            continue  # a path of one candidate has no ratio
        at, beside = values[:2] if edge.side == "lowest" else values[:-3:-1]
        further.append([best.at(at * (at / beside) ** k) for k in (1, 2, 3)])
    return further


def said_of(edge: Edge) -> str:
    """Say that the best candidate is the last one tried, and what the last step gained."""
    gained = ""
    if math.isfinite(edge.gain):
        gained = (
            f" The last step gained {edge.gain:.2g} of the mean score: where as much again would "
            "not matter, nothing need be done."
        )
    # in quotes: it is a column of the table, and no option that could be given
    return (
        f"the best '{edge.name}', {edge.value:.4g}, is the {edge.side} of {edge.tried} values "
        f"tried, to which the search has extended its path.{gained} All steps are in the table of "
        "candidates (cv_results_, in a run folder candidates.csv)."
    )
