"""What to be wary of in the scores of a run, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from proxmtl.report.names import out_of, some
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from proxmtl.report.runs import ReportedRun

__all__ = [
    "few_fitted",
    "few_positives",
    "never_yes",
    "run_warnings",
    "too_good",
    "without_weights",
    "zero_attributes",
]

FEW = 10
"""Labels of an answer below which a score of an attribute, or a fit, says little."""


def zero_attributes(names: Sequence[str], coefficients: NDArray[Any]) -> list[str]:
    """Attributes all of whose coefficients, (M, D), are zero."""
    return [name for name, row in zip(names, coefficients, strict=True) if not row.any()]


def without_weights(names: Sequence[str], total: int, *, chosen: bool) -> str:
    """Say which attributes a model predicts without the features, and what to do.

    Parameters
    ----------
    names
        Of attributes all of whose weights are zero, at least one.
    total
        Number of attributes.
    chosen
        Whether the strengths were chosen by validation.
    """
    count = len(names)
    advice = (
        "No strength that was tried did better with weights; more labels, or other features, may."
        if chosen
        else "The strengths are too large for that; give smaller ones, or let --auto choose them."
    )
    which = "" if count == total else f": {some(names)}"
    return (
        f"All weights of {out_of(count, total)} are zero, so {agree(count, 'it is', 'they are')} "
        f"predicted by the intercept alone, alike for every sample{which}. {advice}"
    )


def run_warnings(run: ReportedRun, tables: Sequence[pd.DataFrame]) -> list[str]:
    """Say what to be wary of in the figures of a run."""
    found = []
    status = str(run.report.get("status", ""))
    if status and status != "CONVERGED":
        found.append(f"The solver ended with {status}. {run.lines.get('status', '')}".strip())
    if run.dead:
        chosen = run.sharing is not None or run.search is not None
        found.append(without_weights(run.dead, len(run.names), chosen=chosen))
    if run.metrics and not run.held_out_metrics:
        found.append(too_good(run.scored_on))
    images = run.config.get("images", {})
    named = images.get("skipped_images") or run.config.get("skipped") or []  # of a training
    skipped = max(len(named), images.get("skipped", 0))
    if skipped:
        where = "; config.json names them" if named else ""
        found.append(
            f"{counted(skipped, 'image')} {agree(skipped, 'was', 'were')} left out, missing or not "
            f"to be decoded{where}."
        )
    if not run.metrics:
        found.append("The folder has no metrics_by_attribute.csv: the model could not be scored.")
    for table in tables[:1]:
        names = [str(name) for name in table.index]
        positives = table["positives"].where(np.isfinite(table["ap"]), 0)
        found += few_positives(names, positives.to_numpy(float))
        fitted = table["fitted_positives"].to_numpy(float), table["fitted_labels"].to_numpy(float)
        found += few_fitted(names, fitted[0], fitted[1] - fitted[0])
    if run.held_out is not None and len(run.metrics) == 1:
        said = ((run.held_out.scores > 0) & np.isfinite(run.held_out.labels)).any(axis=0)
        there = (run.held_out.labels > 0).any(axis=0)
        live = np.array([name not in set(run.dead) for name in run.names])
        parameters = run.config.get("parameters", {})
        found += never_yes(list(run.names), there & live & ~said, parameters)
    left_out = run.config.get("match", {}).get("attributes_left_out") or []
    if left_out:
        found.append(f"Left out of the fit as too rare: {some([str(name) for name in left_out])}.")
    notes = run.config.get("search", {}).get("notes") or []
    return found + [str(note) for note in notes]


def too_good(scored_on: str) -> str:
    """Say what to think of scores on the rows that a model was fitted on."""
    return (
        f"Scores are of {scored_on}, which the model was fitted on: they are too good to "
        "expect on new ones. Score others with proxmtl evaluate, or fit with a hold-out."
    )


def never_yes(
    names: Sequence[str], silent: NDArray[np.bool_], parameters: Mapping[str, Any]
) -> list[str]:
    """Say for which attributes a model calls nothing a yes, though some of the labels are.

    Parameters
    ----------
    names
        Of the M attributes.
    silent
        (M,): which they are.
    parameters
        Of the model, which tell what would say yes more often.
    """
    which = [name for name, it in zip(names, silent, strict=True) if it]
    if not which:
        return []
    cure = ""
    if parameters.get("threshold") == "probability":
        cure = "; --threshold f1 says yes more often"
    elif "threshold" not in parameters and parameters.get("class_weight") is None:
        cure = "; --balanced says yes more often"
    text = (
        f"The model says yes to none of the scored rows for {out_of(len(which), len(names))}, "
        f"though some are: {some(which)}. Its ranking of the rows may still be of use (AP, AUC)"
        f"{cure}."
    )
    return [text]


def few_positives(names: Sequence[str], positives: NDArray[Any]) -> list[str]:
    """Say which attributes were scored on no positive labels, or on few.

    Parameters
    ----------
    names
        Of the M attributes.
    positives
        (M,): positive labels that were scored.
    """
    found = []
    without = [name for name, count in zip(names, positives, strict=True) if not count > 0]
    if without:
        found.append(
            f"No AP, as no positive label was scored, and left out of the means: {some(without)}."
        )
    few = [name for name, count in zip(names, positives, strict=True) if 0 < count < FEW]
    if few:
        found.append(
            f"{out_of(len(few), len(names))} {agree(len(few), 'was', 'were')} scored on fewer "
            f"than {FEW} positive labels; {agree(len(few), 'its', 'their')} "
            f"{agree(len(few), 'interval is', 'intervals are')} wide: {some(few)}."
        )
    return found


def few_fitted(names: Sequence[str], yes: NDArray[Any], no: NDArray[Any]) -> list[str]:
    """Say which attributes were fitted on few labels of one of the answers.

    Parameters
    ----------
    names
        Of the M attributes.
    yes, no
        (M,): labels of the fit with that answer; NaN where that isn't known.
    """
    rarer = np.minimum(yes, no)
    few = [name for name, count in zip(names, rarer, strict=True) if count < FEW]
    if not few:
        return []
    were = agree(len(few), "was", "were")
    text = (
        f"{out_of(len(few), len(names))} {were} fitted on fewer than {FEW} labels of yes or of no, "
        f"from which little can be learned: {some(few)}."
    )
    return [text]
