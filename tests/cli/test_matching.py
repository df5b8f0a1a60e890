"""Rows of features and labels on the command line: by identifier, in part, by position."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

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
    assert "match: got 'name'; use 'auto', 'id' or 'position'" in err
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
    assert f"2 of 4 attributes have fewer than {minimum} row" in err
    assert "'white', 'spots'" in err
    assert _config(files)["match"]["attributes_left_out"] == ["white", "spots"]
    model = json.loads((files / "run" / "model.json").read_text())["description"]
    assert model["label_names"] == ["black", "stripes"]
    assert program("inspect", "run")[0] == 0
    code, _, err = program(*call, "--min-positives", "79", "--force")
    assert code == 2
    assert "none of the 4 attributes has 79 rows with yes" in err


def _with_counts(files, **positives):
    """Labels of 80 rows of which so many are yes."""
    rows = pd.DataFrame({name: np.arange(80) < count for name, count in positives.items()})
    rows.sample(frac=1, random_state=0).to_csv(files / "few.csv", index=False)


def test_attributes_that_folds_would_leave_with_one_class_are_all_named_at_once(program, files):
    _with_counts(files, black=40, one=1, lone=1, blue=30)
    call = ("tune", "x.npy", "-l", "few.csv", "-o", "run", "--model", "ridge", "--method", "grid")
    call += ("--folds", "5", "--points", "1", *QUICK)
    code, _, err = program(*call)
    assert code == 2
    assert "--folds 5: yes or no of 'one', 'lone' would be lacking" in err
    assert "--min-positives 2" in err
    assert program(*call, "--min-positives", "2")[0] == 0


def test_attributes_that_no_split_can_serve_are_all_named_at_once(program, files):
    rare = {f"rare {i}": 1 for i in range(60)}
    rows = pd.DataFrame({name: np.arange(80) == i for i, name in enumerate(rare)})
    rows.assign(common=np.arange(80) % 2).to_csv(files / "few.csv", index=False)
    call = ("fit", "x.npy", "-l", "few.csv", "-o", "run", *QUICK)
    code, _, err = program(*call, "--holdout", "0.5")
    assert code == 2
    assert "--holdout 0.5: that leaves 40 rows to fit on, without a yes or a no of 'rare" in err
    assert sum(repr(name) in err for name in rare) == 20  # each row has a yes of one of the 60
    assert "'common'" not in err
    assert program(*call, "--holdout", "0.5", "--min-positives", "5")[0] == 0


@pytest.mark.filterwarnings("always:.* row without text")
def test_words_semicolons_umlauts_and_empty_rows_of_a_spreadsheet(program, named):
    """Names of groups are decomposed, those of the labels composed."""
    labels = pd.read_csv(named / "named.csv").rename(columns={"white": "wei\u00df [\u00e4]"})
    cells = labels.replace({0: "nein", 1: "ja"}).astype(object).fillna("").astype(str)
    lines = ["image;" + ";".join(labels.columns[1:]), *map(";".join, cells.to_numpy())]
    lines = [*lines[:5], ";;;;", *lines[5:], ";;;;", ";;;;", ""]
    (named / "excel.csv").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    groups = "Gruppe;Merkmal\r\nhell;wei\u00df [a\u0308]\r\nhell;black\r\n;\r\n"
    (named / "groups.csv").write_bytes(groups.encode("utf-16"))
    call = ("all.parquet", "-o", "run", *QUICK)
    code, out, err = program("fit", *call, "-l", "excel.csv", "-g", "groups.csv")
    assert code == 0, err
    assert "excel.csv: 1 row without text between the others left out, the first in line 6" in err
    assert "hell" in out
    first = (named / "run" / "model.safetensors").read_bytes()
    assert program("fit", *call, "-l", "named.csv", "--force")[0] == 0
    assert program("evaluate", "run", "all.parquet", "-l", "named.csv")[0] == 0
    code, _, err = program("evaluate", "run", "all.parquet", "-l", "excel.csv")
    assert code == 2
    assert "'white'" in err
    second = (named / "run" / "model.safetensors").read_bytes()
    assert load(first)["coef_"].shape == load(second)["coef_"].shape


def test_predictions_need_the_files_of_the_model_alone(program, named):
    call = ("-l", "y.csv", "-o", "run", "--holdout", "0", *QUICK)
    assert program("fit", "x.npy", *call)[0] == 0
    assert program("predict", "run", "x.npy", "-o", "all.csv")[0] == 0
    (named / "copy").mkdir()
    for name in ("model.json", "model.safetensors", "manifest.json"):
        (named / "copy" / name).write_bytes((named / "run" / name).read_bytes())
    assert program("predict", "copy", "x.npy", "-o", "p.csv")[0] == 0
    assert (named / "p.csv").read_text() == (named / "all.csv").read_text()
    code, _, err = program("evaluate", "copy", "x.npy", "-l", "y.csv")
    assert code != 0
    assert "fitted_rows.npy" in err


def test_a_column_of_identifiers_may_be_one_of_the_labels_alone_but_not_of_no_file(program, named):
    table = pd.read_csv(named / "named.csv").rename(columns={"image": "Nr"})
    table.to_csv(named / "nr.csv", index=False, float_format="%.0f")
    call = ("fit", "all.parquet", "-l", "nr.csv", "-o", "run", *QUICK)
    assert program(*call, "--id-column", "Nr")[0] == 0
    assert _config(named)["match"]["matched"] == "id"
    evaluated = program("evaluate", "run", "all.parquet", "-l", "nr.csv", "--id-column", "Nr")
    assert evaluated[0] == 0
    code, _, err = program("predict", "run", "all.parquet", "-o", "p.csv", "--id-column", "foo")
    assert code == 2
    assert "all.parquet: there is no column or index 'foo' for the row identifiers" in err
    assert not (named / "p.csv").exists()
