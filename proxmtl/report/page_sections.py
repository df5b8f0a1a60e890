"""The sections of a page, one function each: a section without content is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxmtl.report.attribute_charts import (
    attribute_chart,
    difference_chart,
    importance_chart,
    latent_chart,
)
from proxmtl.report.curve_charts import curve_chart, reliability_chart
from proxmtl.report.examples import certain_examples, flipped_examples
from proxmtl.report.names import printable
from proxmtl.report.page_parts import Figure, Page, Section, groups_of
from proxmtl.report.page_tables import (
    attribute_table,
    decision_table,
    group_table,
    latent_table,
)
from proxmtl.report.searches import search_charts
from proxmtl.report.sharing_section import add_changes
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from proxmtl.report.runs import Model, ReportedRun

__all__ = ["add_sections"]

MOST_CELLS = 6000
"""Of all heat maps."""


def add_sections(page: Page) -> None:
    """Add the sections of a page to it, in their order."""
    for build in (
        _scores,
        _comparison,
        add_changes,
        _examples,
        _latents,
        _probabilities,
        _convergence,
        _search,
    ):
        build(page)


def _scores(page: Page) -> None:
    if not page.models:
        return
    section = Section("scores", "Scores by attribute")
    section.text.append(
        "Intervals cover 95 %: of AP the logit interval of Boyd, Eng and Page (2013), of AUC "
        "Newcombe's (2006), of accuracy Wilson's. They tell how far the scored samples may "
        "mislead, not how another fit would do."
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


def _comparison(page: Page) -> None:
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


def _examples(page: Page) -> None:
    """Images held out: those on which models differ, the surest and the least certain."""
    section = Section("examples", "Examples: images held out")
    models = {model.label: model for model, _ in page.models}
    for comparison in page.comparisons:
        first, other = models[comparison.reference], models[comparison.label]
        if comparison.same_samples and (first.run.pictures or other.run.pictures):
            blocks, sentence = flipped_examples(first, other, comparison)
            drawn = " Those shown are drawn at random, alike for both." if blocks else ""
            section.text.append(sentence + drawn)
            section.examples += blocks
    shown = next((model for model in models.values() if _has_examples(model)), None)
    if shown is not None:
        blocks = certain_examples(shown)
        of = "" if len(models) == 1 else f" of {printable(shown.label)}"
        section.text.append(
            f"For each attribute the decisions{of} that are surest, and those that are least "
            "certain. A dashed frame and ✗ mark a decision that differs from the label. Where the "
            "model is sure of such a one, look whether the label is right."
        )
        if len(blocks) < len(shown.run.names):
            section.text.append(
                f"Shown are {len(blocks)} of {len(shown.run.names)} attributes: of those with the "
                "most positive labels held out, the ones whose images are there and have room on "
                "the page."
            )
        section.examples += blocks
    if section.text and not section.examples:
        sources = (run.pictures.source for run in page.runs if run.pictures is not None)
        section.text.clear()
        section.text.append(
            f"There are no examples: the images are no longer in {printable(next(sources))}, seen "
            "from the folder in which this page was made."
        )
    if section.text:
        page.sections.append(section)


def _has_examples(model: Model) -> bool:
    run = model.run
    return run.pictures is not None and run.held_out is not None and len(run.metrics) == 1


def _latents(page: Page) -> None:
    section = Section("latents", "Latent tasks: what attributes share")
    for run in page.runs:
        if run.latents is None or not run.latents.order:
            continue
        groups = groups_of([run], run.names)
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


def _probabilities(page: Page) -> None:
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


def _convergence(page: Page) -> None:
    section = Section("convergence", "Convergence", side_by_side=True)
    for run in page.runs:
        section.text += _ended(page, run)
        alone = len(run.histories) == 1
        certificate, passes = run.report.get("certificate") or {}, run.report.get("passes")
        for name, history in run.histories.items():
            for column, title, key in _MEASURES:
                if column not in history:
                    continue
                points = history[["passes", column]].dropna().to_numpy(float)
                if len(points) < 2:  # no curve
                    continue
                final = certificate.get(key)
                ends = None
                if alone and final is not None and passes is not None:
                    ends = {name: (float(passes), float(final))}
                chart = curve_chart(
                    {name: [(float(a), float(b)) for a, b in points]},
                    x_title="passes over the data",
                    y_title=title,
                    returned=ends,
                )
                called = page.called(run, title if alone else f"{name}, {title}")
                caption = "The ring is the point that was returned." if ends else ""
                if run.search is not None:
                    caption += " Passes count from the beginning of the search."
                section.figures.append(page.figure(called, caption, chart))
        section.figures += _epochs(page, run)
    if section.figures or section.text:
        page.sections.append(section)


def _ended(page: Page, run: ReportedRun) -> list[str]:
    """How the solver ended, and its figures."""
    figures = "; ".join(f"{name}: {value}" for name, value in run.lines.items() if name != "status")
    told = " ".join(filter(None, (run.lines.get("status"), figures and f"At the end, {figures}.")))
    return [page.called(run, told)] if told else []


def _epochs(page: Page, run: ReportedRun) -> list[Figure]:
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
            chart = curve_chart(
                {run.name: curve},
                x_title="epoch",
                y_title=title,
                returned={run.name: curve[-1]},
                percent=column in ("ap", "accuracy"),
            )
            caption = "The ring is the epoch of the model."
            found.append(page.figure(page.called(run, f"{title} by epoch"), caption, chart))
    return found


def _given_up(run: ReportedRun) -> str:
    """Say how many candidates of a search have no point in its charts."""
    table = run.search
    if table is None or "mean" not in table:
        return ""
    number = int(table["mean"].isna().sum())
    if not number:
        return ""
    has = agree(number, "was given up early and has", "were given up early and have")
    return f" {counted(number, 'candidate')} {has} no point."


def _search(page: Page) -> None:
    section = Section("search", "Search of strengths", side_by_side=True)
    for run in page.runs:
        for title, chart, ringed in search_charts(run):
            ring = "The ring has the best score. " if ringed else ""
            caption = f"{ring}Bars are standard errors.{_given_up(run)}"
            section.figures.append(page.figure(page.called(run, title), caption, chart))
    if section.figures:
        page.sections.append(section)
