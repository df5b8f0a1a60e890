"""``evaluate`` on images whose features lie beside the run."""

import os

import numpy as np
import pandas as pd
import torch
from arithmetic import half_the_digits
from PIL import Image

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
    os.utime(photos / "photos" / "3.png", ns=(1, 1))
    assert program(*evaluate, "made.csv", "--force")[0] == 0
    assert sum(looked_at) == 24


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
