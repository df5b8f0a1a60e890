"""Scores of several runs in one table, with what was different about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from proxmtl.report.comparison import all_names, compare_models
from proxmtl.report.runs import models_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxmtl.report.comparison import Comparison
    from proxmtl.report.runs import Model, ReportedRun

__all__ = ["option_differences", "scores_side_by_side"]

TOTAL = "Total"


def scores_side_by_side(runs: Sequence[ReportedRun]) -> pd.DataFrame:
    """Average precision of each model by attribute and by group, beside that of the first one.

    Parameters
    ----------
    runs
        At least one. Groups are those of the first run that has some.

    Returns
    -------
    pandas.DataFrame
        One line for each model and each attribute, group and the total. Columns ``kind``
        (``"attribute"``, ``"group"`` or ``"total"``), ``name``, ``model``, ``ap``, and where the
        first model has a score too ``difference`` from it, with the ends ``low`` and ``high`` of
        its 95 % interval where both are of the same samples; ``same_rows`` tells whether they are
        (None: a folder does not say). Means over a group are over the attributes that all models
        have a score of.

    Raises
    ------
    ValueError
        If no run has scores.
    """
    models = models_of(runs)
    if not models:
        raise ValueError("RUN: none of them has scores; give runs that were scored when fitted.")
    names = all_names(runs)
    scored = [name for name in names if all(_ap(model, name) is not None for model in models)]
    members = {"total": {TOTAL: scored}, "group": _groups(runs, scored), "attribute": {}}
    members["attribute"] = {name: [name] for name in names}
    # attributes from one draw of rows for all, as in the report
    whole = [None, *(compare_models(models[0], model) for model in models[1:])]
    lines = [
        _line(kind, name, of, models[0], model, comparison)
        for kind in ("attribute", "group", "total")
        for name, of in members[kind].items()
        for model, comparison in zip(models, whole, strict=True)
    ]
    return pd.DataFrame.from_records(lines)


def _line(  # noqa: PLR0917 - what is known of a line
    kind: str,
    name: str,
    of: Sequence[str],
    reference: Model,
    model: Model,
    whole: Comparison | None,
) -> dict[str, Any]:
    values = [value for attribute in of if (value := _ap(model, attribute)) is not None]
    line: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "model": model.label,
        "ap": float(np.mean(values)) if values else np.nan,
        "difference": np.nan,
        "low": np.nan,
        "high": np.nan,
        "same_rows": None,
    }
    if model is reference:
        return line
    if kind == "attribute" and whole is not None and whole.same_samples:
        known = whole.table.loc[name] if name in whole.table.index else {}
        return {**line, **known, "same_rows": True if len(known) else None}
    # where labels differ, those of other attributes may still be the same
    found = compare_models(_part(reference, of), _part(model, of))
    if found is not None:
        line |= {
            "difference": found.mean,
            "low": found.mean_low,
            "high": found.mean_high,
            "same_rows": found.same_samples,
        }
    return line


def _ap(model: Model, name: str) -> float | None:
    """Average precision of an attribute; None if the model has no score of it."""
    if name not in model.table.index:
        return None
    value = float(model.table.loc[name, "ap"])
    return value if np.isfinite(value) else None


def _part(model: Model, names: Sequence[str]) -> Model:
    return model._replace(table=model.table.loc[[n for n in names if n in model.table.index]])


def _groups(runs: Sequence[ReportedRun], scored: Sequence[str]) -> dict[str, list[str]]:
    """Groups of the first run that has some, of attributes that all models have a score of."""
    for run in runs:
        if run.groups:
            found = {
                group: [run.names[column] for column in columns if run.names[column] in scored]
                for group, columns in run.groups.items()
            }
            return {group: names for group, names in found.items() if names}
    return {}


def option_differences(runs: Sequence[ReportedRun]) -> dict[str, list[str | None]]:
    """What was asked of the runs, where that differs: by name, a value for each run; None: nothing.

    Options as they were given, else the parameters of the model; its loss, whose default differs
    between models; the numbers of rows, and the first digits of the hashes of the inputs.
    """
    asked = [_asked(run) for run in runs]
    names = list(dict.fromkeys(name for each in asked for name in each))
    values = {name: [each.get(name) for each in asked] for name in names}
    return {name: given for name, given in values.items() if len(set(given)) > 1}


def _asked(run: ReportedRun) -> dict[str, str]:
    config = run.config
    loss = config.get("parameters", {}).get("loss")
    found = {"model": run.kind, "command": config.get("command"), "loss": loss}
    given = config.get("options", config.get("parameters", {}))
    if "images" in config:  # where features lie that a command kept where it keeps them by default
        given = {**given, "features_file": config["images"].get("features")}
    inputs = {source["path"]: source["sha256"] for source in config.get("inputs", ())}
    found |= {name: _with_hash(value, inputs) for name, value in given.items()}
    found |= {f"rows {part}": number for part, number in config.get("rows", {}).items()}
    return {name: str(value) for name, value in found.items() if value is not None}


def _with_hash(value: Any, inputs: dict[str, str]) -> Any:
    """Name of an input with the first digits of its hash: other files may have the same name."""
    return f"{value} ({inputs[value][:8]})" if isinstance(value, str) and value in inputs else value
