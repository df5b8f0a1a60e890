"""Rows kept for scoring: by their names, wherever they have some."""

import json

import numpy as np
import pandas as pd
import pytest

from proxmtl.cli.fitted_attributes import split_rows


def test_the_same_names_are_held_out_in_any_order():
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (50, 3)).astype(float)
    ids = [f"photos/{i}.jpg" for i in range(50)]
    names = ["a", "b", "c"]
    order = rng.permutation(50)
    held_out = []
    for rows in (np.arange(50), order):
        given = [ids[row] for row in rows]
        train, test = split_rows(Y[rows], names, 0.3, 0, given)
        assert sorted([*train, *test]) == list(range(50))
        assert list(test) == sorted(test)
        held_out.append({given[row] for row in test})
    assert held_out[0] == held_out[1]
    assert len(held_out[0]) == 15
    assert held_out[0] != {ids[row] for row in split_rows(Y, names, 0.3, 1, ids)[1]}


def test_fit_on_features_and_train_on_images_are_scored_on_the_same(program, photos):
    """Labels are in the order of numbers here, features in that of names: 0, 1, 10, 11, ..."""
    names = pd.read_csv(photos / "photos.csv")["file"]
    features = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    table = pd.DataFrame(features, index=pd.Index(names, name="file")).rename(columns=str)
    table.sort_index().to_parquet(photos / "x.parquet")
    labels = ("-l", "photos.csv", "--holdout", "0.3", "--max-passes", "5")
    assert program("fit", "x.parquet", *labels, "-o", "fitted")[0] == 0
    assert program("train", "photos", *labels, "-o", "cnn", "--side", "16", "--frozen")[0] == 0
    shares = [
        pd.read_csv(photos / run / "metrics_by_attribute.csv")["prevalence"].tolist()
        for run in ("fitted", "cnn")
    ]
    assert shares[0] == shares[1]
    rows = json.loads((photos / "fitted" / "config.json").read_text())["rows"]
    assert rows == {"fitted": 28, "held_out": 12}


@pytest.mark.parametrize("holdout", ["0.2", "0.9"])
def test_too_few_rows_to_hold_any_out_are_said_so(program, files, holdout):
    np.save(files / "two.npy", np.eye(2))
    (files / "two.csv").write_text("a\n1\n0\n")
    code, _, err = program("fit", "two.npy", "-l", "two.csv", "-o", "run", "--holdout", holdout)
    assert code == 2
    assert f"--holdout {holdout}: of 2 rows that leaves none to fit on" in err
