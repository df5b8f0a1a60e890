"""What sharing changes: decisions and scores beside those of the same attributes, each alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxmtl.report.attribute_charts import difference_chart
from proxmtl.report.examples import flipped_examples
from proxmtl.report.page_parts import Section
from proxmtl.report.page_tables import change_table
from proxmtl.report.verdict import comparison_sentence

if TYPE_CHECKING:
    from proxmtl.report.page_parts import Page

__all__ = ["add_changes"]


def add_changes(page: Page) -> None:
    """Add the section of the runs that keep the scores of single-task models, if there are any."""
    section = Section("changes", "What sharing changes")
    for run, pair, comparison in page.changes:
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
