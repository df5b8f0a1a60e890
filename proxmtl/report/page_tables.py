"""Tables of a page: cells with what they show and what they are sorted by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from proxmtl.experiments import TOTAL, group_means
from proxmtl.report.names import printable
from proxmtl.report.verdict import points

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from proxmtl.report.comparison import Comparison
    from proxmtl.report.runs import HeldOut, Latents, Model

__all__ = [
    "Cell",
    "Column",
    "PageTable",
    "attribute_table",
    "change_table",
    "decision_table",
    "group_table",
    "latent_table",
]


@dataclass(frozen=True)
class Cell:
    """What a cell shows, smaller text below it, and the number or text to sort by."""

    text: str
    below: str = ""
    value: float | str | None = None
    """None: last, in whichever order."""


@dataclass(frozen=True)
class Column:
    """The head of a column, and what it means."""

    title: str
    about: str = ""
    number: bool = True
    over: str = ""
    """The title that it shares with its neighbours."""


@dataclass
class PageTable:
    """A table; the first cell of a row is its head."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]] = field(default_factory=list)
    last_apart: bool = False
    """Whether the last row is a total, which sorting leaves at the end."""

    @property
    def spans(self) -> list[tuple[str, int]]:
        """Titles above the heads, with the numbers of columns; empty where there are none."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if found and found[-1][0] == column.over:
                found[-1] = (column.over, found[-1][1] + 1)
            else:
                found.append((column.over, 1))
        return found if any(title for title, _ in found) else []


def _share(value: float, low: float = np.nan, high: float = np.nan) -> Cell:
    if not np.isfinite(value):
        return Cell("–")
    below = f"{100 * low:.0f}–{100 * high:.0f}" if np.isfinite(low) else ""
    return Cell(f"{100 * value:.1f}", below, float(value))


def _points(value: float, below: str = "") -> Cell:
    if not np.isfinite(value):
        return Cell("–")
    return Cell(points(value), below, float(value))


def _count(value: float) -> Cell:
    return Cell(f"{int(value):,}", value=float(value)) if np.isfinite(value) else Cell("–")


def _name(name: str) -> Cell:
    shown = printable(name)
    return Cell(shown, value=shown.casefold())


def attribute_table(
    models: Sequence[tuple[Model, pd.DataFrame]],
    comparisons: Sequence[Comparison],
    names: Sequence[str],
    groups: Mapping[str, Sequence[str]],
) -> PageTable:
    """One line an attribute: scores of each model, differences, and counts of labels."""
    several = len(models) > 1
    member_of: dict[str, list[str]] = {}
    for group, members in groups.items():
        for name in members:
            member_of.setdefault(name, []).append(group)
    columns = [Column("attribute", number=False)]
    if groups:
        columns.append(Column("group", number=False))
    for model, table in models:
        columns += _model_columns(model, table, several=several)
    columns += [
        Column("Δ AP", "points of AP more than the first model, with 95 % interval", over=c.label)
        for c in comparisons
    ]
    columns += [
        Column("yes %", "share of the scored labels that are yes"),
        Column("positives", "scored labels that are yes"),
        Column("labels", "scored labels"),
    ]
    first = models[0][1]
    fitted = bool(np.isfinite(first["fitted_positives"]).any())
    if fitted:
        columns.append(Column("fitted on", "positive labels of the fit, of all its labels"))
    page = PageTable("Scores by attribute", columns)
    for name in names:
        line = [_name(name)]
        if groups:
            line.append(_name(", ".join(member_of.get(name, []))))
        for _, table in models:
            line += _model_cells(table, name, several=several)
        for comparison in comparisons:
            line.append(_difference(comparison, name))
        counts = next((table for _, table in models if name in table.index), first).loc[name]
        line += [
            _share(counts["prevalence"]),
            _count(counts["positives"]),
            _count(counts["labels"]),
        ]
        if fitted:
            cell = _count(counts["fitted_positives"])
            of = counts["fitted_labels"]
            line.append(Cell(cell.text, f"of {of:,.0f}" if np.isfinite(of) else "", cell.value))
        page.rows.append(line)
    return page


def _model_columns(model: Model, table: pd.DataFrame, *, several: bool) -> list[Column]:
    over = model.label if several else ""
    found = [
        Column("AP %", "average precision, with 95 % interval", over=over),
        Column("AUC %", "area under the ROC curve, with 95 % interval", over=over),
        Column("accuracy %", "right decisions, with 95 % interval", over=over),
    ]
    if not several:
        found.append(Column("majority %", "accuracy of always giving the more frequent answer"))
        if np.isfinite(table["f1"]).any():
            found.append(Column("F1 %", "of the decisions on the rows held out"))
    if _shares(table):
        about = (
            "points by sharing, in the cross-validation that chose, ± standard error; not shared "
            "are attributes that do as well alone"
        )
        found.append(Column("gain", about, over=over))
    return found


def _shares(table: pd.DataFrame) -> bool:
    """Whether a model chose to share for some attribute: else there is no gain to show."""
    return bool((table["shared"] == 1).any())


def _model_cells(table: pd.DataFrame, name: str, *, several: bool) -> list[Cell]:
    gain = _shares(table)
    f1 = not several and bool(np.isfinite(table["f1"]).any())
    if name not in table.index:
        return [Cell("–")] * (3 + gain)
    row = table.loc[name]
    found = [
        _share(row["ap"], row["ap_low"], row["ap_high"]),
        _share(row["auc"], row["auc_low"], row["auc_high"]),
        _share(row["accuracy"], row["accuracy_low"], row["accuracy_high"]),
    ]
    if not several:
        found.append(_share(row["majority"]))
    if f1:
        found.append(_share(row["f1"]))
    if gain:
        error = f"± {100 * row['gain_error']:.1f}" if np.isfinite(row["gain_error"]) else ""
        found.append(_points(row["gain"], error) if row["shared"] else Cell("not shared"))
    return found


def _difference(comparison: Comparison, name: str) -> Cell:
    if name not in comparison.table.index:
        return Cell("–")
    row = comparison.table.loc[name]
    below = f"{points(row['low'])} to {points(row['high'])}" if np.isfinite(row["low"]) else ""
    return _points(row["difference"], below)


def group_table(
    models: Sequence[tuple[Model, pd.DataFrame]], groups: Mapping[str, Sequence[str]]
) -> PageTable:
    """One line a group and the total: means over its attributes."""
    several = len(models) > 1
    columns = [Column("group", number=False), Column("attributes")]
    means = []
    for model, _ in models:
        there = set(model.table.index)
        members = {group: [name for name in of if name in there] for group, of in groups.items()}
        known = {group: of for group, of in members.items() if of}
        means.append(group_means(model.table, known or None))
        over = model.label if several else ""
        columns += [
            Column(title, over=over) for title in ("AP %", "AUC %", "accuracy %", "majority %")
        ]
    page = PageTable("Means by group", columns, last_apart=True)
    for group in (*groups, TOTAL):
        present = [mean for mean in means if group in mean.index]
        if not present:
            continue
        line = [_name(group), _count(present[0].loc[group, "n_attributes"])]
        for mean in means:
            line += [
                _share(float(mean.loc[group, key])) if group in mean.index else Cell("–")
                for key in ("ap", "auc", "accuracy", "majority")
            ]
        page.rows.append(line)
    return page


def decision_table(models: Sequence[tuple[Model, pd.DataFrame]], names: Sequence[str]) -> PageTable:
    """One line an attribute: precision, recall and F1 of decisions, and where they change."""
    page = PageTable("Decisions on the rows held out", [Column("attribute", number=False)])
    calibrated = [bool(np.isfinite(table["threshold"]).any()) for _, table in models]
    rows = [table.to_dict("index") for _, table in models]
    for (model, _), known in zip(models, calibrated, strict=True):
        over = model.label if len(models) > 1 else ""
        if known:
            about = "probability from which on it is a yes"
            page.columns.append(Column("threshold", about, over=over))
        page.columns += [
            Column("precision %", "of those that are called yes, how many are", over=over),
            Column("recall %", "of those that are yes, how many are called so", over=over),
            Column("F1 %", "harmonic mean of precision and recall", over=over),
        ]
    for name in names:
        line = [_name(name)]
        for found, known in zip(rows, calibrated, strict=True):
            row = found.get(name)
            if row is None:
                line += [Cell("–")] * (3 + known)
                continue
            if known:
                line.append(Cell(f"{row['threshold']:.2f}", value=float(row["threshold"])))
            line += [_share(row[key]) for key in ("precision", "recall", "f1")]
        page.rows.append(line)
    return page


def change_table(
    first: HeldOut,
    other: HeldOut,
    attributes: Sequence[str],
    comparison: Comparison,
    names: Sequence[str],
) -> PageTable:
    """One line an attribute: the difference of AP, and decisions that one model alone gets right.

    Parameters
    ----------
    first, other
        Scores of the same labels by both.
    attributes
        Of these scores.
    comparison
        Of both.
    names
        Attributes of the page, in its order.
    """
    page = PageTable(
        "Decisions that sharing changes",
        [
            Column("attribute", number=False),
            Column("Δ AP", "points of AP by sharing, with 95 % interval"),
            Column("put right", "decisions that are wrong alone, and right by sharing"),
            Column("put wrong", "decisions that are right alone, and wrong by sharing"),
            Column("labels", "labels held out"),
        ],
    )
    known = np.isfinite(first.labels)
    right_first, right_other = (
        known & ((held.scores > 0) == (held.labels > 0)) for held in (first, other)
    )
    counts = np.stack(
        [
            (~right_first & right_other).sum(axis=0),
            (right_first & ~right_other).sum(axis=0),
            known.sum(axis=0),
        ]
    )
    column = {name: number for number, name in enumerate(attributes)}
    for name in names:
        if name in column:
            figures = [_count(float(count)) for count in counts[:, column[name]]]
            page.rows.append([_name(name), _difference(comparison, name), *figures])
    return page


def latent_table(latents: Latents, names: Sequence[str]) -> PageTable:
    """One line a live latent: how large it is, and which attributes share it."""
    sizes = latents.importance
    total = float(sizes.sum()) or 1.0
    page = PageTable(
        "Latent tasks",
        [
            Column("latent", number=True),
            Column("share %", "of the sizes of all latent tasks"),
            Column("attributes", "that use it"),
            Column("those that use it, the largest weight first", number=False),
        ],
    )
    for k in latents.order[:60]:
        weights = latents.S[k]
        used = [int(m) for m in np.argsort(-np.abs(weights), kind="stable") if weights[m] != 0]
        shown = [f"{'−' if weights[m] < 0 else ''}{printable(names[m])}" for m in used[:8]]
        rest = f" and {len(used) - 8} more" if len(used) > 8 else ""
        page.rows.append(
            [
                Cell(str(k), value=float(k)),
                _share(sizes[k] / total),
                _count(len(used)),
                Cell(", ".join(shown) + rest, value=", ".join(shown).casefold()),
            ]
        )
    return page
