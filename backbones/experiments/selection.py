"""How every system chooses its strengths: by average precision on validation parts.

A candidate is fitted on each training part and scored on the validation part beside it. The best in
the mean, or the best for each attribute, is fitted again on all rows to learn from. Its scores on
the validation parts also calibrate it, by a sigmoid per attribute: accuracies then compare
classifiers, and not their intercepts. Grids have the strongest penalty first, and of candidates
with equal scores the first one is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from proxmtl.backbones.experiments.protocol import Array, Fitted, Part
from proxmtl.estimators.calibration import Calibration, calibration
from proxmtl.estimators.grouping import part_of
from proxmtl.estimators.scoring import SCORINGS, of_classes
from proxmtl.experiments import fit_report

__all__ = ["OneByOne", "searched", "sigmoids", "tuned"]

Maker = Callable[..., Any]
"""Makes an unfitted estimator from a part and the parameters of a candidate."""
AVERAGE_PRECISION = of_classes(SCORINGS["average_precision"])
KEPT = ("status", "passes", "live_latents")
"""Of the report of a fit, in the log."""


class OneByOne:
    """An estimator of scikit-learn for each attribute, fitted on the rows with its labels.

    Parameters
    ----------
    make
        Called with the number of labels of an attribute.
    """

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def fit(self, X: Array, Y: Array) -> OneByOne:
        """Fit the attributes in turn; one with a single class has a constant score."""
        self.models = []
        for labels in Y.T:
            seen = ~np.isnan(labels)
            y = labels[seen]
            constant = len(np.unique(y)) < 2
            self.models.append(None if constant else self.make(len(y)).fit(X[seen], y))
        return self

    def decision_function(self, X: Array) -> Array:
        """Scores (n, M)."""
        zero = np.zeros(len(X))
        return np.stack([zero if m is None else m.decision_function(X) for m in self.models], 1)


class _Learnable:
    """A model of the attributes with both classes among the given labels; others have no scores."""

    def __init__(self, make: Callable[[Part], Any], part: Part) -> None:
        self.make, self.part = make, part

    def fit(self, X: Array, Y: Array) -> _Learnable:
        self.both = (Y == 1).any(axis=0) & (Y == 0).any(axis=0)
        columns = np.flatnonzero(self.both)
        if not len(columns):
            return self
        names = tuple(self.part.names[m] for m in columns)
        part = replace(self.part, groups=part_of(self.part.groups, columns), names=names)
        self.model = self.make(part).fit(X, Y[:, columns])
        return self

    def decision_function(self, X: Array) -> Array:
        scores = np.full((len(X), len(self.both)), np.nan)
        if self.both.any():
            scores[:, self.both] = _scores(self.model, X)
        return scores


def searched(
    part: Part, make: Maker, grid: Iterable[Mapping[str, Any]], *, each: bool = False
) -> Fitted:
    """Choose among candidates, and fit the chosen ones on all rows to learn from.

    Parameters
    ----------
    part
        The rows.
    make
        Called with the part and a candidate's parameters.
    grid
        Parameters of the candidates.
    each
        Whether each attribute has a candidate of its own; only for models of single attributes.
    """
    candidates = [dict(parameters) for parameters in grid]
    held = [_held_out(partial(make, **c), part) for c in candidates]
    labels = [part.Y[validation] for _, validation in part.parts]
    aps = np.stack([_average_precisions(scores, labels) for scores in held])
    means = [_mean(row) for row in aps]
    best = np.full(part.Y.shape[1], int(np.nanargmax(means)))
    if each:
        known = ~np.isnan(aps).all(axis=0)
        best[known] = np.nanargmax(aps[:, known], axis=0)
    X, Y = part.of(part.refit)
    numbers = np.unique(best)
    models = {
        n: make(part, **candidates[n]).fit(X, Y[:, best == n] if each else Y) for n in numbers
    }
    at = np.arange(Y.shape[1])
    scores = np.stack([np.concatenate(each) for each in held])
    fitted = sigmoids(scores[best, :, at].T, np.concatenate(labels))

    def log_odds(rows: Array) -> Array:
        scores = np.empty((len(rows), len(best)))
        for n, model in models.items():
            scores[:, best == n] = _scores(model, rows)
        found: Array = fitted.slopes * (scores + fitted.shifts)
        return found

    log = [{**c, "ap": round(ap, 5)} for c, ap in zip(candidates, means, strict=True)]
    if each:
        chosen = {key: [candidates[n][key] for n in best.tolist()] for key in candidates[0]}
        return Fitted(log_odds, chosen, log, {})
    (model,) = models.values()
    return Fitted(log_odds, candidates[numbers[0]], log, _notes(model))


def _held_out(make: Callable[[Part], Any], part: Part) -> list[Array]:
    """Scores of each validation part, by a model of the training part beside it."""
    return [
        _scores(_Learnable(make, part).fit(*part.of(train)), part.X[validation])
        for train, validation in part.parts
    ]


def _average_precisions(scores: Sequence[Array], labels: Sequence[Array]) -> Array:
    """Those of the attributes, means over the parts where they were learnt and have both classes.

    As the estimators that search take them; NaN where there is no such part.
    """
    aps = np.full((len(labels), labels[0].shape[1]), np.nan)
    for row, z, y in zip(aps, scores, labels, strict=True):
        learnt = np.flatnonzero(~np.isnan(z).any(axis=0))
        row[learnt] = AVERAGE_PRECISION(2 * y[:, learnt] - 1, z[:, learnt], learnt)
    n_parts = (~np.isnan(aps)).sum(axis=0)
    means: Array = np.full(aps.shape[1], np.nan)
    np.divide(np.nansum(aps, axis=0), n_parts, out=means, where=n_parts > 0)
    return means


def tuned(part: Part, estimator: Any) -> Fitted:
    """An estimator that searches by itself, on the same parts, and calibrates itself."""
    places = np.full(len(part.X), -1)
    places[part.refit] = np.arange(len(part.refit))
    splits = [tuple(places[half] for half in halves) for halves in part.parts]
    if any((half < 0).any() for halves in splits for half in halves):
        raise ValueError("refit: a search that refits by itself takes all rows that it has seen.")
    estimator.set_params(cv=splits)
    estimator.fit(*part.of(part.refit))

    def log_odds(rows: Array) -> Array:
        found: Array = _scores(estimator, rows) * estimator.calibration_
        return found

    strengths = [name for name in ("shared_strength", "own_strength") if name in estimator.report_]
    chosen = {
        name: [_plain(v) for v in sorted({float(v) for v in estimator.report_[name]})]
        for name in strengths
    }
    results = estimator.cv_results_
    log = [
        {key: _plain(value) for key, value in line.items()} for line in results.to_dict("records")
    ]
    notes = _notes(estimator)
    if hasattr(estimator, "sharing_"):
        notes["sharing"] = int(np.sum(estimator.sharing_))
    return Fitted(log_odds, chosen, log, notes)


def _scores(model: Any, X: Array) -> Array:
    return np.asarray(model.decision_function(X), dtype=np.float64).reshape(len(X), -1)


def sigmoids(held: Array, labels: Array) -> Calibration:
    """Sigmoids of the attributes, as the estimators that search calibrate themselves."""
    return calibration(held, labels, np.ones_like(labels))


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def _notes(model: Any) -> dict[str, Any]:
    report = fit_report(model)
    notes = {key: _plain(report[key]) for key in KEPT if key in report}
    if "coef" in report.get("sparsity", {}):
        notes["zeros"] = round(report["sparsity"]["coef"], 4)
    return notes


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else str(value)
    return value
