"""Charts of a search of strengths, from the table of its candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from proxmtl.report.curve_charts import search_chart

if TYPE_CHECKING:
    import pandas as pd

    from proxmtl.report.runs import ReportedRun
    from proxmtl.report.vega import Spec

__all__ = ["search_charts"]

_AXES = (
    ("shared_strength", "own_strength"),
    ("mu_gamma", "mu2_lambda"),
    ("strength", None),
)
"""Strength on the axis, and the one that tells lines apart, by the columns of the table."""


def search_charts(run: ReportedRun) -> list[tuple[str, Spec, bool]]:
    """Title and chart of each path of a search, and whether the best score is on it.

    None where the table is of another kind.
    """
    table = run.search
    if table is None:
        return []
    score = next((c for c in ("mean", "score", "validation_loss") if c in table), None)
    axes = next((pair for pair in _axes_of(table)), None)
    if score is None or axes is None:
        return []
    x, other = axes
    rows = _rows(table, x, other, score)
    named = {"mean": "mean AP", "score": "mean AP", "validation_loss": "validation loss"}[score]
    if run.config.get("parameters", {}).get("scoring", "average_precision") != "average_precision":
        named = "mean score"
    percent = named == "mean AP"
    found = []
    finite = [row for row in rows if np.isfinite(row["x"]) and row["x"] > 0]
    alone = [
        {**row, "x": row["other_value"], "other": row["scaling"]}
        for row in rows
        if np.isinf(row["x"])
    ]
    if finite:
        title = "Attributes that share" if alone else "Candidates of the search"
        chart = search_chart(
            finite, x=_words(x), y=named, other=other and _words(other), percent=percent
        )
        found.append((title, chart, _has_best(finite)))
    if alone:
        scaled = "scaling" if len({row["other"] for row in alone}) > 1 else None
        chart = search_chart(alone, x=_words(other or x), y=named, other=scaled, percent=percent)
        title = "Without a shared part" if scaled else "Each attribute alone"
        found.append((title, chart, _has_best(alone)))
    return found


def _has_best(rows: list[dict[str, Any]]) -> bool:
    return any(row["best"] for row in rows)


def _axes_of(table: pd.DataFrame) -> list[tuple[str, str | None]]:
    known = [(x, y) for x, y in _AXES if x in table and (y is None or y in table)]
    named = [str(c) for c in table if str(c).endswith("strength")]
    return known or [(x, None) for x in named[:1]]


def _rows(table: pd.DataFrame, x: str, other: str | None, score: str) -> list[dict[str, Any]]:
    """One row a candidate, of the mean over its splits; those without a score are left out."""
    keys = [*([x] if other is None else [x, other]), *(["scaling"] if "scaling" in table else [])]
    rows: list[dict[str, Any]] = []
    for key, part in table.groupby(keys, sort=True):
        values = part[score].to_numpy(float)
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        mean = float(values.sum() / len(values))
        error = np.nan
        if "standard_error" in part and len(part) == 1:
            error = float(part["standard_error"].iloc[0])
        elif len(values) > 1 and "split" in part:
            error = float(np.sqrt(np.square(values - mean).sum() / (len(values) - 1) / len(values)))
        numbers = [float(value) for value in key[: 1 if other is None else 2]]
        rows.append(
            {
                "x": numbers[0],
                "other": f"{numbers[-1]:.3g}",
                "other_value": numbers[-1],
                "scaling": str(key[-1]) if "scaling" in table else "",
                "y": mean,
                "low": mean - error,
                "high": mean + error,
            }
        )
    scores = [row["y"] for row in rows]
    best = (min if score == "validation_loss" else max)(scores, default=np.nan)
    return [{**row, "best": row["y"] == best} for row in rows]


def _words(name: str) -> str:
    return {"mu_gamma": "mu gamma", "mu2_lambda": "mu² lambda"}.get(name, name.replace("_", " "))
