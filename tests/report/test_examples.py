"""Images held out that a page shows: which ones are chosen, how they stand there, what is gone."""

from dataclasses import replace

import numpy as np
import pytest
from report_cases import EVIL, Album, run_of

from proxmtl.report import examples
from proxmtl.report.comparison import compare_models
from proxmtl.report.examples import certain_examples, flipped_examples
from proxmtl.report.page import report_page
from proxmtl.report.runs import models_of

EVERY = frozenset(f"{row:03d}" for row in range(80))


@pytest.fixture(autouse=True)
def small_bundle(monkeypatch):
    """The charts' library, which takes seconds to put together, is looked at in other tests."""
    monkeypatch.setattr("proxmtl.report.rendering.vega_bundle", lambda: "window.vegaEmbed = 0;")


def model_of(*arguments, **options):
    return models_of([run_of(*arguments, pictures=Album(), **options)])[0]


def test_the_surest_and_the_least_certain_are_shown():
    model = model_of()
    held = model.run.held_out
    blocks = certain_examples(model)
    assert [block.title for block in blocks] == model.run.names
    for m, block in enumerate(blocks):
        scores = {held.rows[i]: s for i, s in enumerate(held.scores[:, m]) if np.isfinite(s)}
        labels = dict(zip(held.rows, held.labels[:, m], strict=True))
        assert [strip.title for strip in block.strips] == [
            "Surest of yes",
            "Surest of no",
            "Least certain",
        ]
        shown = [[example.name for example in strip.examples] for strip in block.strips]
        ranked = sorted(scores, key=scores.get)
        assert shown[0] == ranked[::-1][:4]
        assert shown[1] == ranked[:4]
        assert shown[2] == sorted(scores, key=lambda name: abs(scores[name]))[:4]
        for strip in block.strips:
            for example in strip.examples:
                label = labels[example.name] > 0
                assert example.right == ((scores[example.name] > 0) == label)
                assert example.lines[0] == f"labelled {'yes' if label else 'no'}"


def test_the_least_certain_of_few_images_are_not_what_the_surest_leave():
    scores = np.array([3.0, 2.0, 0.1, -0.2, -2.5, np.nan, 0.3, -4.0, -3.0, 2.5])
    strips = dict(examples._by_certainty(scores))
    assert strips == {
        "Surest of yes": [0, 9, 1],
        "Surest of no": [7, 8, 4],
        "Least certain": [2, 3, 6],
    }
    assert dict(examples._by_certainty(scores[:1])) == {
        "Surest of yes": [0],
        "Surest of no": [],
        "Least certain": [],
    }


def test_decisions_that_differ_are_counted_and_drawn_alike():
    first = model_of("a", noise=2.0)
    noise = np.random.default_rng(7).standard_normal(first.run.held_out.scores.shape)
    held = first.run.held_out._replace(scores=first.run.held_out.scores + 1.5 * noise)
    other = first._replace(label="b", run=replace(first.run, name="b", held_out=held))
    blocks, sentence = flipped_examples(first, other, compare_models(first, other))
    a, b = (model.run.held_out for model in (first, other))
    known = ~np.isnan(a.labels)
    right = [(held.scores > 0) == (held.labels > 0) for held in (a, b)]
    better = int((known & ~right[0] & right[1]).sum())
    worse = int((known & right[0] & ~right[1]).sum())
    assert min(better, worse) > 0
    assert f"Of {known.sum()} decisions" in sentence
    assert f"b gets {better} right that a gets wrong, and {worse} wrong that a gets" in sentence
    ((up, down),) = [block.strips for block in blocks]
    assert len(up.examples) == min(better, examples.DRAWN)
    assert len(down.examples) == min(worse, examples.DRAWN)
    assert all(example.right for example in up.examples)
    assert not any(example.right for example in down.examples)
    column = {name: m for m, name in enumerate(first.run.names)}
    for example in up.examples:
        row, m = a.rows.index(example.name), column[example.lines[0]]
        assert not right[0][row, m]
        assert right[1][row, m]
    again, _ = flipped_examples(first, other, compare_models(first, other))
    assert again == blocks


def test_the_page_shows_them_and_what_is_gone(monkeypatch):
    names = [*EVIL[:3], "plain"]
    first = run_of("a", names, pictures=Album(), noise=2.0)
    text = report_page([first, run_of("b", names, pictures=Album(), noise=0.9)])
    assert 'id="examples"' in text
    assert text.count("data:image/jpeg;base64,") == text.count("<img ")
    assert text.count("<img ") > 50
    assert EVIL[2] not in text
    assert "with the most positive labels" not in text

    # most images are gone: the others are shown; without any the page says so
    some = replace(first, pictures=Album(gone=EVERY - {"003"}))
    assert 0 < report_page([some]).count("<img ") <= len(names)
    none = report_page([replace(first, pictures=Album("old/photos", EVERY))])
    assert "the images are no longer in old/photos" in none
    assert "<img " not in none
    assert 'id="examples"' not in report_page([replace(first, pictures=None)])

    monkeypatch.setattr(examples, "MOST_ATTRIBUTES", 2)
    few = report_page([first])
    assert "Shown are 2 of 4 attributes: of those with the most positive labels" in few
    monkeypatch.setattr(examples, "MOST_BYTES", 10)
    assert "<img " not in report_page([first])
