"""Runs on disk: killed, prolonged, damaged, or another one."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import digits, small_run

from proxmtl.backbones.training import SingleTaskHead, Trainer, TrainingConfig, read_checkpoint
from proxmtl.backbones.training.checkpoint import FORMAT, SAVED
from proxmtl.backbones.training.model import Architecture
from proxmtl.io import InputError
from proxmtl.io.seal import append_seal


def test_killed_runs_end_as_the_one_that_was_left_alone(tmp_path):
    kills = 10 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 3
    script = Path(__file__).parent / "killed_runs.py"
    command = [sys.executable, str(script), str(tmp_path), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    left = [int(number) for number in done.stdout.split()]
    assert len(left) == kills
    assert any(0 < number < kills + 3 for number in left)  # in the middle of it
    alone, killed = (torch.load(tmp_path / name / "end.pt") for name in ("alone", "killed"))
    assert len(alone["history"]) == kills + 3
    assert repr(killed["history"]) == repr(alone["history"])  # repr: NaN, and every digit
    assert alone["network"].keys() == killed["network"].keys()
    for name, tensor in alone["network"].items():
        assert torch.equal(tensor, killed["network"][name])


def test_a_run_can_be_prolonged_and_another_one_is_refused(tmp_path):
    def figures(trainer):
        return [repr(dataclasses.replace(r, seconds=0.0)) for r in trainer.run()]

    whole = figures(small_run(head=SingleTaskHead(0.3), epochs=3))
    assert figures(small_run(tmp_path, head=SingleTaskHead(0.3), epochs=1)) == whole[:2]
    assert figures(small_run(tmp_path, head=SingleTaskHead(0.3), epochs=3)) == whole
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("epoch,objective,sgd_loss,accuracy")
    with pytest.raises(InputError, match="another run: head differ"):
        small_run(tmp_path, head=SingleTaskHead(0.2))
    other = small_run(head=SingleTaskHead(0.3)).network
    with torch.no_grad():
        next(other.parameters()).add_(1e-6)
    with pytest.raises(InputError, match="another run: initial weights differ"):
        small_run(tmp_path, head=SingleTaskHead(0.3), network=other)
    with pytest.raises(InputError, match="settings, normalisation, images, labels and rows differ"):
        small_run(tmp_path, head=SingleTaskHead(0.3), n_train=100, seed=1)


def test_damaged_and_strange_checkpoints_are_refused(tmp_path):
    path = tmp_path / ".train" / "checkpoint.pt"
    path.parent.mkdir()
    assert read_checkpoint(tmp_path) is None
    path.write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(InputError, match="damaged, cut off or of another version"):
        read_checkpoint(tmp_path)
    append_seal(path)
    with pytest.raises(InputError, match="can't be read"):
        read_checkpoint(tmp_path)
    for content, message in {
        "object": ({"format": FORMAT, "object": Path("x")}, "can't be read"),  # pickled
        "format": ({"format": FORMAT}, "isn't a checkpoint of this version"),
        "history": (
            dict.fromkeys(SAVED, ()) | {"format": FORMAT, "identity": {}, "history": [{"x": 1}]},
            "isn't a whole checkpoint",
        ),
    }.values():
        torch.save(content, path)
        append_seal(path)
        with pytest.raises(InputError, match=message):
            read_checkpoint(tmp_path)


def test_any_flipped_bit_of_a_checkpoint_is_found(tmp_path):
    path = tmp_path / ".train" / "checkpoint.pt"
    small_run(tmp_path, head=SingleTaskHead(0.3), epochs=0, n_train=60).run()
    assert read_checkpoint(tmp_path) is not None
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in [0, len(whole) - 1, *rng.choice(len(whole), 20, replace=False)]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"checkpoint.pt: .*damaged.*run again with --force"):
            read_checkpoint(tmp_path)
    for other in (whole[:-1], whole[:1000], whole + b"\0", b""):
        path.write_bytes(other)
        with pytest.raises(InputError, match=r"checkpoint.pt: .*damaged"):
            read_checkpoint(tmp_path)


def test_rows_that_move_from_one_split_to_the_other_make_another_run(tmp_path):
    def made(cut):
        return Trainer(
            Architecture(n_members=4, widths=(4, 8), n_features=8).ensemble(seed=0),
            SingleTaskHead(0.3),
            digits(),
            TrainingConfig(epochs=0),
            train=np.arange(cut),
            test=np.arange(cut, 150),
            normalisation=(torch.zeros(1), torch.ones(1)),
            folder=tmp_path,
        )

    made(100).run()
    assert made(100).epoch == 0
    with pytest.raises(InputError, match="another run: images, labels and rows differ"):
        made(120)


def test_the_folder_is_made_before_any_work(tmp_path):
    trainer = small_run(tmp_path / "new" / "run", epochs=0, n_train=60)
    assert (tmp_path / "new" / "run").is_dir()
    trainer.run()
    with pytest.raises(InputError, match="this is a file"):
        small_run(tmp_path / "new" / "run" / "history.csv")
