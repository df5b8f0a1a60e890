"""Sparse features, and tables with a line for each label, through the commands."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from proxmtl.estimators import load_model

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 12)) * (RNG.random((90, 12)) < 0.4)
Y = (X @ RNG.normal(size=(12, 3)) + 0.3 * RNG.normal(size=(90, 3)) > 0).astype(int)


@pytest.fixture
def both(files):
    sparse.save_npz(files / "thin.npz", sparse.csr_array(X))
    np.save(files / "full.npy", X)
    pd.DataFrame(Y, columns=["red", "blue", "round"]).to_csv(files / "labels.csv", index=False)
    return files


@pytest.mark.parametrize("model", [["--single-task", "0.01", "--tol", "1e-9"], ["--tol", "1e-5"]])
def test_the_run_is_that_of_dense_features(program, both, model):
    for name in ("thin.npz", "full.npy"):
        out = name.split(".")[0]
        assert program("fit", name, "-l", "labels.csv", "-o", out, *model)[0] == 0
        assert program("predict", out, name, "-o", f"{out}.csv", "--scores")[0] == 0
    thin, full = (pd.read_csv(both / f"{name}.csv") for name in ("thin", "full"))
    pd.testing.assert_frame_equal(thin, full, atol=5e-3, rtol=0)
    metrics = [
        json.loads((both / name / "metrics.json").read_text())["groups"]["Total"]
        for name in ("thin", "full")
    ]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-2)
    code, out, err = program("evaluate", "thin", "thin.npz", "-l", "labels.csv")
    assert code == 0
    assert "72 of the 90 samples are among those that the model was fitted on" in out + err


def test_names_of_samples_beside_sparse_features(program, both):
    pd.DataFrame({"id": [f"s{i}" for i in range(90)]}).to_csv(both / "thin.ids.csv", index=False)
    table = pd.DataFrame(Y, columns=["red", "blue", "round"])
    table.insert(0, "id", [f"s{i}" for i in range(90)])
    table.iloc[::-1].iloc[:80].to_csv(both / "some.csv", index=False)
    code, out, err = program("fit", "thin.npz", "-l", "some.csv", "-o", "run", "--max-passes", "50")
    assert code == 0
    assert "80" in out + err
    config = json.loads((both / "run" / "config.json").read_text())
    assert config["match"]["matched"] == "id"
    assert config["match"]["features"] == 90


@pytest.mark.parametrize(
    "method", [["--method", "hypergradient"], ["--method", "grid", "--points", "3", "--folds", "2"]]
)
def test_strengths_are_chosen_on_sparse_features(program, both, method):
    call = ("-l", "labels.csv", "--model", "lasso", *method)
    for name in ("thin.npz", "full.npy"):
        assert program("tune", name, *call, "-o", name.split(".")[0])[0] == 0
    thin, full = (load_model(both / name) for name in ("thin", "full"))
    assert thin.strength == pytest.approx(full.strength, rel=1e-3)
    np.testing.assert_allclose(thin.coef_, full.coef_, atol=2e-3)


def test_a_line_for_each_label(program, both):
    seen = RNG.random(Y.shape) < 0.7
    rows, tasks = np.nonzero(seen)
    names = np.array(["red", "blue", "round"])
    order = RNG.permutation(len(rows))
    long = pd.DataFrame({"id": rows, "task": names[tasks], "value": Y[rows, tasks]})
    long.iloc[order].to_csv(both / "long.csv", index=False)
    pd.DataFrame({"id": range(90)}).to_csv(both / "thin.ids.csv", index=False)
    wide = pd.DataFrame(np.where(seen, Y, np.nan), columns=names)
    wide.insert(0, "id", range(90))
    wide.dropna(how="all", subset=names).to_csv(both / "wide.csv", index=False)
    call = ("fit", "thin.npz", "--single-task", "0.01", "--holdout", "0", "--tol", "1e-10")
    assert program(*call, "-l", "long.csv", "--task-column", "task", "-o", "long")[0] == 0
    assert program(*call, "-l", "wide.csv", "-o", "wide")[0] == 0
    long_model, wide_model = (load_model(both / name) for name in ("long", "wide"))
    place = [long_model.label_names_.index(name) for name in wide_model.label_names_]
    np.testing.assert_allclose(long_model.coef_[place], wide_model.coef_, atol=1e-4)
    code, out, _ = program(
        "evaluate", "long", "thin.npz", "-l", "long.csv", "--task-column", "task"
    )
    assert code == 0
    assert "Total" in out
    code, _, err = program(*call, "-l", "long.csv", "--task-column", "kind", "-o", "no")
    assert code == 2
    assert "long.csv, line 1: there is no column 'kind' for the tasks" in err


def known_pairs(n, n_tasks, share, seed=1):
    """Features, and labels of some pairs: a table with NaN, and a sparse matrix of -1 and +1."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    rows, tasks = np.nonzero(rng.random((n, n_tasks)) < share)
    noise = rng.normal(size=len(rows))
    signs = np.where((X @ rng.normal(size=(3, n_tasks)))[rows, tasks] + noise > 0, 1, -1)
    return X, sparse.csr_array((signs, (rows, tasks)), shape=(n, n_tasks))


@pytest.mark.parametrize("model", [["--single-task", "0.01", "--tol", "1e-9"], ["--tol", "1e-4"]])
def test_known_pairs_give_the_run_of_a_table(program, files, model):
    X, known = known_pairs(150, 4, 0.6)
    np.save(files / "x.npy", X)
    sparse.save_npz(files / "pairs.npz", known)
    table = np.full(known.shape, np.nan)
    rows = np.repeat(np.arange(150), np.diff(known.indptr))
    table[rows, known.indices] = known.data > 0
    names = [f"task {number}" for number in range(4)]
    pd.DataFrame(table, columns=names).to_csv(files / "table.csv", index=False)
    for labels, out in (("pairs.npz", "pairs"), ("table.csv", "table")):
        code, _, err = program("fit", "x.npy", "-l", labels, "-o", out, *model)
        assert code == 0, err
        call = ("evaluate", out, "x.npy", "-l", labels, "-o", f"{out}-scores.csv")
        code, shown, err = program(*call)
        assert code == 0, err
        assert "120 of the 150 samples are among those that the model was fitted on" in shown + err
    one, other = ((files / out / "split.csv").read_text() for out in ("pairs", "table"))
    assert one == other
    one, other = (pd.read_csv(files / out / "predictions.csv") for out in ("pairs", "table"))
    pd.testing.assert_frame_equal(one, other, atol=5e-3, rtol=0)
    one, other = (pd.read_csv(files / f"{out}-scores.csv") for out in ("pairs", "table"))
    pd.testing.assert_frame_equal(one, other, atol=2e-2, rtol=0)
    one, other = (
        pd.read_csv(files / out / "metrics_by_attribute.csv") for out in ("pairs", "table")
    )
    counts = ["n_observed", "fitted_labels", "fitted_positives"]
    pd.testing.assert_frame_equal(one[counts], other[counts])


def test_known_pairs_make_no_table(program, files):
    n, n_tasks = 12_000, 160
    X, known = known_pairs(n, n_tasks, 0.0025)
    np.save(files / "x.npy", X)
    sparse.save_npz(files / "pairs.npz", known)
    table = 8 * n * n_tasks
    assert table > 10 * 8 * known.nnz
    fit = ("fit", "x.npy", "-l", "pairs.npz", "-o", "run", "--single-task", "0.01", "--force")
    for call in (fit, ("evaluate", "run", "x.npy", "-l", "pairs.npz")):
        assert program(*call)[0] == 0  # what is imported and compiled is not of the labels
        tracemalloc.start()
        code, _, err = program(*call)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert code == 0, err
        assert peak < table, call
