"""What sharing changes: decisions and scores beside those of the same attributes, each alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from proxmtl.experiments import attribute_metrics
from proxmtl.report.attribute_charts import difference_chart
from proxmtl.report.comparison import compare_models
from proxmtl.report.examples import flipped_examples
from proxmtl.report.page_parts import Section
from proxmtl.report.page_tables import change_table
from proxmtl.report.runs import Model
from proxmtl.report.verdict import comparison_sentence

if TYPE_CHECKING:
    from proxmtl.report.page_parts import Page
    from proxmtl.report.runs import ReportedRun

__all__ = ["add_changes"]

ALONE, SHARING = "the single-task model", "the shared model"


def add_changes(page: Page) -> None:
    """Add the section of the runs that keep the scores of single-task models, if there are any."""
    section = Section("changes", "What sharing changes")
    for run in page.runs:
        pair = _pair(run)
        comparison = None if pair is None else compare_models(*pair)
        if pair is None or comparison is None:
            continue
        blocks, sentence = flipped_examples(*pair, comparison)
        said = comparison_sentence(comparison)
        section.text.append(page.called(run, said[0].upper() + said[1:]))
        section.text.append(page.called(run, sentence))
        caption = "Of the attributes that share. To the right of the line: more by sharing."
        chart = difference_chart([comparison], page.names, page.groups)
        title = page.called(run, "AP by sharing")
        section.figures.append(page.figure(title, caption, chart, tall=True))
        alone, sharing = (model.run.held_out for model in pair)
        assert alone is not None
        assert sharing is not None
        table = change_table(alone, sharing, pair[0].run.names, comparison, page.names)
        table.caption = page.called(run, table.caption)
        section.tables.append(table)
        if len(page.runs) == 1:
            section.examples += blocks
    if section.text:
        section.text.append(
            "Both models are of the same search, fitted on the same rows; decisions of each are "
            "those of its own calibration."
        )
        if section.examples:
            section.text.append("Images are drawn at random from the decisions that differ.")
        page.sections.append(section)


def _pair(run: ReportedRun) -> tuple[Model, Model] | None:
    """Models of the attributes that share, each alone and sharing, on the labels held out."""
    held_out, report = run.held_out, run.sharing
    if held_out is None or held_out.alone is None or report is None:
        return None
    columns = [m for m, shared in enumerate(report["shared"].tolist()) if shared]
    if not columns:
        return None
    both = held_out.of(columns)
    assert both.alone is not None
    names = [str(run.names[column]) for column in columns]
    found = []
    for label, scores in ((ALONE, both.alone), (SHARING, both.scores)):
        table = attribute_metrics(np.nan_to_num(scores), both.labels, names)
        mine = both._replace(scores=scores, probabilities=None, alone=None)
        part = replace(run, names=names, held_out=mine, metrics={label: table})
        found.append(Model(label, table, part))
    return found[0], found[1]
