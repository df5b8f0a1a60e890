"""``extract``, and ``predict``, ``evaluate``, ``inspect``, ``zeroshot`` on a run of networks."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from arithmetic import half_the_digits
from PIL import Image

from proxmtl.backbones import to_pixels
from proxmtl.backbones.trained import TrainedNetworks
from proxmtl.backbones.training import AttributeCNN
from proxmtl.io import load_features, seal_folder

TRAIN = ["train", "photos", "-l", "photos.csv", "-g", "kinds.json", "-o", "cnn", "--side", "16"]
QUICK = ["--frozen", "--max-passes", "30"]


_TRAINED = {}


@pytest.fixture
def trained(program, photos, tmp_path_factory):
    """Give a run of some options, trained once."""

    def give(name, *options):
        if name not in _TRAINED:
            command = [name if part == "cnn" else part for part in [*TRAIN, *QUICK, *options]]
            code, _, err = program(*command)
            assert code == 0, err
            _TRAINED[name] = tmp_path_factory.mktemp("trained") / name
            shutil.copytree(photos / name, _TRAINED[name])
        else:
            shutil.copytree(_TRAINED[name], photos / name)

    return give


@pytest.fixture
def run(trained, photos):
    trained("cnn")
    return photos


def table(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def pixels(folder, names):
    return np.stack([to_pixels(folder / name, 18, "stretch") for name in names])


def test_a_run_of_networks_is_used_on_images(program, run):
    code, out, err = program("predict", "cnn", "photos", "--out", "p.csv", "--scores")
    assert code == 0, err
    assert "40 samples, 3 attributes (scores)" in out
    rows = table(run / "p.csv")
    names = [row["id"] for row in rows]
    assert names == sorted(f"{i}.png" for i in range(40))
    model = AttributeCNN.load(run / "cnn")
    expected = model.decision_function(pixels(run / "photos", names))
    found = np.array([[float(row[name]) for name in model.names] for row in rows])
    np.testing.assert_allclose(found, expected, **half_the_digits(torch.float32))

    # the held-out images get the scores that training reported
    config = json.loads((run / "cnn" / "config.json").read_text())
    assert config["request"]["holdout"] == 0.2
    code, out, err = program("evaluate", "cnn", "photos", "-l", "photos.csv", "--out", "m.csv")
    assert code == 0, err
    assert "32 of the 40 samples are among those that the model was fitted on" in err
    assert "colour" in out
    assert [row["attribute"] for row in table(run / "m.csv")] == ["red", "bar", "tall"]

    code, out, _ = program("inspect", "cnn")
    assert code == 0
    for part in ("AttributeCNN", "3, 0 of 4 stages shared", "3 x 16 x 16", "last solve", "colour"):
        assert part in out


def test_held_out_images_score_as_training_said(program, run):
    model = AttributeCNN.load(run / "cnn")
    names = [f"{i}.png" for i in range(40)]
    from proxmtl.io.identity import fitted_rows, row_fingerprints

    fresh = ~np.isin(
        row_fingerprints(pixels(run / "photos", names)), fitted_rows(run / "cnn")["mark"]
    )
    assert fresh.sum() == 8
    lines = (run / "photos.csv").read_text().splitlines()
    kept = [lines[0], *(line for line, new in zip(lines[1:], fresh, strict=True) if new)]
    (run / "fresh.csv").write_text("\n".join(kept) + "\n")
    code, _, err = program("evaluate", "cnn", "photos", "-l", "fresh.csv", "--out", "m.csv")
    assert code == 0
    assert err.startswith("Warning: 3 of 3 attributes were scored on fewer than 10 positive labels")
    assert err.count("\n") == 1  # none that they were fitted on
    said = table(run / "cnn" / "metrics_by_attribute.csv")
    for ours, theirs in zip(table(run / "m.csv"), said, strict=True):
        assert ours["attribute"] == theirs["attribute"]
        assert float(ours["ap"]) == pytest.approx(float(theirs["ap"]), rel=1e-5)
    assert model.names == ("red", "bar", "tall")


def test_bad_images_are_skipped_only_if_asked(program, run):
    (run / "photos" / "7.png").write_bytes(b"x")
    code, _, err = program("predict", "cnn", "photos", "--out", "p.csv")
    assert code == 2
    assert "7.png can't be decoded" in err
    code, _, err = program("predict", "cnn", "photos", "--out", "p.csv", "--skip-corrupt")
    assert code == 0
    assert "1 image skipped" in err
    assert len(table(run / "p.csv")) == 39
    (run / "photos" / "8.png").unlink()
    evaluate = ["evaluate", "cnn", "photos", "-l", "photos.csv"]
    code, _, err = program(*evaluate)
    assert code == 2
    assert "1 of the 40 named files is not there: 8.png" in err
    code, out, err = program(*evaluate, "--skip-corrupt")
    assert code == 0
    assert "2 images skipped" in err
    assert "38 samples" in out


ZEROSHOT = ["zeroshot", "cnn", "photos", "-m", "m.csv", "-c", "gnu.csv", "--held-out"]
MISMATCHES = {
    "features for networks": (["predict", "cnn", "x.npy", "-o", "p.csv"], ["cnn holds networks"]),
    "images for features": (["predict", "run", "photos", "-o", "p.csv"], ["proxmtl extract"]),
    "device": (["predict", "run", "x.npy", "-o", "p.csv", "--device", "cpu"], ["device: this is"]),
    "key": (["predict", "cnn", "photos", "-o", "p.csv", "--key", "a"], ["key: this is"]),
    "nameless labels": (["evaluate", "cnn", "photos", "-l", "bare.csv"], ["no column of file"]),
    "no images": (["predict", "cnn", "none", "-o", "p.csv"], ["none: no such folder"]),
    "grey": (["predict", "grey", "photos", "-o", "p.csv"], ["grey", "not image files"]),
    "other way": (
        ["extract", "photos", "-o", "f.npy", "-n", "cnn", "--fit", "crop"],
        ["fit: got 'crop'", "'stretch'"],
    ),
    "network": (["extract", "photos", "-o", "f.npy", "-n", "vgg"], ["network: got 'vgg'"]),
    "exists": (["extract", "photos", "-o", "x.npy", "-n", "cnn"], ["x.npy: the file exists"]),
    "suffix": (["extract", "photos", "-o", "f.csv", "-n", "cnn"], ["--out: got 'f.csv'; features"]),
    "names": (["extract", "photos", "-o", "f.npy", "--names", "bare.csv"], ["bare.csv, line 1"]),
    "not in the table": (
        ["extract", "photos/one.csv", "-o", "f.npy", "-n", "cnn", "--names", "photos.csv"],
        ["one.csv: 39 of the images asked for"],
    ),
    "no table": (
        ["extract", "photos", "-o", "f.npy", "--id-column", "file"],
        ["--id-column: no CSV"],
    ),
    "no folder": (["predict", "cnn", "photos", "-o", "no/p.csv"], ["no does not exist"]),
    "a folder": (["predict", "cnn", "photos", "-o", "photos", "--force"], ["this is a folder"]),
    "no folder for metrics": (
        ["evaluate", "cnn", "photos", "-l", "photos.csv", "-o", "no/m.csv"],
        ["no does not exist"],
    ),
    "class": ([*ZEROSHOT, "photos", "--held-out-labels", "photos.csv"], ["line 2: class 'gnu'"]),
    "held-out labels": (
        [*ZEROSHOT, "photos", "-c", "c.csv", "--held-out-labels", "none.csv"],
        ["none.csv: no such file"],
    ),
}


def test_requests_that_cannot_be_met_are_refused_before_the_work(program, run, monkeypatch):
    assert program("fit", "x.npy", "-l", "y.csv", "-o", "run", "--max-passes", "5")[0] == 0
    lines = (run / "photos.csv").read_text().splitlines()
    (run / "bare.csv").write_text("\n".join(line.split(",", 1)[1] for line in lines) + "\n")
    shutil.copytree(run / "cnn", run / "grey")
    description = json.loads((run / "grey" / "model.json").read_text())
    del description["description"]["images"]
    (run / "grey" / "model.json").write_text(json.dumps(description))
    seal_folder(run / "grey")
    (run / "photos" / "one.csv").write_text("image\n1.png\n")
    (run / "m.csv").write_text("name,red,bar,tall\nox,1,0,1\nzebra,0,1,1\n")
    (run / "gnu.csv").write_text("image,class\n1.png,gnu\n")
    (run / "c.csv").write_text("image,class\n1.png,ox\n")
    # a run whose images aren't files can be looked at, if not scored
    assert program("inspect", "grey")[0] == 0

    def scored(*_):
        raise AssertionError("images were scored")

    monkeypatch.setattr(TrainedNetworks, "scores", scored)
    monkeypatch.setattr(TrainedNetworks, "features", scored)
    for case, (command, expected) in MISMATCHES.items():
        code, _, err = program(*command)
        assert code == 2, case
        assert len(err.strip().splitlines()) == 1, (case, err)
        for part in expected:
            assert part in err, (case, err)


def test_classes_without_training_images_are_recognised(program, run):
    """Classes are made of the attributes; the unseen ones get images, the seen ones none."""
    classes = {"red": "100", "barred": "010", "tall": "001", "plain": "000"}
    lines = [",".join([name, *bits]) for name, bits in classes.items()]
    (run / "matrix.csv").write_text("name,red,bar,tall\n" + "\n".join(lines) + "\n")
    rows = [line.split(",") for line in (run / "photos.csv").read_text().split()[1:]]
    by_bits = {bits: name for name, bits in classes.items()}
    unseen = [(row[0], by_bits["".join(row[1:])]) for row in rows if row[1:].count("1") == 1]
    (run / "classes.csv").write_text(
        "file,class\n" + "".join(f"{name},{kind}\n" for name, kind in reversed(unseen))
    )
    held = ["--held-out", "photos", "--held-out-labels", "photos.csv"]
    call = ["zeroshot", "cnn", "photos", "-m", "matrix.csv", "-c", "classes.csv", *held]
    code, out, err = program(*call, "--out", "z.csv")
    assert code == 0, err
    assert "the model was fitted on 32 of these 40 samples; calibrated on the other 8" in err
    assert "their classes are not unseen" in err
    assert f"{len(unseen)} images of 3 unseen classes" in out
    found = table(run / "z.csv")
    counts = {row["class"]: int(row["images"]) for row in found}
    assert counts == {kind: [k for _, k in unseen].count(kind) for kind in counts}


def test_extracted_features_are_fitted_by_name(program, run, trained):
    # the networks of the run share nothing: features of each
    code, out, err = program("extract", "photos", "-o", "own.npy", "--network", "cnn")
    assert code == 0, err
    assert "3 x 40 x 64 features" in out
    own = np.load(run / "own.npy")
    model = AttributeCNN.load(run / "cnn")
    names = sorted(f"{i}.png" for i in range(40))
    mean, scale = (tensor.numpy() for tensor in model.standard)
    coef, intercept = model.coef.numpy(), model.factors["intercept"].numpy()
    scores = np.einsum("mnd,dm->nm", (own - mean) / scale, coef) + intercept
    expected = model.decision_function(pixels(run / "photos", names))
    np.testing.assert_allclose(scores, expected, **half_the_digits(torch.float32))

    # one shared network: a matrix, whose rows fit brings together with the labels by name
    trained("one", "--shared-stages", "4")
    (run / "photos" / "3.png").write_bytes(b"x")
    code, _, err = program("extract", "photos", "-o", "f.npy", "-n", "one")
    assert code == 2
    assert "3.png can't be decoded" in err
    options = ["-n", "one", "--skip-corrupt", "--batch-size", "7"]
    code, out, _ = program("extract", "photos", "-o", "f.npy", *options)
    assert code == 0
    assert "39 x 64 features" in out
    assert "1 image skipped" in out
    read = load_features(run / "f.npy")
    assert read.ids == tuple(name for name in names if name != "3.png")
    fit = ["fit", "f.npy", "-l", "photos.csv", "-g", "kinds.json", "-o", "run", "--holdout", "0"]
    code, _, err = program(*fit, "--max-passes", "60")
    assert code == 0, err
    code, _, err = program("evaluate", "run", "f.npy", "-l", "photos.csv", "--out", "m.csv")
    assert code == 0
    assert "39 of the 39 samples" in err
    for row in table(run / "m.csv"):  # with rows in another order chance is 1 in millions
        assert float(row["accuracy"]) > 0.9, row
    # and rows shuffled by a table of names are the same rows
    (run / "some.csv").write_text("image\n9.png\n10.png\n")
    code, _, _ = program("extract", "photos", "-o", "g.npy", "-n", "one", "--names", "some.csv")
    assert code == 0
    position = [read.ids.index("9.png"), read.ids.index("10.png")]
    apart = half_the_digits(torch.float32)  # in other batches
    np.testing.assert_allclose(np.load(run / "g.npy"), read.values[position], **apart)


def test_quantized_networks_are_read_from_a_file(program, photos):
    from proxmtl.backbones import extract, load_network

    rng = np.random.default_rng(0)
    graph = [
        {"op": "CONV_2D", "in": [0, 90, 91], "out": [1], "stride": 2, "pad": "SAME", "act": 3},
        {"op": "AVERAGE_POOL_2D", "in": [1], "out": [2]},
        {"op": "CONV_2D", "in": [2, 92, 93], "out": [3], "stride": 1, "pad": "SAME", "act": 0},
    ]
    arrays = {"graph": json.dumps(graph), "input_tensor": 0, "input_size": np.int32(8)}
    for k, (out, width, side) in {0: (6, 3, 3), 2: (2, 6, 1)}.items():
        arrays[f"w{k}_u8"] = rng.integers(0, 256, (out, width, side, side), dtype=np.uint8)
        arrays |= {f"w{k}_scale": np.float32(0.01), f"w{k}_zp": np.int32(120)}
        arrays[f"b{k}"] = np.zeros(out, np.float32)
    np.savez(photos / "net.npz", **arrays)
    code, out, err = program("extract", "photos.csv", "-o", "f.npy", "--network", "net.npz")
    assert code == 2, out
    assert "0.png" in err  # names are relative to the folder of the table
    (photos / "photos.csv").rename(photos / "photos" / "labels.csv")
    code, out, err = program(
        "extract", "photos/labels.csv", "-o", "f.npy", "--network", "net.npz", "--fit", "pad"
    )
    assert code == 0, err
    images = [Image.open(photos / "photos" / f"{i}.png") for i in range(40)]
    expected = extract(images, load_network(str(photos / "net.npz")), fit="pad")
    np.testing.assert_array_equal(np.load(photos / "f.npy"), expected)
    for image in images:
        image.close()
