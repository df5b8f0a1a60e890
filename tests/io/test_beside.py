"""Features of an extraction and the names of their rows belong together, or the reading raises."""

import numpy as np
import pytest

from proxmtl.io import InputError, load_features
from proxmtl.io.beside import features_seal, seal_beside

X = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def features(tmp_path):
    path = tmp_path / "f.npy"
    np.save(path, X)
    (tmp_path / "f.ids.csv").write_text("id\na\nb\nc\nd\n")
    seal_beside(path).write_text(features_seal(path, path))
    return path


def test_what_was_written_is_read_also_under_another_name(features, tmp_path):
    assert load_features(features).ids == ("a", "b", "c", "d")
    for end in ("npy", "ids.csv", "seal.json"):
        (tmp_path / f"f.{end}").rename(tmp_path / f"g.{end}")
    assert load_features(tmp_path / "g.npy").ids == ("a", "b", "c", "d")


def test_names_of_the_rows_of_another_file_are_not_taken(features, tmp_path):
    np.savez(tmp_path / "f.npz", a=2 * X)
    expected = r"f\.ids\.csv: names the rows of f\.npy, says f\.seal\.json, and not those of f\.npz"
    with pytest.raises(InputError, match=expected):
        load_features(tmp_path / "f.npz")
    (tmp_path / "f.npz").rename(tmp_path / "g.npz")
    assert load_features(tmp_path / "g.npz").ids is None
    (tmp_path / "f.ids.csv").unlink()
    seal_beside(features).write_text(features_seal(features, features))
    np.savez(tmp_path / "f.npz", a=2 * X)
    (tmp_path / "f.ids.csv").write_text("id\nd\nc\nb\na\n")  # of no seal
    assert load_features(tmp_path / "f.npz").ids == ("d", "c", "b", "a")
    (tmp_path / "f.ids.csv").write_text("id\nd\nc\nb\n")
    with pytest.raises(InputError, match="3 identifiers for 4 rows"):
        load_features(tmp_path / "f.npz")


@pytest.mark.parametrize("name", ["f.npy", "f.ids.csv", "f.seal.json"])
def test_any_flipped_bit_is_found(features, tmp_path, name):
    path = tmp_path / name
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(whole), min(30, len(whole)), replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"Make the features again.* remove f\.seal\.json"):
            load_features(features)


def test_features_that_were_replaced_are_not_taken_for_those_of_the_names(features, tmp_path):
    np.save(features, X[::-1])
    expected = (
        r"f\.npy: is not the file that f\.seal\.json was written for; the rows may be of other"
    )
    with pytest.raises(InputError, match=expected):
        load_features(features)
    np.save(features, X)
    (tmp_path / "f.ids.csv").unlink()
    with pytest.raises(InputError, match=r"f\.npy: f\.ids\.csv, .* is missing beside it; copy"):
        load_features(features)
    seal_beside(features).unlink()  # a change of one's own
    assert load_features(features).ids is None
