"""Tables as Markdown, from the cells of a log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from proxmtl.backbones.experiments.paired import paired_difference
from proxmtl.backbones.experiments.protocol import Data, PublishedTable, Table
from proxmtl.experiments import TOTAL, group_means

__all__ = ["page"]

NAMES = {"ap": "Average precision", "auc": "Area under the ROC curve", "accuracy": "Accuracy"}
SHARING = "with Nadeau and Bengio's correction for what splits share"
DISJOINT = "which learn from disjoint rows and share a test set"
BESIDE = {"accuracy": "majority", "ap": "prevalence"}
"""What a constant answer reaches."""
PAIRED = ("ap", "accuracy")


def page(table: Table, data: Data, cells: Sequence[Mapping[str, Any]], command: str) -> str:
    """Everything that is said of a table: protocol, figures, tests, rows and choices."""
    lines = [f"## {table.title}", "", f"    {command}", ""]
    lines += [*_sentences(table, data, cells), ""]
    full = [cell for cell in cells if cell["labels"] is None]
    if full:
        for metric in table.metrics:
            lines += [f"{NAMES[metric]}, %:", "", *_by_group(table, data, full, metric), ""]
        lines += _extra(table, full)
        for published in table.published:
            lines += _beside(table, data, full, published)
        lines += _differences(table, full)
        lines += _systems(table, full, command)
        lines += _surfaces(table, full)
    lines += _efficiency(table, cells)
    return "\n".join(lines).rstrip() + "\n"


def _sentences(table: Table, data: Data, cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for paragraph in table.protocol.strip().split("\n\n"):
        yield f"- {' '.join(paragraph.split())}"
    rows = next((cell for cell in cells if cell["labels"] is None), cells[0])["rows"]
    n_splits = len({cell["split"] for cell in cells})
    seconds = sum(cell["cpu_seconds"] for cell in cells)
    versions: dict[str, set[str]] = {}
    for cell in cells:
        for name, version in cell["versions"].items():
            versions.setdefault(name, set()).add(version)
    named = ", ".join(f"{name} {' and '.join(sorted(each))}" for name, each in versions.items())
    turns = rows.get("parts", 1)  # earlier lines are of one part, and don't say so
    learnt = rows["refit"] if turns > 1 else rows["train"]
    chosen = f"{turns} parts of them in turn" if turns > 1 else rows["validation"]
    yield (
        f"- {len(data.X)} rows, {data.X.shape[1]} features, {data.Y.shape[1]} attributes in "
        f"{len(data.groups)} groups; {n_splits} splits of {learnt} rows to learn from, "
        f"{chosen} to choose by and {rows['test']} to test. ± is the standard "
        "deviation over splits; *Total* is the mean over attributes."
    )
    yield f"- {named}; {seconds / 60:.0f} minutes of the processor for all cells."


def _groups_of(data: Data) -> dict[str, list[str]]:
    groups = data.groups
    return {name: [data.names[i] for i in groups.members(g)] for g, name in enumerate(groups.names)}


def _means(data: Data, cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Means over groups of each cell: columns system, split, group and the metrics."""
    found = []
    groups = _groups_of(data)
    for cell in cells:
        metrics = {name: np.array(v, dtype=np.float64) for name, v in cell["metrics"].items()}
        table = pd.DataFrame(metrics, index=pd.Index(cell["attributes"], name="attribute"))
        means = group_means(table, groups).reset_index()
        found.append(means.assign(system=cell["system"], split=cell["split"]))
    return pd.concat(found, ignore_index=True)


def _spread(values: Any) -> str:
    """Mean and deviation over splits, in per cent."""
    per_cent = 100 * np.asarray(values, dtype=np.float64)
    if len(per_cent) < 2:
        return f"{per_cent.mean():.2f}"
    return f"{per_cent.mean():.2f} ± {per_cent.std(ddof=1):.2f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), "|---" * len(cells) + "|"]


def _by_group(
    table: Table, data: Data, cells: Sequence[Mapping[str, Any]], metric: str
) -> list[str]:
    means = _means(data, cells)
    groups = list(dict.fromkeys(means["group"]))
    lines = _head(["", *groups])
    by = means.set_index(["system", "group"])[metric].sort_index()
    for system in table.systems:
        if (system.name, TOTAL) in by.index:
            values = [_spread(by.loc[[(system.name, group)]]) for group in groups]
            lines.append(_row([system.title, *values]))
    if metric in BESIDE:
        first = means[means["system"] == cells[0]["system"]].groupby("group")[BESIDE[metric]].mean()
        values = [f"{100 * first[group]:.2f}" for group in groups]
        lines.append(_row([f"*{BESIDE[metric]}*", *values]))
    return lines


def _extra(table: Table, cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Further figures of the cells, a column each."""
    names = list(dict.fromkeys(name for cell in cells for name in cell["extra"]))
    if not names:
        return []
    lines = _head(["", *(f"{name}, %" for name in names)])
    for system in table.systems:
        mine = [cell["extra"] for cell in cells if cell["system"] == system.name]
        if mine:
            lines.append(
                _row([system.title, *(_spread([m[name] for m in mine]) for name in names)])
            )
    return [*lines, ""]


def _beside(
    table: Table, data: Data, cells: Sequence[Mapping[str, Any]], published: PublishedTable
) -> list[str]:
    """Published figures, and ours below each."""
    by = _means(data, cells).set_index(["system", "group"])[published.metric].sort_index()
    groups = list(dict.fromkeys(group for row in published.rows.values() for group in row))
    titles = {system.name: system.title for system in table.systems}
    name = NAMES[published.metric].lower()
    lines = [f"{published.source}, and ours ({name}, %):", "", *_head(["", *groups])]
    for row, figures in published.rows.items():
        values = [f"{figures[g]:.2f}" if g in figures else "" for g in groups]
        lines.append(_row([row, *values]))
        for system in published.ours.get(row, ()):
            if (system, TOTAL) in by.index:
                mine = [
                    _spread(by.loc[[(system, g)]]) if (system, g) in by.index else ""
                    for g in groups
                ]
                lines.append(_row([f"*ours: {titles[system]}*", *mine]))
    return [*lines, "", published.remark, ""]


def _differences(table: Table, cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Paired differences and their tests."""
    titles = {system.name: system.title for system in table.systems}
    paired = [metric for metric in PAIRED if metric in table.metrics]
    lines = []
    for system, baseline in table.pairs:
        row = []
        for metric in paired:
            found = paired_difference(cells, metric, system, baseline, disjoint=table.disjoint)
            if found is not None:
                row += [
                    f"{100 * found.mean:+.2f} ± {100 * found.std:.2f}",
                    f"{found.won}/{found.splits}",
                    f"{_p(found.p_splits)}, {_p(found.p_attributes)}",
                ]
        if row:
            lines.append(_row([f"{titles[system]} − {titles[baseline]}", *row]))
    if not lines:
        return []
    head = [cell for m in paired for cell in (f"{NAMES[m].lower()}, points", "splits won", "p")]
    splits = DISJOINT if table.disjoint else SHARING
    tests = (
        f"The first p is of a t-test over splits, {splits}, the second of Wilcoxon's test over "
        "attributes:"
    )
    return [
        f"Differences, paired by split and attribute. {tests}",
        "",
        *_head(["", *head]),
        *lines,
        "",
    ]


def _p(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1g}" if value < 0.1 else f"{value:.2f}"


def _systems(table: Table, cells: Sequence[Mapping[str, Any]], command: str) -> list[str]:
    """The rows, what was chosen for them, and the command of each."""
    chosen_for = "strengths chosen on the validation parts"
    lines = _head(["row", "command", "splits", chosen_for, "CPU s a split"])
    for system in table.systems:
        mine = [cell for cell in cells if cell["system"] == system.name]
        if mine:
            chosen = "; ".join(dict.fromkeys(_chosen(cell) for cell in mine))
            seconds = f"{np.mean([cell['cpu_seconds'] for cell in mine]):.0f}"
            run = f"`{command} --systems {system.name}`"
            lines.append(_row([system.title, run, str(len(mine)), chosen, seconds]))
    return [*lines, ""]


def _surfaces(table: Table, cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Average precision on the validation parts, on the grid of two strengths of a row."""
    lines = []
    for system in table.systems:
        mine = [cell for cell in cells if cell["system"] == system.name]
        if "surface" not in system.options or not mine:
            continue
        first, second = system.options["surface"]
        every = pd.DataFrame([line for cell in mine for line in cell["validation"]])
        means = 100 * every.pivot_table("ap", first, second).sort_index(ascending=False)
        said = (
            f"{system.title}: average precision on the validation parts, %, the mean over "
            f"{len(mine)} splits, by `{first}` in rows and `{second}` in columns:"
        )
        lines += [
            said,
            "",
            *_head(["", *(f"{strength:.2g}" for strength in means.columns)]),
            *(
                _row([f"{strength:.2g}", *(f"{value:.2f}" for value in row)])
                for strength, row in zip(means.index, means.to_numpy(), strict=True)
            ),
            "",
        ]
    return lines


def _chosen(cell: Mapping[str, Any]) -> str:
    parts = []
    for name, value in cell["chosen"].items():
        if isinstance(value, list):
            different = sorted({v for v in value if v is not None}, key=float)
            few = ", ".join(f"{float(v):.2g}" for v in different)
            several = len(different) > 2
            shown = f"{float(different[0]):.2g} to {float(different[-1]):.2g}" if several else few
        else:
            shown = f"{value:.3g}" if isinstance(value, int | float) else str(value)
        parts.append(f"{name} {shown}")
    notes = cell["notes"]
    if "sharing" in notes:
        parts.append(f"{notes['sharing']} share")
    elif "live_latents" in notes:
        parts.append(f"{notes['live_latents']} latents")
    return ", ".join(parts)


def _efficiency(table: Table, cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Mean average precision against labels of each attribute."""
    numbers = sorted({cell["labels"] for cell in cells if cell["labels"] is not None})
    if not numbers:
        return []
    columns: list[int | None] = [*numbers, None]
    lines = _head(["", *("all" if n is None else str(n) for n in columns)])
    for system in table.systems:
        row = []
        for n in columns:
            mine = [c for c in cells if c["system"] == system.name and c["labels"] == n]
            means = [np.nanmean(np.array(c["metrics"]["ap"], dtype=np.float64)) for c in mine]
            row.append(_spread(means) if means else "")
        if any(row):
            lines.append(_row([system.title, *row]))
    return [
        "Mean average precision, %, against the labels of each attribute to learn from:",
        "",
        *lines,
        "",
        *_efficiency_tests(table, cells, numbers),
    ]


def _efficiency_tests(
    table: Table, cells: Sequence[Mapping[str, Any]], numbers: Sequence[int]
) -> list[str]:
    titles = {system.name: system.title for system in table.systems}
    lines = []
    for system, baseline in table.pairs:
        row = []
        for n in numbers:
            some = [cell for cell in cells if cell["labels"] == n]
            found = paired_difference(some, "ap", system, baseline, disjoint=table.disjoint)
            row.append("" if found is None else f"{100 * found.mean:+.2f} ({_p(found.p_splits)})")
        if any(row):
            lines.append(_row([f"{titles[system]} − {titles[baseline]}", *row]))
    if not lines:
        return []
    return [
        "Differences in points, with the p of the test over splits:",
        "",
        *_head(["", *map(str, numbers)]),
        *lines,
        "",
    ]
