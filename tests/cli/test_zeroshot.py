"""``proxmtl zeroshot`` on classes made of attributes."""

import csv

import numpy as np
import pytest

CLASSES = {
    "zebra": [1, 1, 0, 1],
    "panda": [1, 1, 0, 0],
    "tiger": [1, 0, 0, 1],
    "leopard": [1, 0, 1, 0],
    "swan": [0, 1, 0, 0],
    "dalmatian": [1, 1, 1, 0],
    "twin of swan": [0, 1, 0, 0],
}
UNSEEN = ["swan", "dalmatian", "zebra"]
CALL = ("zeroshot", "run", "u.npy", "-m", "matrix.csv", "-c", "classes.csv")
HELD = ("--held-out", "x.npy", "--held-out-labels", "y.csv")


@pytest.fixture
def unseen(program, files):
    """A run on the attributes of the files' features, and images of three classes."""
    assert program("fit", "x.npy", "-l", "y.csv", "--out", "run", "--max-passes", "60")[0] == 0
    from proxmtl.estimators import load_model

    W = np.linalg.pinv(load_model(files / "run").coef_)
    rng = np.random.default_rng(1)
    names = [UNSEEN[i % 3] for i in range(30)]
    signs = np.array([CLASSES[name] for name in names]) * 2.0 - 1
    X = signs @ W.T * 1.5 + 0.1 * rng.standard_normal((30, 6))
    np.save(files / "u.npy", X.astype(np.float32))
    (files / "classes.csv").write_text("class\n" + "\n".join(names) + "\n")
    rows = [",".join([name, *map(str, row)]) for name, row in CLASSES.items()]
    (files / "matrix.csv").write_text("name,black,white,spots,stripes\n" + "\n".join(rows) + "\n")
    return files


def test_unseen_classes_are_recognised(program, unseen):
    code, out, err = program(*CALL, *HELD, "--out", "z.csv")
    assert code == 0
    # --held-out is the file of the fit: of its rows only those that the fit held out are used
    assert "fitted on 64 of these 80 samples; calibrated on the other 16" in err
    assert "30 images of 3 unseen classes" in out
    assert "of 4 other classes" in out
    with (unseen / "z.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == ["zebra", "swan", "dalmatian"]
    assert np.mean([float(row["accuracy"]) for row in rows]) > 0.8
    assert {row["images"] for row in rows} == {"10"}
    assert "no attribute" not in out
    assert "1/2" in program(*CALL, *HELD, "--no-prior")[1]
    code, _, err = program(*CALL, *HELD, "--out", "z.csv")
    assert code != 0
    assert "--force" in err


def test_rows_of_the_fit_are_not_calibrated_on(program, unseen):
    rows = np.load(unseen / "x.npy")
    lines = (unseen / "y.csv").read_text().splitlines()
    from proxmtl.io.identity import fitted_rows, row_fingerprints

    fresh = ~np.isin(row_fingerprints(rows), fitted_rows(unseen / "run")["mark"])
    np.save(unseen / "fresh.npy", rows[fresh].astype(np.float64))
    kept = [line for line, new in zip(lines[1:], fresh, strict=True) if new]
    (unseen / "fresh.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    held = ("--held-out", "fresh.npy", "--held-out-labels", "fresh.csv")
    assert program(*CALL, *HELD, "--out", "a.csv")[0] == 0
    code, _, err = program(*CALL, *held, "--out", "b.csv")
    assert (code, err) == (0, "")
    assert (unseen / "a.csv").read_text() == (unseen / "b.csv").read_text()

    np.save(unseen / "seen.npy", rows[~fresh])
    gone = [line for line, new in zip(lines[1:], fresh, strict=True) if not new]
    (unseen / "seen.csv").write_text("\n".join([lines[0], *gone]) + "\n")
    held = ("--held-out", "seen.npy", "--held-out-labels", "seen.csv")
    code, _, err = program(*CALL, *held)
    assert code == 2
    assert "seen.npy: the model was fitted on all of these samples" in err
    code, _, err = program("evaluate", "run", "x.npy", "-l", "y.csv")
    assert code == 0
    assert "64 of the 80 samples are among those" in err


def test_features_made_again_are_recognised_by_name(program, files):
    X, names = np.load(files / "x.npy"), [f"{i}.png" for i in range(80)]
    lines = (files / "y.csv").read_text().splitlines()
    named = zip(["id", *names], lines, strict=True)
    (files / "y.csv").write_text("".join(f"{name},{line}\n" for name, line in named))
    (files / "x.ids.csv").write_text("\n".join(["id", *names]) + "\n")
    assert program("fit", "x.npy", "-l", "y.csv", "--out", "run", "--max-passes", "5")[0] == 0
    np.save(files / "x.npy", np.nextafter(X, np.float32(np.inf)))
    code, _, err = program("evaluate", "run", "x.npy", "-l", "y.csv")
    assert code == 0
    assert "64 of the 80 samples are among those" in err
    (files / "x.ids.csv").unlink()
    call = ("evaluate", "run", "x.npy", "-l", "y.csv", "--match", "position")
    assert program(*call)[::2] == (0, "")


def test_ties_are_reported(program, unseen):
    names = (unseen / "classes.csv").read_text().replace("zebra", "twin of swan")
    (unseen / "classes.csv").write_text(names)
    code, out, _ = program(*CALL, *HELD)
    assert code == 0
    assert "no attribute tells these apart: swan, twin of swan" in out


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("classes.csv", lambda t: t.replace("swan", "goose", 1), ["line 2", "'goose'"]),
        ("classes.csv", lambda t: t.replace("class", "kind", 1), ["'class'", "kind"]),
        ("classes.csv", lambda t: t.rstrip().rsplit("\n", 1)[0], ["29 rows of classes", "30 rows"]),
        ("matrix.csv", lambda t: t.replace("name,", "animal,", 1), ["animal"]),
        ("matrix.csv", lambda t: t.replace("1,1,0,1", "1,,0,1", 1), ["'zebra'", "blank"]),
        (
            "matrix.csv",
            lambda t: t.replace("spots", "dots", 1),
            ["of the model's 4 attributes: 'spots'; add it (1 or 0 for every class), or"],
        ),
        (
            "y.csv",
            lambda t: t.replace("spots", "dots", 1),
            ["of the model's 4 attributes: 'spots'; add it (blank cells for missing labels), or"],
        ),
    ],
)
def test_bad_files_are_named(program, unseen, name, change, words):
    path = unseen / name
    path.write_text(change(path.read_text()))
    code, _, err = program(*CALL, *HELD)
    assert code != 0
    assert name in err
    assert all(word in err for word in words), err


def test_images_of_a_part_of_the_features_are_recognised_by_their_names(program, unseen):
    """In another order, and all others are left out."""
    assert program(*CALL, *HELD, "--out", "a.csv")[0] == 0
    names = (unseen / "classes.csv").read_text().split("\n")[1:-1]
    X, others = np.load(unseen / "u.npy"), np.zeros((5, 6), np.float32)
    ids = [f"{i}.png" for i in range(35)]
    np.save(unseen / "u.npy", np.concatenate([X, others])[::-1])
    (unseen / "u.ids.csv").write_text("\n".join(["id", *ids[::-1]]) + "\n")
    rows = [f"{name},{kind}" for name, kind in zip(ids, names, strict=False)]
    (unseen / "classes.csv").write_text("\n".join(["image,class", *rows]) + "\n")
    code, _, err = program(*CALL, *HELD, "--out", "b.csv")
    assert code == 0
    assert "30 rows are used, matched by their identifiers; left out are 5 of 35 in u.npy" in err
    assert (unseen / "a.csv").read_text() == (unseen / "b.csv").read_text()
