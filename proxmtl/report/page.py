"""One self-contained HTML page of one or several runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from proxmtl.report.attribute_charts import (
    attribute_chart,
    difference_chart,
    importance_chart,
    latent_chart,
)
from proxmtl.report.comparison import all_names, compare_models, scores_by_attribute
from proxmtl.report.curve_charts import curve_chart, reliability_chart
from proxmtl.report.names import printable
from proxmtl.report.page_tables import (
    PageTable,
    attribute_table,
    decision_table,
    group_table,
    latent_table,
)
from proxmtl.report.rendering import rendered
from proxmtl.report.runs import models_of
from proxmtl.report.searches import search_charts
from proxmtl.report.vega import Spec, theme
from proxmtl.report.verdict import comparison_sentence, headline, run_warnings, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from proxmtl.report.comparison import Comparison
    from proxmtl.report.runs import Model, ReportedRun

__all__ = ["LARGEST_PAGE", "report_page"]

LARGEST_PAGE = 3_000_000
"""Bytes."""
MOST_LINES = 1200
"""Attributes times models of a page; further attributes are left out, and the page says so."""
MOST_CELLS = 6000
"""Of all heat maps."""


class Figure(NamedTuple):
    """A chart with its caption; wide ones scroll in a box of their own."""

    key: str
    title: str
    caption: str
    tall: bool = False


@dataclass
class Section:
    """A part of the page."""

    key: str
    title: str
    text: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[PageTable] = field(default_factory=list)
    side_by_side: bool = False


class _Page:
    """The sections of a page, and the charts in them."""

    def __init__(self, runs: Sequence[ReportedRun]) -> None:
        self.runs = runs
        self.charts: dict[str, Spec] = {}
        self.sections: list[Section] = []
        self.models: list[tuple[Model, pd.DataFrame]] = [
            (model, scores_by_attribute(model)) for model in models_of(runs)
        ]
        names = all_names(runs)
        most = max(MOST_LINES // max(len(self.models), 1), 1)
        self.left_out = len(names) - len(names[:most])
        self.names = names[:most]
        self.groups = _groups(runs, self.names)
        self.comparisons: list[Comparison] = []
        for model, _ in self.models[1:]:
            found = compare_models(self.models[0][0], model)
            if found is not None:
                self.comparisons.append(found)

    def figure(self, title: str, caption: str, spec: Spec, *, tall: bool = False) -> Figure:
        """Give a chart its place."""
        key = f"chart-{len(self.charts)}"
        self.charts[key] = spec
        return Figure(key, title, caption, tall)

    def tables_of(self, run: ReportedRun) -> list[tuple[Model, pd.DataFrame]]:
        """The scored models of a run."""
        return [(model, table) for model, table in self.models if model.run is run]

    def called(self, run: ReportedRun, what: str) -> str:
        """A title, with the name of the run where there are several."""
        return what if len(self.runs) == 1 else f"{printable(run.name)}: {what}"


def report_page(runs: Sequence[ReportedRun]) -> str:
    """Make the page.

    Parameters
    ----------
    runs
        At least one; the others are compared with the first.

    Returns
    -------
    str
        HTML that needs nothing but itself.

    Raises
    ------
    ValueError
        If it would be larger than `LARGEST_PAGE`.
    """
    page = _Page(runs)
    for build in (_scores, _comparison, _latents, _probabilities, _convergence, _search):
        build(page)
    blocks = [
        {
            "name": printable(run.name),
            "headline": headline(run, [table for _, table in page.tables_of(run)]),
            "sentences": verdict(run, *_unzipped(page.tables_of(run))),
            "facts": _facts(run),
        }
        for run in runs
    ]
    text = rendered(
        title=", ".join(printable(run.name) for run in runs),
        blocks=blocks,
        comparisons=[comparison_sentence(comparison) for comparison in page.comparisons],
        sections=page.sections,
        warnings=_warnings(page),
        reproduce=[_reproduce(run) for run in runs],
        charts=page.charts,
        themes={"light": theme(dark=False), "dark": theme(dark=True)},
    )
    size = len(text.encode())
    if size > LARGEST_PAGE:
        raise ValueError(
            f"the page would have {size / 1e6:.1f} MB, more than {LARGEST_PAGE / 1e6:g}; give "
            "fewer runs."
        )
    return text


def _unzipped(
    models: Sequence[tuple[Model, pd.DataFrame]],
) -> tuple[list[Model], list[pd.DataFrame]]:
    return [model for model, _ in models], [table for _, table in models]


def _groups(runs: Sequence[ReportedRun], names: Sequence[str]) -> dict[str, list[str]]:
    """Groups of the first run that has some, by names."""
    there = set(names)
    for run in runs:
        if run.groups:
            found = {
                printable(group): [run.names[column] for column in columns]
                for group, columns in run.groups.items()
            }
            return {
                group: kept
                for group, of in found.items()
                if (kept := [n for n in of if n in there])
            }
    return {}


def _facts(run: ReportedRun) -> list[tuple[str, str]]:
    """Figures at the top: what the run is."""
    rows = run.config.get("rows", {})
    found = [("model", run.kind), ("attributes", f"{len(run.names):,}")]
    found += [(f"rows {key.replace('_', ' ')}", f"{value:,}") for key, value in rows.items()]
    found += [(key, value) for key, value in run.lines.items() if key != "status"]
    return found


def _scores(page: _Page) -> None:
    if not page.models:
        return
    section = Section("scores", "Scores by attribute")
    section.text.append(
        "Intervals cover 95 %: of AP the logit interval of Boyd, Eng and Page (2013), of accuracy "
        "Wilson's. They tell how far the scored samples may mislead, not how another fit would do."
    )
    caption = "One point an attribute, with its interval; the tick is what scores at random reach."
    chart = attribute_chart(page.models, page.names, page.groups)
    section.figures.append(page.figure("Average precision", caption, chart, tall=True))
    section.tables.append(group_table(page.models, page.groups))
    if len(page.models) == 1 and len(section.tables[0].rows) == 1:
        section.tables.clear()  # no groups: the verdict has these means
    table = attribute_table(page.models, page.comparisons, page.names, page.groups)
    section.tables.append(table)
    page.sections.append(section)


def _comparison(page: _Page) -> None:
    if not page.comparisons:
        return
    section = Section("comparison", "Side by side")
    paired = [c for c in page.comparisons if np.isfinite(c.mean_low)]
    if paired:
        section.text.append(
            "Differences on the same samples; intervals of 95 % from a bootstrap that draws "
            f"samples for both models alike ({paired[0].n_resamples} resamples)."
        )
    chart = difference_chart(page.comparisons, page.names, page.groups)
    first = printable(page.comparisons[0].reference)
    caption = f"To the right of the line: more than {first}."
    section.figures.append(page.figure("Differences of AP", caption, chart, tall=True))
    page.sections.append(section)


def _latents(page: _Page) -> None:
    section = Section("latents", "Latent tasks: what attributes share")
    for run in page.runs:
        if run.latents is None or not run.latents.order:
            continue
        groups = _groups([run], run.names)
        chart, shown = latent_chart(run.latents, run.names, groups, MOST_CELLS // len(page.runs))
        live = len(run.latents.order)
        caption = (
            "A coloured cell is a weight in S, an empty one (×) is exactly zero: the "
            "attribute does not use the latent task."
        )
        if shown < live:
            caption += f" The largest {shown} of {live} are shown."
        title = page.called(run, "S, by group" if groups else "S")
        section.figures.append(page.figure(title, caption, chart, tall=True))
        caption = "Norm of each latent in L times its norm in S, as a share of the sum."
        chart = importance_chart(run.latents)
        section.figures.append(page.figure(page.called(run, "Importance"), caption, chart))
        table = latent_table(run.latents, run.names)
        table.caption = page.called(run, "Which attributes share")
        section.tables.append(table)
    if section.figures:
        page.sections.append(section)


def _probabilities(page: _Page) -> None:
    calibrated = {
        run.name: run.held_out
        for run in page.runs
        if run.held_out is not None and run.held_out.probabilities is not None
    }
    section = Section("probabilities", "Probabilities and thresholds")
    if calibrated:
        caption = (
            "Labels held out, of all attributes, in ten bins of the predicted probability; on the "
            "dashed line probabilities are right. Intervals are Wilson's."
        )
        chart = reliability_chart(calibrated)
        section.figures.append(page.figure("Reliability", caption, chart))
    decided = [(model, table) for model, table in page.models if np.isfinite(table["f1"]).any()]
    if decided:
        section.tables.append(decision_table(decided, page.names))
    if section.figures or section.tables:
        page.sections.append(section)


_MEASURES = (
    ("objective", "objective", "objective"),
    ("RelativeGap", "relative gap", "relative_gap"),
    ("RelativeKKT", "relative residual", "relative_kkt"),
)
"""Columns of a history, what they are called, and the same in a certificate."""


def _convergence(page: _Page) -> None:
    section = Section("convergence", "Convergence", side_by_side=True)
    for run in page.runs:
        alone = len(run.histories) == 1
        certificate, passes = run.report.get("certificate") or {}, run.report.get("passes")
        for name, history in run.histories.items():
            for column, title, key in _MEASURES:
                if column not in history:
                    continue
                points = history[["passes", column]].dropna().to_numpy(float)
                final = certificate.get(key)
                ends = None
                if alone and final is not None and passes is not None:
                    ends = {name: (float(passes), float(final))}
                chart = curve_chart(
                    {name: [(float(a), float(b)) for a, b in points]},
                    x_title="passes",
                    y_title=title,
                    returned=ends,
                )
                called = page.called(run, title if alone else f"{name}, {title}")
                caption = "The ring is the point that was returned." if ends else ""
                section.figures.append(page.figure(called, caption, chart))
        section.figures += _epochs(page, run)
    if section.figures:
        page.sections.append(section)


def _epochs(page: _Page, run: ReportedRun) -> list[Figure]:
    """Learning curves of a training of networks."""
    found = []
    table = run.epochs
    for column, title in (
        ("objective", "objective"),
        ("sgd_loss", "loss of SGD"),
        ("ap", "mean AP"),
        ("accuracy", "accuracy"),
    ):
        if table is None or column not in table or "epoch" not in table:
            continue
        points = table[["epoch", column]].dropna()
        if len(points) > 1:
            curve = list(zip(points["epoch"], points[column], strict=True))
            chart = curve_chart({run.name: curve}, x_title="epoch", y_title=title)
            found.append(page.figure(page.called(run, f"{title} by epoch"), "", chart))
    return found


def _search(page: _Page) -> None:
    section = Section("search", "Search of strengths", side_by_side=True)
    for run in page.runs:
        for title, chart in search_charts(run):
            caption = "The ring has the best score; bars are standard errors."
            section.figures.append(page.figure(page.called(run, title), caption, chart))
    if section.figures:
        page.sections.append(section)


def _warnings(page: _Page) -> list[str]:
    said: dict[str, list[str]] = {}
    for run in page.runs:
        for text in run_warnings(run, [table for _, table in page.tables_of(run)]):
            said.setdefault(text, []).append(printable(run.name))
    every = len(page.runs)
    found = [t if len(of) == every else f"{', '.join(of)}: {t}" for t, of in said.items()]
    found += [
        f"{printable(c.label)} and {printable(c.reference)} were scored on different samples: "
        "their differences include the luck of the draw. Fit both with the same --seed and "
        "--holdout."
        for c in page.comparisons
        if c.same_samples is False
    ]
    if page.left_out:
        found.append(
            f"The page shows the first {len(page.names)} attributes and leaves out "
            f"{page.left_out}; metrics_by_attribute.csv has all of them."
        )
    return found


def _reproduce(run: ReportedRun) -> dict[str, Any]:
    """What it takes to make a run again."""
    environment = dict(run.config.get("environment", {}))
    command = environment.pop("command", None)
    known = {key: str(value) for key, value in environment.items()}
    for key in ("seed", "holdout", "folds"):
        if key in run.config:
            known[key] = str(run.config[key])
    return {
        "name": run.name,
        "folder": run.folder,
        "command": command,
        "known": known,
        "inputs": run.config.get("inputs", []),
        "parameters": {k: str(v) for k, v in run.config.get("parameters", {}).items()},
    }
