"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["attribute_table", "class_table", "comparison_table", "figures_table", "group_table"]


def _table(*, title: str | None = None) -> Table:
    return Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")


def _percent(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{100 * value:.1f}"


def attribute_table(metrics: pd.DataFrame) -> Table:
    """One line per attribute, from `proxmtl.experiments.attribute_metrics`."""
    table = _table()
    table.add_column("attribute")
    for column in ("AP %", "accuracy %", "majority %", "positive %", "labels"):
        table.add_column(column, justify="right")
    for name, row in metrics.iterrows():
        figures = [_percent(row[key]) for key in ("ap", "accuracy", "majority", "prevalence")]
        table.add_row(escape(str(name)), *figures, f"{int(row['n_observed'])}")
    return table


def group_table(means: pd.DataFrame, *, title: str | None = None) -> Table:
    """One line per group and the total, from `proxmtl.experiments.group_means`."""
    table = _table(title=title)
    table.add_column("group")
    for column in ("attributes", "mean AP %", "accuracy %", "majority %"):
        table.add_column(column, justify="right")
    last = len(means) - 1
    for number, (name, row) in enumerate(means.iterrows()):
        figures = [_percent(row[key]) for key in ("ap", "accuracy", "majority")]
        table.add_row(
            escape(str(name)),
            f"{int(row['n_attributes'])}",
            *figures,
            style="bold" if number == last else None,
            end_section=number == last - 1,
        )
    return table


def class_table(accuracy: pd.DataFrame, *, title: str | None = None) -> Table:
    """One line per class and their mean: columns accuracy, images, tied."""
    table = _table(title=title)
    table.add_column("class")
    for column in ("accuracy %", "images", "tied"):
        table.add_column(column, justify="right")
    last = len(accuracy) - 1
    for number, (name, row) in enumerate(accuracy.iterrows()):
        table.add_row(
            escape(str(name)),
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
    table = _table(title=title)
    table.add_column("")
    for name in rows:
        table.add_column(escape(name), justify="right")
    lines = list(dict.fromkeys(line for row in rows.values() for line in row))
    for line in lines:
        cells = [escape(str(row.get(line, "-"))) for row in rows.values()]
        table.add_row(escape(line), *cells)
    return table


def figures_table(figures: Mapping[str, Any]) -> Table:
    """Names and values in two columns, without a frame."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in figures.items():
        table.add_row(escape(name), escape(str(value)))
    return table
