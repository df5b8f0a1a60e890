"""``evaluate`` on images whose features lie beside the run."""

import os

import numpy as np
import pandas as pd
import torch
from arithmetic import half_the_digits

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
