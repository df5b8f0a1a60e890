"""What commands make of scores: thresholds that were chosen, and numbers where there is no yes."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from proxmtl.cli.run import sharing_line
from proxmtl.estimators import SingleTaskClassifierCV, SingleTaskRegressor, load_model, save_model

FIT = ("fit", "x.npy", "--labels", "y.csv", "--out", "run")


def test_thresholds_of_a_fit_are_those_of_its_predictions(program, files):
    assert program(*FIT, "--auto", "--threshold", "f1")[0] == 0
    model = load_model(files / "run")
    assert model.threshold == "f1"
    assert not (model.thresholds_ == 0.5).all()
    code, out, _ = program("predict", "run", "x.npy", "--out", "p.csv")
    assert code == 0
    assert "labels 0 and 1" in out
    predicted = pd.read_csv(files / "p.csv")
    X = np.load(files / "x.npy")
    np.testing.assert_array_equal(predicted.to_numpy(), model.predict(X))
    program("predict", "run", "x.npy", "--out", "s.csv", "--scores")
    scores = pd.read_csv(files / "s.csv").to_numpy()
    np.testing.assert_array_equal(scores > 0, model.predict(X) > 0)
    code, out, _ = program("predict", "run", "x.npy", "--out", "q.csv", "--probabilities")
    assert "probabilities" in out
    shares = pd.read_csv(files / "q.csv").to_numpy()
    np.testing.assert_allclose(shares, model.predict_proba(X), rtol=1e-5)
    code, out, _ = program("evaluate", "run", "x.npy", "--labels", "y.csv", "--out", "m.csv")
    assert code == 0
    accuracy = pd.read_csv(files / "m.csv")["accuracy"].mean()
    labels = pd.read_csv(files / "y.csv").to_numpy()
    assert accuracy == pytest.approx(model.score(X, labels), abs=1e-4)
    few = pd.read_csv(files / "y.csv")
    few.loc[np.flatnonzero(few["black"] == 1)[5:], "black"] = np.nan
    few.to_csv(files / "few.csv", index=False)
    _, _, err = program("evaluate", "run", "x.npy", "--labels", "few.csv")
    assert "scored on fewer than 10 positive labels; its interval is wide: black" in " ".join(
        err.split()
    )


@pytest.mark.parametrize("scaling", ["--standardize", "--no-standardize"])
def test_runs_of_a_fixed_scaling_are_read_by_all_commands(program, files, scaling):
    assert program(*FIT, "--auto", scaling)[0] == 0
    assert load_model(files / "run").standardize is (scaling == "--standardize")
    assert (files / "run" / "report.html").is_file() or program("report", "run")[0] == 0
    assert program("inspect", "run")[0] == 0
    assert program("predict", "run", "x.npy", "--out", "p.csv")[0] == 0
    assert program("evaluate", "run", "x.npy", "--labels", "y.csv")[0] == 0


def test_probabilities_are_those_of_calibrated_runs_alone(program, files):
    assert program(*FIT, "--single-task", "0.1", "--no-report")[0] == 0
    code, _, err = program("predict", "run", "x.npy", "--out", "p.csv", "--probabilities")
    assert code != 0
    assert "is not calibrated (fit --auto, the default on images, calibrates one)" in err
    code, _, err = program(
        "predict", "run", "x.npy", "--out", "p.csv", "--probabilities", "--scores"
    )
    assert code != 0
    assert "give one of the two" in err
    assert not (files / "p.csv").exists()


def test_a_run_whose_attributes_share_keeps_the_scores_of_each_alone(program, files):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((150, 12))
    common = rng.standard_normal((12, 2)) @ rng.standard_normal((2, 5))
    Y = (X @ common + rng.standard_normal((150, 5)) > 0).astype(float)
    Y[:110][rng.random((110, 5)) < 0.6] = np.nan
    np.save(files / "x.npy", X)
    pd.DataFrame(Y, columns=list("abcde")).to_csv(files / "y.csv", index=False)
    assert program(*FIT, "--auto", "--no-report")[0] == 0
    shared = pd.read_csv(files / "run" / "sharing.csv").set_index("attribute")["shared"]
    table = pd.read_csv(files / "run" / "predictions.csv")
    split = pd.read_csv(files / "run" / "split.csv")["part"].to_numpy() == "fitted"
    assert shared.any()
    alone = SingleTaskClassifierCV(random_state=0).fit(X[split], Y[split])
    scores = pd.DataFrame(alone.decision_function(X), columns=list("abcde"))
    expected = [
        scores[name][row] for name, row in zip(table["attribute"], table["row"], strict=True)
    ]
    np.testing.assert_allclose(table["score_alone"], expected, rtol=1e-2, atol=1e-2)
    sharing = table["attribute"].map(shared).to_numpy(bool)
    differs = (table["score"] - table["score_alone"]).abs() > 0.02
    assert differs[sharing].any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--auto", "--threshold", "recall"), "--threshold: got 'recall'"),
        (("--auto", "--threshold", "1.5"), "--threshold: got 1.5"),
        (("--threshold", "f1"), "--threshold: this is an option of --auto"),
    ],
)
def test_thresholds_that_do_nothing_raise(program, options, said):
    code, _, err = program(*FIT, *options)
    assert code == 2
    assert said in err


def test_regressors_predict_and_are_not_evaluated(program, files):
    X = np.load(files / "x.npy").astype(float)
    Y = pd.DataFrame(1e6 + X[:, :2], columns=["length", "width"])
    model = SingleTaskRegressor().fit(X, Y)
    save_model(files / "model", model)
    code, out, _ = program("predict", "model", "x.npy", "--out", "p.csv")
    assert code == 0
    assert "2 attributes (values)" in out
    predicted = pd.read_csv(files / "p.csv")
    assert list(predicted.columns) == ["length", "width"]
    np.testing.assert_allclose(predicted, model.predict(X), rtol=1e-9)
    code, out, _ = program("inspect", "model")
    assert code == 0
    assert "SingleTaskRegressor" in out
    code, _, err = program("evaluate", "model", "x.npy", "--labels", "y.csv")
    assert code == 2
    assert "holds a regressor" in err


def test_groups_of_a_search_stand_in_the_tables_of_further_rows(program, files):
    assert program(*FIT, "--auto", "--groups", "g.json")[0] == 0
    code, out, _ = program("evaluate", "run", "x.npy", "--labels", "y.csv")
    assert code == 0
    assert "colors" in out
    assert "patterns" in out


def test_what_sharing_gains_is_said_of_what_could_be_scored():
    shared = np.array([True, True, True, False])
    nan = np.nan
    report = pd.DataFrame(
        {"shared": shared, "gain": [0.02, nan, 0.01, 0.5], "gain_error": [0.001, nan, 0.1, 0.1]}
    )
    said = sharing_line(shared, report)
    assert said.startswith("3 of 4 attributes, a clear gain for 1; +1.5 points on average of the 2")
    none = sharing_line(shared, report.assign(gain=nan))
    assert none == "3 of 4 attributes; the gain could be scored for none of them"


def test_groups_that_change_no_model_are_said_to_serve_the_tables(program):
    for options, what in (
        (("--auto",), "with --latent they choose latent tasks together"),
        (("--single-task", "0.1"), "this model has none"),
    ):
        code, _, err = program(*FIT, "-g", "g.json", *options, "--no-report", "--force")
        assert code == 0
        assert f"the groups serve the tables, and don't change the model; {what}" in err


def test_a_column_that_no_attribute_has_is_offered_for_one_that_is_missing(program, files):
    assert program(*FIT, "--single-task", "0.1", "--no-report")[0] == 0
    table = pd.read_csv(files / "y.csv")
    evaluate = ("evaluate", "run", "x.npy", "--labels", "z.csv")
    table.rename(columns={"stripes": "strips"}).to_csv(files / "z.csv", index=False)
    assert "is 'strips' the column of 'stripes'?" in program(*evaluate)[2]
    table.rename(columns={"stripes": "tall"}).to_csv(files / "z.csv", index=False)
    assert "the model has no attribute 'tall'." in program(*evaluate)[2]
    table.drop(columns="stripes").to_csv(files / "z.csv", index=False)
    err = program(*evaluate)[2]
    assert "add it (blank cells for missing labels)." in err


def test_an_attribute_that_is_never_called_a_yes_is_named_however_labels_are_given(program, files):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5)).astype(np.float32)
    Y = np.stack([X[:, 0] > 0, rng.random(200) < 0.15], axis=1)  # the second is noise, and rare
    np.save(files / "x.npy", X)
    pd.DataFrame(Y.astype(int), columns=["task 0", "task 1"]).to_csv(files / "y.csv", index=False)
    sparse.save_npz(files / "y.npz", sparse.csr_matrix(np.where(Y, 1.0, -1.0)))
    for labels in ("y.csv", "y.npz"):
        fit = ("fit", "x.npy", "--labels", labels, "--single-task", "0.1", "--out", "run")
        code, _, err = program(*fit, "--no-report", "--force")
        assert code == 0
        assert (
            "yes to none of the scored rows for 1 of 2 attributes, though some are: task 1" in err
        )
        assert "--balanced says yes more often" in err
