"""``--test``: rows that are scored and not fitted on, by a file of their labels."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from proxmtl.estimators import SingleTaskClassifier
from proxmtl.experiments import attribute_metrics
from proxmtl.io import read_labels

FIT = ("fit", "x.npy", "-l", "train.csv", "--test", "test.csv", "-o", "run")
ORDER = np.random.default_rng(1).permutation(80)
TRAIN, TEST = np.sort(ORDER[:60]), np.sort(ORDER[60:])


@pytest.fixture
def parted(files):
    """Labels of 60 and of 20 rows, shuffled, the columns of the test reversed."""
    values, names, _, _ = read_labels(files / "y.csv")
    columns = range(len(names))
    for name, rows, order in (
        ("train.csv", ORDER[:60], columns),
        ("test.csv", ORDER[60:], columns[::-1]),
    ):
        lines = [["id", *(names[m] for m in order)]]
        for row in rows:
            labels = (values[row, m] for m in order)
            lines.append([f"r{row}", *("" if np.isnan(y) else int(y) for y in labels)])
        with (files / name).open("w", newline="") as stream:
            csv.writer(stream).writerows(lines)
    (files / "x.ids.csv").write_text("id\n" + "".join(f"r{row}\n" for row in range(80)))
    return files


def test_the_rows_are_scored_and_not_fitted_on(program, parted):
    code, out, err = program(*FIT, "--single-task", "0.01", "--tol", "1e-10")
    assert code == 0
    assert "Warning: 3 of 4 attributes were scored on fewer than 10 positive labels" in err
    assert "20 held-out rows" in out
    X, Y = np.load(parted / "x.npy"), read_labels(parted / "y.csv")[0]
    model = SingleTaskClassifier(l2_strength=0.01, tol=1e-10).fit(X[TRAIN], Y[TRAIN])
    expected = attribute_metrics(model.decision_function(X[TEST]), Y[TEST], list("abcd"))
    found = pd.read_csv(parted / "run" / "metrics_by_attribute.csv")
    np.testing.assert_allclose(found["ap"], expected["ap"], rtol=1e-5)
    held = pd.read_csv(parted / "run" / "predictions.csv")
    assert set(held["id"]) == {f"r{row}" for row in TEST}
    config = json.loads((parted / "run" / "config.json").read_text())
    assert config["rows"] == {"fitted": 60, "held_out": 20}
    assert config["options"]["test"] == "test.csv"
    assert "holdout" not in config  # no fifth of the rows was


def test_tune_takes_them_too(program, parted):
    tune = ("tune", *FIT[1:], "--model", "lasso", "--max-passes", "60")
    code, out, err = program(*tune)
    assert code == 0, err
    assert "20 held-out rows" in out


def test_rows_of_both_files_are_refused(program, parted):
    line = (parted / "train.csv").read_text().splitlines()[1]
    reversed_ = ",".join([line.split(",")[0], *line.split(",")[:0:-1]])
    (parted / "test.csv").write_text((parted / "test.csv").read_text() + reversed_ + "\n")
    code, _, err = program(*FIT)
    assert code == 2
    assert f"1 row of it is in train.csv too, the first is 'r{ORDER[0]}'" in err


def test_an_attribute_that_the_test_lacks_is_named(program, parted):
    text = (parted / "test.csv").read_text().replace("spots", "dots")
    (parted / "test.csv").write_text(text)
    code, _, err = program(*FIT)
    assert code == 2
    assert "test.csv, line 1: no column for 1" in err
    assert "'spots'" in err


def test_rows_without_identifiers_cannot_be_told_apart(program, files):
    code, _, err = program("fit", "x.npy", "-l", "y.csv", "--test", "y.csv", "-o", "run")
    assert code == 2
    assert "y.csv: has no identifiers" in err


def test_both_classes_are_needed_in_the_rows_to_fit_on(program, parted):
    """Not in all rows: the test does not count."""
    table = pd.read_csv(parted / "train.csv")
    table["spots"] = 0
    table.to_csv(parted / "train.csv", index=False)
    code, _, err = program(*FIT)
    assert code == 2
    assert "'spots' has only no in the 60 rows" in err
