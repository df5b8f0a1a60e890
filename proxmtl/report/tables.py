"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from proxmtl.report.names import NameColumn

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "attribute_table",
    "class_table",
    "comparison_table",
    "figures_table",
    "group_table",
    "option_table",
    "sharing_table",
    "side_by_side_table",
]


def _table(names: str, *figures: str, title: str | None = None) -> Table:
    """Make a table of a column of names, which gives way, and columns of figures, which don't."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column(names)
    for column in figures:
        table.add_column(escape(column), justify="right", no_wrap=True)
    return table


def _cells(names: Iterable[object]) -> list[Any]:
    return NameColumn([str(name) for name in names]).cells()


def _percent(value: float) -> str:
    # a gain of -0.01 is 0.0, and not -0.0
    return "-" if not np.isfinite(value) else f"{round(100 * value, 1) + 0.0:.1f}"


def attribute_table(metrics: pd.DataFrame) -> Table:
    """One line per attribute, from `proxmtl.experiments.attribute_metrics`."""
    heads = ("AP %", "AUC %", "F1 %", "acc. %", "maj. %", "yes %", "labels")
    keys = ("ap", "auc", "f1", "accuracy", "majority", "prevalence")
    table = _table("attribute", *heads)
    rows = zip(_cells(metrics.index), metrics.iterrows(), strict=True)
    for name, (_, row) in rows:
        figures = [_percent(row[key]) for key in keys]
        table.add_row(name, *figures, f"{int(row['n_observed'])}")
    return table


def group_table(means: pd.DataFrame, *, title: str | None = None) -> Table:
    """One line per group and the total, from `proxmtl.experiments.group_means`."""
    keys = ("ap", "auc", "f1", "accuracy", "majority")
    heads = ("mean AP %", "AUC %", "F1 %", "acc. %", "maj. %")
    table = _table("group", "attributes", *heads, title=title)
    table.caption = "acc.: accuracy; maj.: accuracy of always giving the more frequent answer"
    table.caption_justify = "left"
    last = len(means) - 1
    rows = zip(_cells(means.index), means.iterrows(), strict=True)
    for number, (name, (_, row)) in enumerate(rows):
        figures = [_percent(row[key]) for key in keys]
        table.add_row(
            name,
            f"{int(row['n_attributes'])}",
            *figures,
            style="bold" if number == last else None,
            end_section=number == last - 1,
        )
    return table


def sharing_table(report: pd.DataFrame, *, title: str | None = None) -> Table:
    """One line per attribute, from ``report_`` of an estimator that chose whether to share."""
    figures = ("shares", "alone %", "as fitted %", "gain %", "positives")
    table = _table("attribute", *figures, title=title)
    rows = zip(_cells(report.index), report.iterrows(), strict=True)
    for name, (_, row) in rows:
        error = f" ± {_percent(row['gain_error'])}" if np.isfinite(row["gain_error"]) else ""
        gain = f"{_percent(row['gain'])}{error}" if row["shared"] else "-"
        table.add_row(
            name,
            "yes" if row["shared"] else "no",
            _percent(row["score_alone"]),
            _percent(row["score"]),
            gain,
            f"{int(row['positives'])}",
        )
    return table


def class_table(accuracy: pd.DataFrame, *, title: str | None = None) -> Table:
    """One line per class and their mean: columns accuracy, images, tied."""
    table = _table("class", "accuracy %", "images", "tied", title=title)
    last = len(accuracy) - 1
    rows = zip(_cells(accuracy.index), accuracy.iterrows(), strict=True)
    for number, (name, (_, row)) in enumerate(rows):
        table.add_row(
            name,
            _percent(row["accuracy"]),
            f"{int(row['images'])}",
            f"{int(row['tied'])}",
            end_section=number == last,
        )
    table.add_row(
        "mean over classes",
        _percent(float(accuracy["accuracy"].mean())),
        f"{int(accuracy['images'].sum())}",
        f"{int(accuracy['tied'].sum())}",
        style="bold",
    )
    return table


def comparison_table(rows: Mapping[str, Mapping[str, Any]], *, title: str | None = None) -> Table:
    """Models as columns, figures as lines; the values are shown as they come."""
    table = _table("", *rows, title=title)
    lines = list(dict.fromkeys(line for row in rows.values() for line in row))
    for line, name in zip(lines, _cells(lines), strict=True):
        table.add_row(name, *(escape(str(row.get(line, "-"))) for row in rows.values()))
    return table


def option_table(rows: Mapping[str, Mapping[str, Any]], *, title: str | None = None) -> Table:
    """Runs as columns, options as lines; long values are folded, names of options are not."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    for run in rows:
        table.add_column(escape(run), justify="right", overflow="fold")
    for name in dict.fromkeys(name for row in rows.values() for name in row):
        table.add_row(escape(name), *(escape(str(row.get(name, "-"))) for row in rows.values()))
    return table


def side_by_side_table(scores: pd.DataFrame, *, title: str | None = None) -> Table:
    """One line per attribute and group, from `proxmtl.report.side_by_side`."""
    models = list(dict.fromkeys(scores["model"]))
    table = _table("", *models, title=title)
    lines = [part for _, part in scores.groupby(["kind", "name"], sort=False)]
    kinds = [part["kind"].iloc[0] for part in lines]
    last = kinds.count("attribute") - 1  # before the groups and the total
    names = _cells(part["name"].iloc[0] for part in lines)
    for number, (name, kind, part) in enumerate(zip(names, kinds, lines, strict=True)):
        cells = [_score_cell(row) for _, row in part.iterrows()]
        style = None if kind == "attribute" else "bold"
        table.add_row(name, *cells, style=style, end_section=number == last)
    return table


def _score_cell(row: pd.Series[Any]) -> str:
    """A score with its difference from the first one, and the interval of that."""
    text = _percent(row["ap"])
    if np.isfinite(row["difference"]):
        text += f" ({100 * row['difference']:+.1f}"
        if np.isfinite(row["low"]):
            text += f", {100 * row['low']:+.1f}..{100 * row['high']:+.1f}"
        text += ")"
    return text


def figures_table(figures: Mapping[str, Any]) -> Table:
    """Names and values in two columns, without a frame."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in figures.items():
        table.add_row(escape(name), escape(str(value)))
    return table
