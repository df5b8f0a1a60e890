"""Columns of parquet features on the command line: found by their names, if the model has some."""

import numpy as np
import pandas as pd
import pytest

from proxmtl import LatentMTLClassifier
from proxmtl.estimators import load_model, save_model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

COLUMNS = [f"f{i}" for i in range(6)]
QUICK = ("--max-passes", "20")
MODELS = {
    "single": ("fit", "--single-task", "0.01"),
    "latent": ("fit", *QUICK),
    "auto": ("fit", "--auto"),
    "ridge": ("tune", "--model", "ridge", "--method", "hypergradient", *QUICK),
    "grid": ("tune", "--model", "ridge", "--method", "grid", "--points", "1", *QUICK),
}


@pytest.fixture
def tables(files):
    """The features with names: in their order, in another one, and with another name."""
    table = pd.DataFrame(np.load(files / "x.npy"), columns=COLUMNS)
    table.to_parquet(files / "x.parquet")
    table[COLUMNS[::-1]].to_parquet(files / "reversed.parquet")
    table.rename(columns={"f0": "zz"}).to_parquet(files / "renamed.parquet")
    table.assign(more=0.0).to_parquet(files / "wider.parquet")
    return files


def _predicted(program, files, name):
    assert program("predict", "run", name, "-o", "p.csv", "--scores", "--force")[0] == 0
    return pd.read_csv(files / "p.csv").to_numpy()


@pytest.mark.filterwarnings("ignore::proxmtl.selection.edges.EdgeWarning")
@pytest.mark.parametrize("kind", MODELS)
def test_columns_are_found_by_their_names(program, tables, kind):
    command, *options = MODELS[kind]
    assert program(command, "x.parquet", "-l", "y.csv", "-o", "run", *options)[0] == 0
    assert load_model(tables / "run").feature_names_in_.tolist() == COLUMNS
    expected = _predicted(program, tables, "x.parquet")
    np.testing.assert_array_equal(_predicted(program, tables, "reversed.parquet"), expected)
    # without names by position; a warning would be an error
    np.testing.assert_array_equal(_predicted(program, tables, "x.npy"), expected)
    outputs = [
        program("evaluate", "run", name, "-l", "y.csv")
        for name in ("x.parquet", "reversed.parquet", "x.npy")
    ]
    assert outputs[0] == outputs[1] == outputs[2]
    assert "64 of the 80 samples are among those" in outputs[0][2]


@pytest.mark.parametrize("command", ["predict", "evaluate", "zeroshot"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("renamed.parquet", "no column for 1 of the model's 6 features, the first is 'f0', and"),
        ("wider.parquet", "1 of its 7 columns is no feature of the model, the first is 'more'"),
    ],
)
def test_columns_of_other_names_end_the_command(program, tables, command, name, words):
    assert program("fit", "x.parquet", "-l", "y.csv", "-o", "run", *QUICK)[0] == 0
    rows = "name,black,white,spots,stripes\nzebra,1,1,0,1\nswan,0,1,0,0\n"
    (tables / "matrix.csv").write_text(rows)
    (tables / "classes.csv").write_text("class\n" + 40 * "zebra\nswan\n")
    held = ("--held-out", "x.npy", "--held-out-labels", "y.csv")
    options = {
        "predict": ("-o", "p.csv"),
        "evaluate": ("-l", "y.csv"),
        "zeroshot": ("-m", "matrix.csv", "-c", "classes.csv", *held),
    }
    code, _, err = program(command, "run", name, *options[command])
    assert code == 2
    assert f"{name}: {words}" in err
    assert not (tables / "p.csv").exists()


def test_a_model_without_names_takes_columns_by_position(program, tables):
    assert program("fit", "x.npy", "-l", "y.csv", "-o", "run", *QUICK)[0] == 0
    assert not hasattr(load_model(tables / "run"), "feature_names_in_")
    expected = _predicted(program, tables, "x.npy")
    np.testing.assert_array_equal(_predicted(program, tables, "renamed.parquet"), expected)


def test_a_model_fitted_on_a_data_frame_in_python_knows_its_columns(program, tables):
    X = pd.read_parquet(tables / "x.parquet")
    model = LatentMTLClassifier(max_passes=400).fit(X, pd.read_csv(tables / "y.csv"))
    (tables / "run").mkdir()
    save_model(tables / "run", model)
    expected = _predicted(program, tables, "reversed.parquet")
    np.testing.assert_allclose(expected, model.decision_function(X), rtol=1e-5)
    np.testing.assert_array_equal(_predicted(program, tables, "x.npy"), expected)
    assert program("predict", "run", "renamed.parquet", "-o", "q.csv")[0] == 2


def test_names_meet_in_either_form_of_unicode_and_a_misspelt_one_is_suggested(program, tables):
    table = pd.DataFrame(np.load(tables / "x.npy"), columns=["gr\u00f6\u00dfe", *COLUMNS[1:]])
    table.to_parquet(tables / "composed.parquet")
    decomposed = table.rename(columns={"gr\u00f6\u00dfe": "gro\u0308\u00dfe"})
    decomposed[decomposed.columns[::-1]].to_parquet(tables / "decomposed.parquet")
    upper = table.rename(columns={"gr\u00f6\u00dfe": "Gr\u00f6\u00dfe"})
    upper.to_parquet(tables / "upper.parquet")
    assert program("fit", "composed.parquet", "-l", "y.csv", "-o", "run", *QUICK)[0] == 0
    expected = _predicted(program, tables, "composed.parquet")
    np.testing.assert_array_equal(_predicted(program, tables, "decomposed.parquet"), expected)
    code, _, err = program("predict", "run", "upper.parquet", "-o", "q.csv")
    assert code == 2
    assert "is it 'Gr\u00f6\u00dfe'?" in err
