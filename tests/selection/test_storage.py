"""Finished parts come back as they were, or raise: damaged, renamed, of another folder."""

import math
import shutil

import numpy as np
import pytest
import torch

from proxmtl.io import InputError
from proxmtl.selection.storage import Storage

SETTINGS = {"kind": "test", "strengths": [1.0, 0.5]}
RECORD = {"score": math.nan, "passes": 3.0, "status": "CONVERGED"}


@pytest.fixture
def storage(tmp_path):
    made = Storage(tmp_path / "a", SETTINGS)
    made.save("one", RECORD, W=torch.arange(6.0), b=torch.ones(()))
    return made


def test_a_part_comes_back(storage):
    found = Storage(storage.folder, SETTINGS).load("one")
    assert torch.equal(found.pop("W"), torch.arange(6.0))
    assert torch.equal(found.pop("b"), torch.ones(()))
    assert math.isnan(found.pop("score"))
    assert found == {"passes": 3.0, "status": "CONVERGED"}
    assert storage.load("two") is None


@pytest.mark.parametrize("name", ["one.safetensors", "settings.json"])
def test_any_flipped_bit_is_found(storage, name):
    path = storage.folder / name
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(whole), 60, replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="remove") as caught:
            Storage(storage.folder, SETTINGS).load("one")
        assert caught.value.source == path


def test_parts_of_others_are_found(storage, tmp_path):
    shutil.copy(storage.folder / "one.safetensors", storage.folder / "two.safetensors")
    with pytest.raises(InputError, match=r"two.safetensors: .*of another folder"):
        storage.load("two")
    other = Storage(tmp_path / "b", {**SETTINGS, "strengths": [1.0, 0.25]})
    shutil.copy(storage.folder / "one.safetensors", other.folder)
    with pytest.raises(InputError, match="of another folder"):
        other.load("one")


def test_settings_that_agree_to_six_digits_are_the_same(storage):
    close = {"kind": "test", "strengths": [1.0 + 1e-12, 0.5]}
    assert Storage(storage.folder, close).load("one") is not None
