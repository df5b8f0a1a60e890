"""The run folder of ``proxmtl train``: its tables, its lock, and folders of others."""

import sys

import pandas as pd
import pytest

from proxmtl.io.lock import FileLock
from proxmtl.io.seal import read_manifest
from proxmtl.io.temporaries import OWN

SMALL = ["--side", "16", "--max-passes", "20"]
COMMAND = ["train", "photos", "-l", "photos.csv", "-o", "cnn", "--learning-rate", "0.001", *SMALL]
FROZEN = [*COMMAND[:6], *SMALL, "--frozen"]
MARKER = '{"command": "train", "request": {}}'


def test_the_rows_of_a_training_and_their_scores_are_kept(program, photos):
    assert program(*FROZEN)[0] == 0
    run = photos / "cnn"
    split = pd.read_csv(run / "split.csv").set_index("id")["part"]
    assert split.value_counts().to_dict() == {"fitted": 32, "held_out": 8}
    found = pd.read_csv(run / "predictions.csv")
    assert list(found.columns) == ["id", "attribute", "label", "score"]
    assert set(found["id"]) == set(split.index[split == "held_out"])
    metrics = pd.read_csv(run / "metrics_by_attribute.csv").set_index("attribute")
    for name, part in found.groupby("attribute"):
        right = ((part["score"] > 0) == part["label"]).mean()
        assert right == pytest.approx(metrics.loc[name, "accuracy"], rel=1e-5)
    labels = (
        pd.read_csv(photos / "photos.csv").set_index("file").loc[split.index[split == "fitted"]]
    )
    assert metrics["fitted_positives"].to_dict() == labels.sum().to_dict()
    read_manifest(run).check()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such locks")
def test_a_second_process_leaves_the_first_alone(program, photos):
    folder = photos / "cnn"
    (folder / ".train").mkdir(parents=True)
    left = folder / ".train" / f"{OWN}x.pt"
    left.write_bytes(b"being written")
    (folder / "config.json").write_text(MARKER)
    lock = FileLock(folder / ".train" / "lock", "")
    for more in ([], ["--force"]):
        code, _, err = program(*COMMAND, *more)
        assert code == 2
        assert "another process is training in this folder; wait for it" in err
    assert left.exists()
    lock.release()
    (folder / ".train" / "lock").touch()  # a killed process leaves it so
    code, _, err = program(*FROZEN)
    assert code == 0, err
    assert not {left.name, "lock"} & {path.name for path in folder.rglob("*")}


def test_event_files_are_written_if_asked(program, photos, monkeypatch):
    import sys
    import types

    written = []

    class Writer:
        def __init__(self, log_dir, purge_step):
            self.folder, self.purged = log_dir, purge_step

        def add_scalar(self, tag, value, step):
            assert value is not None
            written.append((tag, step))

        def flush(self):
            pass

        close = flush

    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    code, _, err = program(*COMMAND, "--tensorboard")
    assert code == 2
    assert "pip install 'proxmtl[logs]'" in err
    assert not (photos / "cnn").exists()
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    code, _, err = program(*FROZEN, "--tensorboard")
    assert code == 0, err
    assert ("objective", 0) in written
    assert len(set(written)) == len(written)


@pytest.mark.parametrize("marker", ['{"epochs": 3}', '{"command": "fit"}', "no JSON", "[]"])
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_training_of_another_program_is_left_alone(program, photos, marker, force):
    (photos / "cnn").mkdir()
    theirs = {"config.json": marker, "metrics_by_attribute.csv": "a,b\n1,2\n"}
    for name, text in theirs.items():
        (photos / "cnn" / name).write_text(text)
    code, _, err = program(*COMMAND, *force)
    assert code == 2
    assert "no run of training" in err
    assert {path.name: path.read_text() for path in (photos / "cnn").iterdir()} == theirs


def test_a_run_of_an_earlier_version_is_called_so(program, photos):
    (photos / "cnn").mkdir()
    (photos / "cnn" / "training.json").write_text(MARKER)
    (photos / "cnn" / "checkpoint.pt").write_bytes(b"x")
    for more in ([], ["--force"]):
        code, _, err = program(*COMMAND, *more)
        assert code == 2
        assert (
            "cnn: an earlier version of proxmtl wrote what is in this folder (training.json" in err
        )
    code, _, err = program("inspect", "cnn")
    assert code == 2
    assert "earlier version" in err
