"""A folder of shards on the command line: what one file gives, row by row."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LITTLE = ("--memory", "1000B")
"""Of features that take 1,920: nothing is held."""
PARTS = [0, 30, 31, 80]


@pytest.fixture
def sharded(files):
    """The data set in three shards, ``x``, beside the file ``x.npy``."""
    X = np.load(files / "x.npy")
    (files / "x").mkdir()
    for number, (start, stop) in enumerate(pairwise(PARTS)):
        np.save(files / "x" / f"{8 + number}.npy", X[start:stop])
    return files


def config(folder, run):
    return json.loads((folder / run / "config.json").read_text())


def metrics(folder, run):
    return (
        pd.read_csv(folder / run / "metrics_by_attribute.csv")
        .drop(columns="model")
        .to_numpy(object)[:, 1:]
    )


CALLS = {
    "fit": ("fit", "--single-task", "0.01", "--tol", "1e-9"),
    "fit latent": ("fit", "-g", "g.json", "--tol", "1e-6", "--own-strength", "0.01"),
    "fit auto": ("fit", "--auto", "--threshold", "f1"),
    "tune": ("tune", "--model", "lasso"),
    "tune grid": ("tune", "--model", "ridge", "--method", "grid", "--points", "3", "--folds", "2"),
    "tune latent": ("tune", "--points", "1", "--max-passes", "50"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_folder_gives_what_one_file_gives(program, sharded, call):
    command, *options = CALLS[call]
    for source in ("x.npy", "x"):
        out = f"run-{source}"
        code, _, err = program(command, source, "-l", "y.csv", "-o", out, *options)
        assert code == 0, err
    np.testing.assert_array_equal(metrics(sharded, "run-x"), metrics(sharded, "run-x.npy"))
    own, other = (config(sharded, run) for run in ("run-x", "run-x.npy"))
    for name in ("rows", "match", "parameters", "holdout"):
        assert own[name] == other[name]
    ((folder, labels), (_, expected)) = ([e["path"] for e in c["inputs"][:2]] for c in (own, other))
    assert (folder, labels) == ("x", expected)
    for run, samples in (("run-x", "x.npy"), ("run-x.npy", "x")):
        assert program("predict", run, samples, "-o", f"{run}.csv", "--scores")[0] == 0
    assert (sharded / "run-x.csv").read_text() == (sharded / "run-x.npy.csv").read_text()


@pytest.mark.parametrize("call", ["fit", "fit latent", "tune", "tune grid"])
def test_so_it_does_with_less_memory_than_the_features_take(program, sharded, call):
    command, *options = CALLS[call]
    for source, memory in (("x.npy", ()), ("x", LITTLE)):
        code, _, err = program(
            command, source, "-l", "y.csv", "-o", f"run-{source}", *options, *memory
        )
        assert code == 0, err
    expected = metrics(sharded, "run-x.npy").astype(float)
    np.testing.assert_allclose(metrics(sharded, "run-x").astype(float), expected, atol=2e-2)
    for source, memory in (("x.npy", ()), ("x", LITTLE), ("x.npy", LITTLE)):
        out = f"p-{source}{len(memory)}.csv"
        assert program("predict", "run-x", source, "-o", out, "--scores", *memory)[0] == 0
    first, *others = (pd.read_csv(path) for path in sorted(sharded.glob("p-*.csv")))
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory", [(), LITTLE], ids=["held", "streamed"])
def test_scores_of_a_folder_and_rows_that_were_fitted(program, sharded, memory):
    assert program("fit", "x", "-l", "y.csv", "-o", "run", "--max-passes", "50", *memory)[0] == 0
    fitted = "64 of the 80 samples are among those that the model was fitted on"
    out = []
    for source in ("x", "x.npy"):
        code, text, err = program("evaluate", "run", source, "-l", "y.csv", "-a", *memory)
        assert code == 0
        assert fitted in err
        out.append(text)
    assert out[0] == out[1]


def test_rows_are_matched_by_the_identifiers_of_the_shards(program, sharded):
    ids = [f"{i}.jpg" for i in range(80)]
    labels = pd.read_csv(sharded / "y.csv")
    labels.insert(0, "image", ids)
    labels.sample(frac=1, random_state=0)[:70].to_csv(
        sharded / "named.csv", index=False, float_format="%.0f"
    )
    code, _, err = program("fit", "x", "-l", "named.csv", "-o", "run")
    assert code == 2
    assert "there are no identifiers of its rows" in err
    for number, (start, stop) in enumerate(pairwise(PARTS)):
        text = "\n".join(["id", *ids[start:stop]]) + "\n"
        (sharded / "x" / f"{8 + number}.ids.csv").write_text(text)
    code, _, err = program("fit", "x", "-l", "named.csv", "-o", "run", "--holdout", "0", *LITTLE)
    assert code == 0
    assert "70 rows are used" in err
    assert config(sharded, "run")["match"]["matched"] == "id"
    assert program("predict", "run", "x", "-o", "p.csv")[0] == 0
    assert pd.read_csv(sharded / "p.csv")["id"].tolist() == ids
    predicted = pd.read_csv(sharded / "p.csv", index_col="id")
    truth = labels.set_index("image").loc[predicted.index]
    right = (predicted == truth).to_numpy()[truth.notna().to_numpy()]
    assert right.mean() > 0.9


def test_shards_of_parquet_have_identifiers_and_names(program, sharded):
    pytest.importorskip("pyarrow")
    ids = [f"{i}.jpg" for i in range(80)]
    table = pd.DataFrame(np.load(sharded / "x.npy"), columns=list("abcdef"), index=ids)
    (sharded / "tables").mkdir()
    for number, (start, stop) in enumerate(pairwise(PARTS)):
        table[start:stop].to_parquet(sharded / "tables" / f"{number}.parquet", row_group_size=9)
    labels = pd.read_csv(sharded / "y.csv")
    labels.insert(0, "image", ids)
    labels[::-1].to_csv(sharded / "named.csv", index=False, float_format="%.0f")
    call = ("-l", "named.csv", "-o", "run", "--min-positives", "3", *LITTLE)
    assert program("fit", "tables", *call)[0] == 0
    assert config(sharded, "run")["match"]["matched"] == "id"
    table[list("fedcba")].to_parquet(sharded / "turned.parquet")
    assert program("predict", "run", "turned.parquet", "-o", "p.csv", "--scores")[0] == 0
    assert program("predict", "run", "tables", "-o", "q.csv", "--scores", *LITTLE)[0] == 0
    first, second = (pd.read_csv(sharded / name, index_col="id") for name in ("p.csv", "q.csv"))
    pd.testing.assert_frame_equal(first, second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory", ["1xB", "-3", "0", "", "GiB"])
def test_sizes_that_are_none_raise_before_files_are_read(program, sharded, memory):
    (sharded / "x.npy").write_bytes(b"no array")
    code, _, err = program("fit", "x.npy", "-l", "y.csv", "-o", "run", "--memory", memory)
    assert code == 2
    assert "--memory: got" in err
    assert "give bytes, or a size such as 4GiB" in err


@pytest.mark.parametrize(
    ("given", "size"),
    [("7", 7), ("1.5KiB", 1536), ("500MB", 500_000_000), ("4 gib", 4 << 30), ("1T", 10**12)],
)
def test_sizes_are_read_as_people_write_them(given, size):
    from proxmtl.cli.inputs import memory_of

    assert memory_of(given) == size
    assert memory_of(None) is None


@pytest.mark.parametrize("memory", [(), LITTLE], ids=["held", "streamed"])
def test_bad_shards_are_named(program, sharded, memory):
    call = ("-l", "y.csv", "-o", "run", "--max-passes", "5", *memory)
    path = sharded / "x" / "10.npy"
    X = np.load(path)
    X[3, 2] = np.nan
    np.save(path, X)
    code, _, err = program("fit", "x", *call, "--holdout", "0")
    assert code == 2
    assert "10.npy, row 3, feature column 2" in err
    np.save(path, X[:, :5])
    code, _, err = program("fit", "x", *call)
    assert code == 2
    assert "10.npy: has 5 features in float32, and 8.npy has 6" in err
    path.unlink()
    code, _, err = program("fit", "x", *call)
    assert code == 2
    assert "80 rows of labels for 31 rows of features in x" in err
