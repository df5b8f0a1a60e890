"""``compare``, and the table behind it."""

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from proxmtl.cli.compare import _without_intervals
from proxmtl.experiments.intervals import paired_differences
from proxmtl.report.comparison import compare_models
from proxmtl.report.runs import models_of
from proxmtl.report.side_by_side import option_differences, scores_side_by_side
from proxmtl.report.tables import option_table

sys.path.insert(0, str(Path(__file__).parents[1]))
from report_cases import NAMES, run_of


def _line(table, kind, name, model):
    lines = table[(table.kind == kind) & (table.name == name) & (table.model == model)]
    assert len(lines) == 1
    return lines.iloc[0]


def test_scores_are_compared_on_the_same_rows_by_attribute_group_and_total():
    first, second = run_of("first", noise=1.0), run_of("second", noise=2.0)
    table = scores_side_by_side([first, second])
    a, b = (run.metrics["model"]["ap"].to_numpy() for run in (first, second))
    for place, name in enumerate(NAMES):
        line = _line(table, "attribute", name, "second")
        assert (line.ap, line.difference) == (b[place], b[place] - a[place])
        whole = compare_models(*models_of([first, second])).table.loc[name]
        assert (line.low, line.high) == (whole.low, whole.high)  # as the report has them
        assert line.low < line.difference < line.high
        assert np.isnan(_line(table, "attribute", name, "first").difference)
    for kind, name, columns in (
        ("group", "colors", [0, 1]),
        ("group", "patterns", [2, 3]),
        ("total", "Total", [0, 1, 2, 3]),
    ):
        line = _line(table, kind, name, "second")
        assert line.ap == pytest.approx(b[columns].mean(), rel=1e-12)
        assert line.difference == pytest.approx((b - a)[columns].mean(), rel=1e-12)
        held = [run.held_out.of(columns) for run in (first, second)]
        found = paired_differences(held[0].scores, held[1].scores, held[0].labels)
        assert (line.low, line.high) == (found.mean_low, found.mean_high)


def test_other_labels_of_an_attribute_leave_other_attributes_their_intervals():
    first, second = run_of("first", noise=1.0), run_of("second", noise=2.0)
    labels = second.held_out.labels.copy()
    labels[:, 0] = 1 - labels[:, 0]
    second = replace(second, held_out=second.held_out._replace(labels=labels))
    table = scores_side_by_side([first, second])
    line = _line(table, "attribute", NAMES[0], "second")
    assert line.same_rows is False
    assert np.isnan(line.low)
    for kind, name in (("attribute", NAMES[1]), ("attribute", NAMES[3]), ("group", "patterns")):
        line = _line(table, kind, name, "second")
        assert line.same_rows is True
        assert line.low < line.difference < line.high


def test_other_rows_have_no_interval_and_attributes_of_one_run_no_difference():
    first = run_of("first")
    other = run_of("other", ["black", "white", "dots", "stripes"], seed=1)
    table = scores_side_by_side([first, other])
    line = _line(table, "attribute", "black", "other")
    assert np.isfinite(line.difference)
    assert np.isnan(line.low)
    assert np.isnan(_line(table, "attribute", "spots", "other").ap)
    assert np.isnan(_line(table, "attribute", "dots", "other").difference)
    ap = first.metrics["model"]["ap"]
    shared = ["black", "white", "stripes"]  # means are over what both have
    assert _line(table, "total", "Total", "first").ap == pytest.approx(ap[shared].mean(), rel=1e-12)


def test_options_are_named_where_they_differ():
    runs = [run_of("first"), run_of("second")]
    assert option_differences(runs) == {}
    given = [
        {"command": "fit", "options": {"features": "x.npy", "seed": 1}, "rows": {"fitted": 9}},
        {"command": "tune", "options": {"features": "x.npy", "points": 3, "seed": 1}},
    ]
    for run, config, sha in zip(runs, given, ("ab" * 32, "cd" * 32), strict=True):
        run.config.clear()
        run.config.update(config, inputs=[{"path": "x.npy", "bytes": 1, "sha256": sha}])
    assert option_differences(runs) == {
        "command": ["fit", "tune"],
        "features": ["x.npy (abababab)", "x.npy (cdcdcdcd)"],
        "rows fitted": ["9", None],
        "points": [None, "3"],
    }


def test_a_loss_that_differs_is_named_though_nobody_asked_for_it():
    first, second = run_of("first"), run_of("second")
    for run, loss in ((first, "logistic"), (second, "squared_hinge")):
        run.config["parameters"] = {**run.config.get("parameters", {}), "loss": loss}
        run.config["options"] = {}
    assert option_differences([first, second])["loss"] == ["logistic", "squared_hinge"]


def test_long_values_are_folded_and_names_of_options_are_not():
    value = "runs/photographs-of-the-summer.features.npy (fbb9cbdf)"
    columns = {run: {"single_task": "0.1", "features_file": value} for run in "abc"}
    console = Console(width=60, file=io.StringIO())
    console.print(option_table(columns))
    shown = console.file.getvalue()
    assert "features_file" in shown
    assert "single_task" in shown
    assert "\u2026" not in shown


def test_differences_without_intervals_are_named():
    lines = [
        ("a", "black", np.nan, np.nan, None),
        ("b", "black", 0.1, 0.0, True),
        ("b", "white", 0.1, np.nan, True),
        ("c", "black", 0.1, np.nan, False),
        ("d", "black", 0.1, np.nan, None),
        ("e", "black", 0.1, np.nan, True),
    ]
    columns = ["model", "name", "difference", "low", "same_rows"]
    scores = pd.DataFrame(lines, columns=columns)
    few, apart, unknown, all_few = _without_intervals(scores)
    assert few.startswith("b has no interval for white: the labels held out are too few, or both")
    assert apart == "c has no intervals: its rows held out are not those of a."
    assert unknown == "d has no intervals: its folder, or that of a, has no scores of single rows."
    assert all_few.startswith("e has no intervals: the labels held out are too few, or both")
    assert not _without_intervals(scores[:2])


@pytest.fixture
def runs(program, files):
    fit = ("fit", "x.npy", "-l", "y.csv", "-g", "g.json", "--single-task")
    for name, strength in (("a", "0.01"), ("b", "10")):
        assert program(*fit, strength, "-o", name)[0] == 0
    return files


def test_the_command_prints_tables_json_and_writes_files(program, runs):
    code, out, err = program("compare", "a", "b")
    assert code == 0
    # of 16 rows: at some attributes the two models may rank all resamples alike
    assert re.fullmatch(r"(Note: b has no interval for .* without an error\.\n)?", err, re.DOTALL)
    assert "colors" in out
    assert "stripes" not in out
    assert "single_task" in out
    assert ".." in out  # intervals: the rows are the same
    assert "stripes" in program("compare", "a", "b", "-a", "-o", "t.csv")[1]
    code, out, _ = program("compare", "a", "b", "--json", "-o", "t.json")
    document = json.loads(out)
    assert document == json.loads((runs / "t.json").read_text())
    assert document["runs"] == ["a", "b"]
    assert document["options"] == {"single_task": ["0.01", "10.0"]}
    table = pd.read_csv(runs / "t.csv")
    assert [line["ap"] for line in document["scores"]] == pytest.approx(table["ap"], rel=1e-5)
    metrics = pd.read_csv(runs / "b" / "metrics_by_attribute.csv").set_index("attribute")["ap"]
    ours = table[(table.kind == "attribute") & (table.model == "b")].set_index("name")["ap"]
    np.testing.assert_allclose(ours[metrics.index], metrics, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a",), "give two runs or more"),
        (("a", "a"), "each once"),
        (("a", "none"), "none"),
        (("a", "b", "-o", "t.txt"), "written as .csv or .json"),
    ],
)
def test_what_cannot_be_compared(program, runs, arguments, message):
    code, _, err = program("compare", *arguments)
    assert code == 2
    assert message in err


def test_runs_of_other_rows_are_said_to_be_so(program, runs):
    fit = ("fit", "x.npy", "-l", "y.csv", "--single-task", "1", "--seed", "5", "-o", "c")
    assert program(*fit)[0] == 0
    code, _, err = program("compare", "a", "c")
    assert code == 0
    assert "c has no intervals: its rows held out are not those of a" in err
