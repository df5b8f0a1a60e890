"""What ``fit`` and ``tune`` do with a fitted model: score it, write its run folder, say so."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from proxmtl.cli.console import say_warning, shown_path
from proxmtl.cli.fitted_attributes import labels_at
from proxmtl.cli.inputs import pair_scores_of, scores_of
from proxmtl.cli.predictions import predictions_text, probabilities_of, split_text
from proxmtl.cli.ranks import first
from proxmtl.cli.run import (
    groups_by_name,
    named_groups,
    scored_on,
    sharing_line,
    summary_lines,
    with_fitted_labels,
    write_run,
)
from proxmtl.cli.run_page import PAGE_FILE
from proxmtl.experiments import attribute_metrics, fit_report, group_means
from proxmtl.io.atomic import write_text
from proxmtl.io.identity import write_fitted_rows
from proxmtl.io.names import METRICS_FILE, PREDICTIONS_FILE, SPLIT_FILE
from proxmtl.label_arrays import SparseLabels
from proxmtl.label_coding import numbers_by_attribute
from proxmtl.report.cautions import (
    few_fitted,
    few_positives,
    never_yes,
    too_good,
    without_weights,
    zero_attributes,
)
from proxmtl.report.tables import figures_table, group_table
from proxmtl.report.verdict import scaling_of
from proxmtl.result import Status
from proxmtl.row_sources import FeatureRows, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from rich.console import Console

    from proxmtl.cli.inputs import LabelledSamples
    from proxmtl.cli.parts import Parts
    from proxmtl.estimators.base import LinearModel
    from proxmtl.groups import Groups

__all__ = ["Outcome", "show_outcome", "write_fitted"]


class Outcome(NamedTuple):
    """Scores of a fitted model, and what its solver reported."""

    means: pd.DataFrame | None
    """By group; None: the model could not be scored."""
    on: str
    report: dict[str, Any]
    sharing: str | None = None
    """What a model that chose whether to share found."""
    scaling: str = ""
    """How it scales features."""
    zero: str | None = None
    """Which attributes have no weights, and what to do."""
    wary: tuple[str, ...] = ()
    """What to be wary of in the scores: of rows that were fitted on, of few labels, of no yes."""


def write_fitted(
    folder: Path,
    parts: Parts,
    *,
    model: LinearModel,
    data: LabelledSamples,
    rows: tuple[Any, Any],
    groups: Groups | None,
    config: Mapping[str, Any],
) -> Outcome:
    """Score a model on the rows held out (without any, on those it was fitted on); write its run.

    Parameters
    ----------
    folder
        An existing folder, as `proxmtl.io.new_run_folder` gives it.
    parts
        Takes what can't be scored or saved, besides the model.
    rows
        Rows fitted, rows held out.
    config
        Joined by the numbers of rows and the model's parameters.
    """
    parts.begin()
    if data.feature_names is not None:  # as if the model had been fitted on a data frame
        model.feature_names_in_ = np.array(data.feature_names, dtype=object)
    train, test = rows
    scored = test if len(test) else train
    on = scored_on(len(train), len(test), "row")
    report = fit_report(model)
    names = None if data.ids is None else [data.ids[row] for row in train]
    tables: dict[str, pd.DataFrame] = {}

    scores: list[Any] = []
    known = labels_at(data.Y, scored)

    def score() -> None:
        if isinstance(known, SparseLabels):
            # of a model without a search, which has no other beside it
            scores[:] = pair_scores_of(model, rows_of(data.X, scored), known), None
        else:
            scores.append(scores_of(model, rows_of(data.X, scored)))
            alone = getattr(model, "single_task_", None)
            if alone is not None and model.sharing_.any():
                scores.append(scores_of(alone, rows_of(data.X, scored)))
            else:
                scores.append(None)
        table = attribute_metrics(scores[0], known, data.names)
        tables["model"] = with_fitted_labels(table, data.Y[train])

    parts.save(METRICS_FILE, score)
    means = group_means(tables["model"], named_groups(groups)) if tables else None
    write_run(
        folder,
        parts,
        model=model,
        metrics=tables,
        summary={
            "scored_on": on,
            "groups": {} if means is None else _records(means),
            "fit": report,
        },
        config={
            **config,
            "rows": {"fitted": len(train), "held_out": len(test)},
            "groups": groups_by_name(groups, data.names),
            "match": dict(data.record),
            "parameters": {
                name: value
                for name, value in model.get_params(deep=False).items()
                if name not in {"groups", "label_names"}
            },
        },
        histories={"model": model.result_.history},
    )
    for name, table in (
        ("sharing.csv", getattr(model, "report_", None)),
        ("candidates.csv", getattr(model, "cv_results_", None)),
    ):
        if table is not None:
            text = table.to_csv(float_format="%.6g", index=name == "sharing.csv")
            parts.save(name, partial(write_text, folder / name, text))
    split = partial(split_text, data.ids, data.Y.shape[0], train, test)
    parts.save(SPLIT_FILE, lambda: write_text(folder / SPLIT_FILE, split()))
    if len(test) and tables:
        held = test if data.ids is None else [data.ids[row] for row in test]
        text = partial(
            predictions_text,
            scores[0],
            known,
            data.names,
            held,
            identified=data.ids is not None,
            probabilities=probabilities_of(model, scores[0]),
            alone=scores[1],
        )
        parts.save(PREDICTIONS_FILE, lambda: write_text(folder / PREDICTIONS_FILE, text()))
    if first():  # one rank writes what reads all features
        parts.save(
            "fitted_rows.npy",
            lambda: write_fitted_rows(folder, _rows(data.X, train), names),
        )
    positives = numbers_by_attribute(data.Y[scored])[0]
    wary = few_positives(data.names, positives) if len(test) else []
    wary += few_fitted(data.names, *numbers_by_attribute(data.Y[train]))
    if scores and not len(test):
        wary.insert(0, too_good(on))
    elif scores:
        # those without weights get a warning of their own
        silent = (positives > 0) & model.coef_.any(axis=1) & ~_said(scores[0], known)
        wary += never_yes(data.names, silent, model.get_params(deep=False))
    zero = _zero(model, data.names, config)
    chosen = getattr(model, "report_", None)
    scaling = "" if chosen is None else scaling_of(chosen)
    return Outcome(means, on, report, _sharing(model), scaling, zero, tuple(wary))


def _said(scores: Any, known: Any) -> NDArray[np.bool_]:
    """Attributes for which some row that has a label is called a yes, (M,)."""
    said = np.zeros(known.shape[1], np.bool_)
    if isinstance(known, SparseLabels):
        said[known.tasks[scores > 0]] = True
    else:
        said |= ((scores > 0) & ~np.isnan(known)).any(axis=0)
    return said


def _rows(X: Any, rows: Any) -> Any:
    """Rows one by one, without a copy of all; those of sparse features as sparse features."""
    whole = sparse.issparse(X) or isinstance(X, FeatureRows)
    return rows_of(X, rows) if whole else (X[row] for row in rows)


def _sharing(model: LinearModel) -> str | None:
    chosen = getattr(model, "sharing_", None)
    return None if chosen is None else sharing_line(chosen, getattr(model, "report_", None))


def _zero(model: LinearModel, names: Sequence[str], config: Mapping[str, Any]) -> str | None:
    """Which attributes have no weights; None where none is such, or the solver says so itself."""
    dead = zero_attributes(names, model.coef_)
    if not dead or model.result_.status is Status.COLLAPSED:
        return None
    chosen = hasattr(model, "sharing_") or "search" in config
    return without_weights(dead, len(names), chosen=chosen)


def show_outcome(console: Console, outcome: Outcome, out: Path) -> None:
    """Print the scores, the solver's report and where the run is."""
    if outcome.means is not None:
        console.print(group_table(outcome.means, title=f"Scores on {outcome.on}"))
    lines = summary_lines(outcome.report)
    if outcome.sharing is not None:  # of a search, the solver's other figures are in the run
        scaled = {"features": outcome.scaling} if outcome.scaling else {}
        lines = {"sharing": outcome.sharing, **scaled, "status": lines["status"]}
    console.print(figures_table(lines))
    for warning in (*outcome.wary, *([] if outcome.zero is None else [outcome.zero])):
        say_warning(warning)
    console.print(f"\nrun folder -> {shown_path(out)}")
    if (out / PAGE_FILE).is_file():
        console.print(f"page -> {shown_path(out / PAGE_FILE)}")


def _records(means: pd.DataFrame) -> dict[str, Any]:
    # By dict, not by row: a row of a table has one type, and counts would become 5.0.
    lines = means.to_dict(orient="index")
    return {str(name): line for name, line in lines.items()}
