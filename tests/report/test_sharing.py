"""What a page says of sharing: by cross-validation, and on the rows held out."""

import re
from dataclasses import replace

import numpy as np
import pytest
from report_cases import NAMES, Album, Parsed, rows_named, run_of, sharing_of, with_alone

from proxmtl.experiments import average_precision
from proxmtl.report.page import report_page
from proxmtl.report.page_parts import Page
from proxmtl.report.sharing_section import add_changes
from proxmtl.report.verdict import headline, points


def test_sharing_is_put_into_words():
    run = run_of(sharing=sharing_of([0.05, 0.03, 0.001, 0.0], [0.01, 0.01, 0.01, 0.0]))
    page = Parsed(report_page([run]))
    assert (
        "In cross-validation sharing clearly helps 2 of 4 attributes, most where labels are few: "
        "+4.0 points of average precision on average."
    ) in page.said
    assert page.said.index("Mean average precision") < page.said.index("sharing clearly helps")
    assert "chose sharing for 3 of 4 attributes: +2.7 points of AP on average" in page.said
    assert "above two standard errors for 2, and a loss by as much for 0" in page.said
    assert "black +5.0 ± 1.0, white +3.0 ± 1.0" in page.said
    assert (
        "More is gained where labels are few: +4.0 points for the 2 attributes with at most 10"
        in (page.said)
    )
    (row,) = rows_named(page, "black")
    assert any(cell.startswith("+5.0± 1.0") for cell in row)
    assert row[-1].startswith("5of 70")

    none = run_of(sharing=sharing_of([0] * 4, [0] * 4, [False] * 4))
    said = headline(none, list(none.metrics.values()))
    quality = (
        r"Mean average precision \d+\.\d %, where chance has .*; accuracy .* answer has .* %\. "
    )
    assert re.fullmatch(quality + r"In cross-validation .* no gain, so nothing is shared\.", said)
    unclear = run_of(sharing=sharing_of([0.01] * 4, [0.01] * 4))
    assert headline(unclear, []).endswith("for 3 of 4 attributes, but no gain of it is clear.")
    late = run_of(sharing=sharing_of([0.0, 0.0, 0.06, 0], [0.01] * 4))
    assert headline(late, []).endswith("helps 1 of 4 attributes: +6.0 points of average precision.")
    assert "No more is gained where labels are few: +0.0 points" in Parsed(report_page([late])).said


def test_few_labels_are_a_number_that_an_attribute_has():
    sharing = sharing_of([0.05, 0.03, 0.01, 0.0], [0.01] * 4, [True] * 4)
    sharing["positives"] = [10, 20, 151, 160]  # a median of 85.5
    said = Parsed(report_page([run_of(sharing=sharing)])).said
    assert "for the 2 attributes with at most 20 positive labels" in said


def test_what_sharing_changes_is_counted_by_attribute():
    run = with_alone(run_of(noise=0.7))
    held = run.held_out
    page = Page([run])
    add_changes(page)
    (section,) = page.sections
    (table,) = section.tables
    assert [row[0].text for row in table.rows] == NAMES[:2]
    known = ~np.isnan(held.labels)
    right, alone = (
        known & ((scores > 0) == (held.labels > 0)) for scores in (held.scores, held.alone)
    )
    for m, row in enumerate(table.rows):
        seen = known[:, m]
        ap = [
            average_precision(z[seen, m], held.labels[seen, m]) for z in (held.alone, held.scores)
        ]
        assert row[1].value == pytest.approx(ap[1] - ap[0])
        counts = [(right & ~alone)[:, m].sum(), (alone & ~right)[:, m].sum(), known[:, m].sum()]
        assert [cell.value for cell in row[2:]] == counts
    better, worse = ((right & ~alone)[:, :2].sum(), (alone & ~right)[:, :2].sum())
    said = " ".join(section.text)
    assert (
        f"shared model gets {better} right that the single-task model gets wrong, and {worse}"
        in said
    )
    assert not section.examples  # it was made of features


def test_the_headline_has_what_sharing_changes_on_rows_held_out():
    said = Parsed(report_page([with_alone(run_of(noise=0.7))])).said
    (change,) = Page([with_alone(run_of(noise=0.7))]).changes
    form = r"On (\d+ held-out rows) sharing changes .* 2 attributes that share by (.*?) points"
    found = re.search(form, said)
    assert found.group(2) == points(change.comparison.mean)
    assert found.group(1) == change.run.scored_on
    assert "sharing changes the mean" not in Parsed(report_page([run_of()])).said


def test_images_that_sharing_decides_otherwise_are_shown():
    page = Page([with_alone(run_of(noise=0.7, pictures=Album()))])
    add_changes(page)
    ((block,),) = [section.examples for section in page.sections]
    assert [strip.title for strip in block.strips] == [
        "Wrong with the single-task model, right with the shared model",
        "Right with the single-task model, wrong with the shared model",
    ]


def test_runs_in_which_nothing_is_shared_have_no_such_section():
    nobody = with_alone(run_of())
    nobody = replace(nobody, sharing=nobody.sharing.assign(shared=False))
    for run in (nobody, run_of()):
        page = Page([run])
        add_changes(page)
        assert not page.sections
