"""Models of several runs side by side: their scores by attribute and the differences of these."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from proxmtl.experiments import attribute_metrics
from proxmtl.experiments.intervals import (
    accuracy_interval,
    ap_interval,
    auc_interval,
    paired_differences,
)
from proxmtl.report.runs import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxmtl.report.runs import HeldOut, ReportedRun

__all__ = ["Comparison", "all_names", "by_sharing", "compare_models", "scores_by_attribute"]

ALONE, SHARING = "the single-task model", "the shared model"
DECISIONS = ("precision", "recall", "f1")


def all_names(runs: Sequence[ReportedRun]) -> list[str]:
    """Attributes of all runs, those of the first run first."""
    return list(dict.fromkeys(name for run in runs for name in run.names))


def scores_by_attribute(model: Model) -> pd.DataFrame:
    """Scores of a model with 95 % intervals, numbers of labels and, where known, decisions.

    Returns
    -------
    pandas.DataFrame
        Index: its attributes. Columns ``ap``, ``auc`` and ``accuracy``, each with the ends of its
        interval as ``ap_low``, ``ap_high`` and so on; ``majority``, ``prevalence``, ``labels``,
        ``positives``, ``fitted_labels``, ``fitted_positives``, ``gain``, ``gain_error``,
        ``shared``, ``threshold``, ``precision``, ``recall``, ``f1``; NaN where not known.
    """
    given, run = model.table, model.run
    table = given[["ap", "auc", "accuracy", "majority", "prevalence"]].astype(float)
    labels = given["n_observed"].to_numpy(float)
    positives = np.round(labels * np.nan_to_num(table["prevalence"].to_numpy()))
    table["labels"], table["positives"] = labels, positives
    table["ap_low"], table["ap_high"] = ap_interval(table["ap"], positives)
    ends = auc_interval(table["auc"], positives, labels - positives)
    table["auc_low"], table["auc_high"] = ends
    ends = accuracy_interval(table["accuracy"], labels)
    table["accuracy_low"], table["accuracy_high"] = ends
    for name in ("fitted_labels", "fitted_positives"):
        table[name] = given[name].astype(float) if name in given else np.nan
    for name in ("gain", "gain_error", "shared"):
        table[name] = np.nan if run.sharing is None else run.sharing[name].astype(float)
    if run.sharing is not None:
        table["fitted_labels"] = run.sharing["labels"].astype(float)
        table["fitted_positives"] = run.sharing["positives"].astype(float)
    table["threshold"] = np.nan if run.thresholds is None else run.thresholds
    for name in DECISIONS:
        table[name] = np.nan
    if run.held_out is not None and len(run.metrics) == 1:
        table[list(DECISIONS)] = _decisions(run.held_out)
    return table


def _decisions(held_out: HeldOut) -> np.ndarray:
    """Precision, recall and F1 of the decisions on labels held out, (M, 3)."""
    yes, right = held_out.scores > 0, held_out.labels > 0
    hits = (yes & right).sum(axis=0)
    said, true = yes.sum(axis=0), right.sum(axis=0)
    with np.errstate(invalid="ignore"):
        shares = (hits / said, hits / true, 2 * hits / (said + true))
    return np.stack(shares, axis=1)


class Comparison(NamedTuple):
    """A model beside the first one."""

    reference: str
    label: str
    table: pd.DataFrame
    """Index: attributes that both have a score of. Columns ``difference``, ``low``, ``high``."""
    mean: float
    mean_low: float
    """NaN where the two are not of the same samples, or these are not in the folders."""
    mean_high: float
    ahead: int
    """Attributes of which it has the higher AP."""
    behind: int
    same_samples: bool | None
    """None: the folders do not say."""
    n_resamples: int = 0
    n_samples: int = 0


def compare_models(reference: Model, other: Model) -> Comparison | None:
    """Compare the average precisions of two models; None where they have no attribute in common."""
    names = [name for name in reference.table.index if name in other.table.index]
    difference = (other.table["ap"].loc[names] - reference.table["ap"].loc[names]).dropna()
    names = [str(name) for name in difference.index]
    if not names:
        return None
    values = difference.to_numpy()
    table = pd.DataFrame({"difference": values, "low": np.nan, "high": np.nan}, index=names)
    low = high = np.nan
    resamples, n_samples = 0, 0
    pair = [_held_out_of(model, names) for model in (reference, other)]
    a, b = pair
    same = None
    if a is not None and b is not None:
        same = a.same_samples(b)
        if same:
            found = paired_differences(a.scores, b.scores, a.labels)
            table["low"], table["high"] = found.low, found.high
            low, high = found.mean_low, found.mean_high
            resamples, n_samples = found.n_resamples, len(a.rows)
    elif not _same_counts(reference.table.loc[names], other.table.loc[names]):
        same = False
    return Comparison(
        reference.label,
        other.label,
        table,
        mean=float(values.sum() / len(values)),
        mean_low=low,
        mean_high=high,
        ahead=int((values > 0).sum()),
        behind=int((values < 0).sum()),
        same_samples=same,
        n_resamples=resamples,
        n_samples=n_samples,
    )


def _held_out_of(model: Model, names: Sequence[str]) -> HeldOut | None:
    held_out = model.run.held_out
    if held_out is None or len(model.run.metrics) != 1:
        return None
    column: dict[Any, int] = {name: number for number, name in enumerate(model.run.names)}
    return held_out.of([column[name] for name in names])


def _same_counts(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    columns = ["n_observed", "prevalence"]
    return bool(np.allclose(first[columns], second[columns], rtol=1e-5, equal_nan=True))


def by_sharing(run: ReportedRun) -> tuple[Model, Model] | None:
    """Models of the attributes that share, each alone and sharing, on the labels held out.

    None where the run doesn't keep scores of its single-task model, or nothing is shared.
    """
    held_out, report = run.held_out, run.sharing
    if held_out is None or held_out.alone is None or report is None:
        return None
    columns = [m for m, shared in enumerate(report["shared"].tolist()) if shared]
    if not columns:
        return None
    both = held_out.of(columns)
    assert both.alone is not None
    names = [str(run.names[column]) for column in columns]
    found = []
    for label, scores in ((ALONE, both.alone), (SHARING, both.scores)):
        table = attribute_metrics(np.nan_to_num(scores), both.labels, names)
        mine = both._replace(scores=scores, probabilities=None, alone=None)
        part = replace(run, names=names, held_out=mine, metrics={label: table})
        found.append(Model(label, table, part))
    return found[0], found[1]
