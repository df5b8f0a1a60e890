"""``evaluate`` on images whose features lie beside the run."""

import os

import numpy as np
import pandas as pd
import torch
from arithmetic import half_the_digits
from PIL import Image

from proxmtl.cli import image_features
from proxmtl.cli.kept_features import image_differences
from proxmtl.estimators import SingleTaskClassifier
from proxmtl.io.seal import read_sealed, write_sealed

FIT = ("fit", "photos", "-l", "photos.csv", "-o", "run", "--network", "untrained")
QUICK = ("--single-task", "0.01", "--no-report")


def test_features_beside_a_run_serve_to_score_some_of_their_images(program, photos, looked_at):
    assert program(*FIT, *QUICK)[0] == 0
    table = pd.read_csv(photos / "photos.csv")
    some = table.iloc[[31, 2, 17, 5, 11, 23, 8, 36]]
    some.to_csv(photos / "some.csv", index=False)
    looked_at.clear()
    evaluate = ("evaluate", "run", "photos", "-l", "some.csv", "-a", "-o")
    code, _, err = program(*evaluate, "kept.csv")
    assert code == 0, err
    assert "features of 8 images are taken from run.features.npy" in err
    assert not looked_at
    assert program("evaluate", "run", str(photos / "photos"), "-l", "some.csv")[0] == 0
    assert not looked_at  # the same images, however their folder is called

    # features made in another way, another file of features, and an image that may be another one
    record, file = photos / "run.features.source.json", photos / "run.features.npy"
    whole, features = record.read_bytes(), file.read_bytes()
    write_sealed(record, {**read_sealed(record, ""), "fit": "stretch"})
    assert program(*evaluate, "made.csv")[0] == 0
    assert sum(looked_at) == 8
    kept, made = (pd.read_csv(photos / name) for name in ("kept.csv", "made.csv"))
    pd.testing.assert_frame_equal(kept, made, **half_the_digits(torch.float32))
    record.write_bytes(whole)
    np.save(file, np.zeros_like(np.load(file)))
    assert program(*evaluate, "made.csv", "--force")[0] == 0
    assert sum(looked_at) == 16
    file.write_bytes(features)
    assert program(*evaluate, "made.csv", "--force")[0] == 0
    assert sum(looked_at) == 16
    os.utime(photos / "photos" / "3.png", ns=(1, 1))  # none of the eight
    assert program(*evaluate, "made.csv", "--force")[0] == 0
    assert sum(looked_at) == 16
    os.utime(photos / "photos" / "5.png", ns=(1, 1))
    code, _, err = program(*evaluate, "made.csv", "--force")
    assert code == 0
    assert "features of 7 of 8 images are taken from run.features.npy" in err
    assert sum(looked_at) == 17
    made = pd.read_csv(photos / "made.csv")
    pd.testing.assert_frame_equal(kept, made, **half_the_digits(torch.float32))


def test_features_that_another_command_wrote_over_are_made_again(program, photos, looked_at):
    for i in range(40):  # oblong: each way to make squares gives other features
        path = photos / "photos" / f"{i}.png"
        Image.open(path).resize((20, 12 + i % 5)).save(path)
    table = pd.read_csv(photos / "photos.csv").sort_values("file")  # in the order of extract
    table.to_csv(photos / "photos.csv", index=False)
    assert program(*FIT, *QUICK)[0] == 0
    predict = ("predict", "run", "photos", "--scores", "-o")
    assert program(*predict, "before.csv")[0] == 0
    assert sum(looked_at) == 40
    extract = ("extract", "photos", "-n", "untrained", "--fit", "stretch", "--force", "-o")
    assert program(*extract, "run.features.npy")[0] == 0
    assert program(*predict, "after.csv")[0] == 0
    assert sum(looked_at) == 120
    before, after = (pd.read_csv(photos / name) for name in ("before.csv", "after.csv"))
    pd.testing.assert_frame_equal(before, after, **half_the_digits(torch.float32))
    model = (photos / "run" / "model.safetensors").read_bytes()
    code, _, err = program(*FIT, *QUICK, "--force")
    assert code == 0
    assert "are there already" not in err
    assert sum(looked_at) == 160
    assert (photos / "run" / "model.safetensors").read_bytes() == model


def test_images_that_came_are_looked_at_alone(program, photos, looked_at):
    table = pd.read_csv(photos / "photos.csv")
    table.iloc[:29].to_csv(photos / "photos.csv", index=False)
    assert program(*FIT, *QUICK)[0] == 0
    assert sum(looked_at) == 29
    grown = table.sample(frac=1, random_state=0)  # new images among the others
    grown.to_csv(photos / "photos.csv", index=False)
    code, _, err = program(*FIT, *QUICK, "--force")
    assert code == 0, err
    assert "features of 29 of 40 images are taken from run.features.npy" in err
    assert sum(looked_at) == 40
    other = [*FIT[:5], "other", *FIT[6:], *QUICK]
    assert program(*other, "--features", "apart/f.npy")[0] != 0  # there is no such folder
    (photos / "apart").mkdir()
    assert program(*other, "--features", "apart/f.npy")[0] == 0
    assert sum(looked_at) == 80
    ours, anew = (
        pd.DataFrame(np.load(f"{path}.npy"), index=pd.read_csv(f"{path}.ids.csv")["id"])
        for path in (photos / "run.features", photos / "apart" / "f")
    )
    assert list(ours.index) == list(grown["file"])
    pd.testing.assert_frame_equal(ours, anew, **half_the_digits(torch.float32))


def test_features_of_other_images_are_not_replaced_unasked(program, photos, looked_at):
    mine = ("--features", "mine.npy", *QUICK)
    assert program(*FIT, *mine)[0] == 0
    before = (photos / "mine.npy").read_bytes()
    os.utime(photos / "photos" / "5.png", ns=(1, 1))
    other = [*FIT[:5], "other", *FIT[6:], *mine]
    code, _, err = program(*other)
    assert code == 2
    assert (
        "mine.npy: holds features of other images: 1 image has another size or time ('5.png')."
        in err
    )
    assert (photos / "mine.npy").read_bytes() == before
    assert sum(looked_at) == 40
    assert program(*other, "--force")[0] == 0
    assert sum(looked_at) == 41
    assert program(*FIT, *mine, "--force")[0] == 0
    assert sum(looked_at) == 41
    table = pd.read_csv(photos / "photos.csv")
    table.iloc[3:].to_csv(photos / "photos.csv", index=False)
    code, _, err = program(*other, "--force")
    assert code == 0
    table.iloc[1:].to_csv(photos / "photos.csv", index=False)
    code, _, err = program(*FIT, *mine, "--force")
    assert code == 0
    table.to_csv(photos / "photos.csv", index=False)
    code, _, err = program(*other, "--out", "third", "--fit", "stretch")
    assert code == 2
    assert "holds features that another network made, or in another way (--fit)" in err


def test_what_is_kept_of_features_is_said_where_it_is(program, photos, monkeypatch):
    from proxmtl.backbones.frozen import FrozenNetwork

    features, calls = FrozenNetwork.features, []

    def interrupted(self, pixels, *_, **__):
        calls.append(len(pixels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return features(self, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(FrozenNetwork, "features", interrupted)
        code, _, err = program(*FIT, *QUICK)
    assert code != 0
    assert "Stopped. Features of 16 images are kept in run.features.npy.partial; the same" in err
    with monkeypatch.context() as patch:
        patch.setattr(SingleTaskClassifier, "fit", interrupted)
        calls[:] = [0, 0]
        code, _, err = program(*FIT, *QUICK)
    assert code != 0
    assert "Stopped. Features of the images are kept in run.features.npy: the same command" in err
    assert program(*FIT, *QUICK)[0] == 0
    # of those of predict, which lie in a temporary folder, nothing is kept
    for name in ("run.features.npy", "run.features.source.json"):
        (photos / name).unlink()
    (photos / "photos" / "5.png").write_bytes(b"no image")
    code, _, err = program("predict", "run", "photos", "-o", "p.csv")
    assert code == 2
    assert "5.png can't be decoded" in err
    assert "kept" not in err
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(FrozenNetwork, "features", interrupted)
        code, _, err = program("predict", "run", "photos", "-o", "p.csv", "--skip-corrupt")
    assert err.endswith("Stopped. Nothing was written.\n")


def test_images_that_differ_are_named_by_what_became_of_them():
    before = dict.fromkeys(["a", "b", "c"], "1")
    found = image_differences(before, {"a": "1", "b": "2", "d": "1", "e": "1"})
    assert found == [
        "2 images are new (the first is 'd')",
        "1 image has another size or time ('b')",
        "1 image is no longer among them ('c')",
    ]
    assert image_differences(before, before) == []


def test_features_stay_until_others_take_their_place(program, photos, looked_at, monkeypatch):
    assert program(*FIT, *QUICK)[0] == 0
    os.utime(photos / "photos" / "5.png", ns=(1, 1))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(image_features, "extract_to_file", interrupted)
        assert program(*FIT, *QUICK, "--force")[0] != 0
    # the record names images that the file is not yet of
    assert sum(looked_at) == 40
    code, _, err = program(*FIT, *QUICK, "--force")
    assert code == 0, err
    assert "features of 39 of 40 images are taken from run.features.npy" in err
    assert sum(looked_at) == 41


def test_features_of_the_same_images_are_not_said_to_be_of_others(program, photos):
    mine = ("--features", "mine.npy", *QUICK)
    (photos / "photos" / "5.png").write_bytes(b"no image")
    assert program(*FIT, *mine, "--skip-corrupt")[0] == 0
    code, _, err = program(*FIT, *mine, "--out", "other")
    assert code == 2
    assert "holds features without those of 1 image that --skip-corrupt left out." in err
    table = pd.read_csv(photos / "photos.csv")
    table[::-1].to_csv(photos / "photos.csv", index=False)
    _, _, err = program(*FIT, *mine, "--skip-corrupt", "--out", "other")
    assert "holds features of these images in another order. With --force" in err
    table.to_csv(photos / "photos.csv", index=False)
    (photos / "mine.seal.json").unlink()
    _, _, err = program(*FIT, *mine, "--skip-corrupt", "--out", "other")
    assert "is not as it was written, or has lost mine.seal.json; give another file" in err
    record = photos / "mine.source.json"
    write_sealed(record, {**read_sealed(record, ""), "format": "an earlier one"})
    _, _, err = program(*FIT, *mine, "--skip-corrupt", "--out", "other")
    assert "holds features of another version of proxmtl" in err
