"""The reader of MATLAB files against scipy's writer, and on files that say what isn't so."""

import struct

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from proxmtl.backbones.experiments.datasets.mat import read_mat_array

ARRAYS = [
    np.array([[1.0, 2.0, np.nan]]),
    np.arange(12, dtype=np.uint8).reshape(3, 4),
    np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 7,
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.zeros((0, 3)),
    np.array([[2**40, -(2**40)]]),
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype} {array.shape}")
def test_arrays_are_those_that_were_written(tmp_path, array, packed):
    path = tmp_path / "a.mat"
    savemat(path, {"other": [[5]], "GT": array}, do_compression=packed)
    found = read_mat_array(path, "GT")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(found, loadmat(path)["GT"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"GT": "text"}, "no array of real numbers"),
        ({"GT": [[1 + 2j]]}, "no array of real numbers"),
        ({"GT": {"a": 1}}, "no array of real numbers"),
        ({"labels": [[1.0]]}, "no 'GT' in it, but 'labels'"),
    ],
    ids=["text", "complex", "struct", "another name"],
)
def test_other_variables_raise(tmp_path, content, message):
    savemat(tmp_path / "a.mat", content)
    with pytest.raises(ValueError, match=message):
        read_mat_array(tmp_path / "a.mat", "GT")


def test_other_versions_raise(tmp_path):
    savemat(tmp_path / "a.mat", {"GT": [[1.0]]}, format="4")
    with pytest.raises(ValueError, match="save -v7"):
        read_mat_array(tmp_path / "a.mat", "GT")


@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_anywhere_raises(tmp_path, packed):
    path = tmp_path / "a.mat"
    savemat(path, {"GT": np.arange(40.0)}, do_compression=packed)
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"."):
            read_mat_array(path, "GT")


def test_sizes_are_compared_with_what_is_there(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"GT": np.arange(40.0)})
    content = path.read_bytes()
    dimensions = content.index(struct.pack("<ii", 1, 40))
    for wrong in ((2**31 - 1, 2**31 - 1), (-1, -40), (1, 39), (0, 40)):
        path.write_bytes(
            content[:dimensions] + struct.pack("<ii", *wrong) + content[dimensions + 8 :]
        )
        with pytest.raises(ValueError, match="an array"):
            read_mat_array(path, "GT")


def test_what_unpacks_to_far_more_than_its_size_raises(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    savemat(path, {"GT": np.zeros((3000, 3000))}, do_compression=True)
    with pytest.raises(ValueError, match="PROXMTL_MAX_EXPANSION"):
        read_mat_array(path, "GT")
    monkeypatch.setenv("PROXMTL_MAX_EXPANSION", "10000")
    assert read_mat_array(path, "GT").shape == (3000, 3000)
