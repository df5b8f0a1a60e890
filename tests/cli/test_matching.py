"""Rows of features and labels on the command line: by identifier, in part, by position."""

import json

import numpy as np
import pandas as pd
import pytest

NAMES = ["black", "white", "spots", "stripes"]
QUICK = ("--max-passes", "20")


@pytest.fixture
def named(files):
    """The data set with names: ``all.parquet`` shuffled, ``named.csv`` in the old order."""
    ids = [f"photos/{i}.jpg" for i in range(80)]
    table = pd.DataFrame(np.load(files / "x.npy"), index=ids).rename(columns=str)
    table.sample(frac=1, random_state=0).to_parquet(files / "all.parquet")
    labels = pd.read_csv(files / "y.csv")
    labels.insert(0, "image", ids)
    labels.to_csv(files / "named.csv", index=False, float_format="%.0f")
    labels[:50].to_csv(files / "train.csv", index=False, float_format="%.0f")
    labels[50:].to_csv(files / "test.csv", index=False, float_format="%.0f")
    return files


def _config(folder):
    return json.loads((folder / "run" / "config.json").read_text())


def test_shuffled_features_are_fitted_as_in_the_old_order(program, named):
    """By position the labels would be of other rows, and no better than chance."""
    call = ("-l", "named.csv", "-o", "run", "--holdout", "0", *QUICK)
    assert program("fit", "all.parquet", *call)[0] == 0
    assert program("predict", "run", "all.parquet", "-o", "p.csv")[0] == 0
    predicted = pd.read_csv(named / "p.csv", index_col="id")
    truth = pd.read_csv(named / "named.csv", index_col="image").loc[predicted.index]
    right = (predicted == truth).to_numpy()[truth.notna().to_numpy()]
    assert right.mean() > 0.9
    assert _config(named)["match"]["matched"] == "id"


def test_parts_of_the_features_are_fitted_and_scored_by_their_labels(program, named):
    code, _, err = program("fit", "all.parquet", "-l", "train.csv", "-o", "run", *QUICK)
    assert code == 0
    assert "50 rows are used, matched by their identifiers; left out are 30 of 80 in" in err
    assert _config(named)["rows"] == {"fitted": 40, "held_out": 10}
    matched = {"matched": "id", "features": 80, "labels": 50, "attributes_left_out": []}
    assert _config(named)["match"] == matched
    code, out, err = program("evaluate", "run", "all.parquet", "-l", "test.csv")
    assert code == 0
    assert "30 samples" in out
    assert "30 rows are used" in err
    assert "fitted on" not in err


@pytest.mark.parametrize("command", ["fit", "tune", "evaluate"])
def test_names_on_one_side_end_the_command_unless_the_position_is_asked_for(
    program, named, command
):
    call = ["fit", "x.npy", "-l", "named.csv", "-o", "run", *QUICK]
    if command == "evaluate":
        assert program(*call, "--match", "position")[0] == 0
        call = ["evaluate", "run", "x.npy", "-l", "named.csv"]
    if command == "tune":
        call = ["tune", *call[1:], "--model", "ridge", "--points", "1", "--method", "grid"]
    code, _, err = program(*call)
    assert code == 2
    assert "x.npy: there are no identifiers of its rows" in err
    assert "x.ids.csv" in err
    code, _, err = program(*call, "--match", "id")
    assert code == 2
    assert "Error" in err
    code, _, err = program(*call, "--match", "name")
    assert code == 2
    assert "match: got 'name'; use 'auto', 'id', 'position'" in err
    assert program(*call, "--match", "position")[0] == 0


def test_repeated_names_end_a_prediction_unless_they_are_left_out_of_it(program, named):
    assert program("fit", "x.npy", "-l", "y.csv", "-o", "run", *QUICK)[0] == 0
    table = pd.read_parquet(named / "all.parquet")
    pd.concat([table, table[:1]]).to_parquet(named / "twice.parquet")
    code, _, err = program("predict", "run", "twice.parquet", "-o", "p.csv")
    assert code == 2
    assert "twice.parquet: the identifier 'photos/" in err
    assert program("predict", "run", "twice.parquet", "-o", "p.csv", "--match", "position")[0] == 0
    assert (named / "p.csv").read_text().splitlines()[0] == ",".join(NAMES)


@pytest.mark.parametrize("minimum", [1, 5])
def test_rare_attributes_are_left_out_and_taken_out_of_the_groups(program, files, minimum):
    labels = pd.read_csv(files / "y.csv")
    labels["white"] = 0
    labels["spots"] = 1
    labels.loc[: minimum - 2, "spots"] = 0
    labels.to_csv(files / "rare.csv", index=False, float_format="%.0f")
    groups = {"white": ["white"], "dark": ["black", "white"], "patterns": ["spots", "stripes"]}
    (files / "g.json").write_text(json.dumps(groups))
    call = ("fit", "x.npy", "-l", "rare.csv", "-g", "g.json", "-o", "run", *QUICK)
    code, _, err = program(*call)
    assert code == 2
    assert "'white'" in err
    code, _, err = program(*call, "--min-positives", minimum)
    assert code == 0
    assert f"2 of 4 attributes have fewer than {minimum} rows" in err
    assert "'white', 'spots'" in err
    assert _config(files)["match"]["attributes_left_out"] == ["white", "spots"]
    model = json.loads((files / "run" / "model.json").read_text())["description"]
    assert model["label_names"] == ["black", "stripes"]
    assert program("inspect", "run")[0] == 0
    code, _, err = program(*call, "--min-positives", "79", "--force")
    assert code == 2
    assert "none of the 4 attributes has 79 rows with yes" in err
