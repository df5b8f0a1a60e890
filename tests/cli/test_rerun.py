"""``rerun``: a run is made again by its record, if the inputs are the same."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from proxmtl.cli.replay import same_model
from proxmtl.io import seal_folder
from proxmtl.io.names import ARRAYS_FILE
from proxmtl.io.seal import read_manifest

CALLS = {
    "fit": ("fit", "x.npy", "-l", "y.csv", "-g", "g.json", "--max-passes", "40", "--seed", "2"),
    "of options in a file": ("fit", "x.npy", "--config", "o.json"),
    "memory": ("fit", "x.npy", "-l", "y.csv", "--single-task", "0.1", "--memory", "1KB"),
    "tune": ("tune", "x.npy", "-l", "y.csv", "--model", "lasso", "--max-passes", "60"),
    "images": ("fit", "photos", "-l", "photos.csv", "--network", "untrained", "--no-report"),
    "train": (
        *("train", "photos", "-l", "photos.csv", "--side", "16", "--frozen"),
        *("--max-passes", "20"),
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_run_is_made_again_with_the_same_bits(program, photos, case):
    (photos / "o.json").write_text('{"labels": "y.csv", "single-task": 0.3, "balanced": true}')
    code, _, err = program(*CALLS[case], "-o", "run")
    assert code == 0, err
    code, out, err = program("rerun", "run", "-o", "again")
    assert code == 0, err
    assert "the model of again has the same bits as that of run" in out
    records = [json.loads((photos / name / "config.json").read_text()) for name in ("run", "again")]
    assert records[0]["options"] == records[1]["options"]
    hashes = [[entry["sha256"] for entry in record["inputs"]] for record in records]
    assert hashes[0] == hashes[1]


FIT = ("fit", "x.npy", "-l", "y.csv", "--single-task", "0.1", "-o", "run")


def test_other_inputs_are_not_taken_for_those_of_the_run(program, files):
    assert program(*FIT)[0] == 0
    X = np.load(files / "x.npy")
    np.save(files / "x.npy", X[::-1])
    code, _, err = program("rerun", "run", "-o", "again")
    assert code == 2
    assert "x.npy: is not what run was made of" in err
    (files / "x.npy").unlink()
    code, _, err = program("rerun", "run", "-o", "again")
    assert code == 2
    assert "x.npy: is not there, and run was made of it" in err
    assert not (files / "again").exists()


def test_changed_images_are_seen(program, photos):
    assert program(*CALLS["images"], "-o", "run")[0] == 0
    (photos / "photos" / "3.png").write_bytes((photos / "photos" / "4.png").read_bytes())
    code, _, err = program("rerun", "run", "-o", "again")
    assert code == 2
    assert "photos: is not what run was made of: its contents differ (1 image has another" in err
    assert "size or time ('3.png')); put those back." in err
    (photos / "photos" / "5.png").unlink()
    _, _, err = program("rerun", "run", "-o", "again")
    assert "('3.png'); 1 image is no longer among them ('5.png')); put those back." in err
    # the features are of other images by now, and say nothing about those of the run
    (photos / "photos" / "5.png").write_bytes((photos / "photos" / "4.png").read_bytes())
    assert program(*CALLS["images"], "-o", "run.new", "--features", "run.features.npy", "--force")
    _, _, err = program("rerun", "run", "-o", "again")
    assert "its contents differ; put those back" in err


def test_another_environment_is_said_and_a_difference_measured(program, files):
    assert program(*FIT)[0] == 0
    path = files / "run" / "config.json"
    record = json.loads(path.read_text())
    record["environment"]["torch"] = "1.0"
    record["options"]["single_task"] = 0.2
    path.write_text(json.dumps(record))
    seal_folder(files / "run")
    code, out, err = program("rerun", "run", "-o", "again")
    assert code == 0
    assert "the last digits may differ: torch was 1.0 and is" in err
    assert "the models of run and again differ, by at most" in out
    assert read_manifest(files / "again").entries


def test_a_record_without_options_is_not_run(program, files):
    assert program(*FIT)[0] == 0
    path = files / "run" / "config.json"
    record = json.loads(path.read_text())
    del record["options"]
    path.write_text(json.dumps(record))
    seal_folder(files / "run")
    code, _, err = program("rerun", "run", "-o", "again")
    assert code == 2
    assert "does not say by which options the run was made" in err
    code, _, err = program("rerun", "x.npy", "-o", "again")
    assert code == 2


def test_models_that_differ_in_what_they_chose_are_compared(tmp_path):
    arrays = {
        "coef_": np.array([1.0, -2.0]),
        "score_": np.array([np.nan, 0.5]),
        "sharing_": np.array([True, False]),
    }
    other = {**arrays, "coef_": np.array([1.0, -1.5]), "sharing_": np.array([True, True])}
    for name, each in (("a", arrays), ("b", other), ("c", {**arrays, "score_": np.ones(2)})):
        (tmp_path / name).mkdir()
        save_file(each, tmp_path / name / ARRAYS_FILE)
        seal_folder(tmp_path / name)
    said = same_model(tmp_path / "a", tmp_path / "b")
    assert "by at most 0.2 of the largest number of an array, and in what they chose" in said
    assert said.endswith(": 1 of 2 in sharing")
    assert "by at most inf of" in same_model(tmp_path / "a", tmp_path / "c")
    whole = {"codes": np.array([0, 3], np.uint8), "coef_": np.array([np.inf, 1.0])}
    more = {**whole, "more": np.ones(1)}
    moved = {"codes": np.array([1, 3], np.uint8), "coef_": np.array([np.inf, 1.0])}
    for name, each in (("d", whole), ("e", more), ("f", moved)):
        (tmp_path / name).mkdir()
        save_file(each, tmp_path / name / ARRAYS_FILE)
        seal_folder(tmp_path / name)
    assert "more has another shape" in same_model(tmp_path / "d", tmp_path / "e")
    assert "by at most 0.3 of" in same_model(tmp_path / "d", tmp_path / "f")
