"""Labels of a sparse matrix in an npz file."""

import numpy as np
import pytest
from scipy import sparse

from proxmtl.io import InputError, read_labels

KNOWN = np.array([[1, -1, 0], [0, 0, -1], [-1, 1, 1]])


def saved(folder, matrix):
    sparse.save_npz(folder / "y.npz", matrix)
    return folder / "y.npz"


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_what_is_not_stored_is_missing_beside_minus_one(tmp_path, kind):
    found = read_labels(saved(tmp_path, kind(KNOWN)))
    np.testing.assert_array_equal(found.values, np.where(KNOWN == 0, np.nan, KNOWN > 0))
    assert found.names == ("task 0", "task 1", "task 2")
    assert found.ids is None


def test_what_is_not_stored_is_no_beside_one_alone(tmp_path):
    for indicator in (KNOWN > 0, (KNOWN > 0).astype(np.float32)):
        found = read_labels(saved(tmp_path, sparse.csr_array(indicator)))
        np.testing.assert_array_equal(found.values, KNOWN > 0)


def test_rows_have_the_names_in_the_file_beside(tmp_path):
    path = saved(tmp_path, sparse.csr_array(KNOWN))
    (tmp_path / "y.ids.csv").write_text("id\na\nb\nc\n")
    assert read_labels(path).ids == ("a", "b", "c")


def test_what_is_not_clear_raises_by_name(tmp_path):
    zeros = sparse.csr_array(KNOWN)
    zeros.data[0] = 0
    twice = sparse.coo_array(([1, 1], ([0, 0], [1, 1])), shape=(3, 3))
    for matrix, message in (
        (zeros, r"y\.npz: stores \[-1, 0, 1\].*no zeros"),
        (twice, r"stores \[2\] \(entries that are there twice are added\)"),
        (sparse.csr_array((3, 3)), "without a label"),
    ):
        with pytest.raises(InputError, match=message):
            read_labels(saved(tmp_path, matrix))
    with pytest.raises(InputError, match="has no column 'id'"):
        read_labels(saved(tmp_path, zeros), id_column="id")
    np.savez(tmp_path / "y.npz", a=KNOWN)
    with pytest.raises(InputError, match="a sparse matrix, written by"):
        read_labels(tmp_path / "y.npz")
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "other.npz")


def test_a_small_file_of_a_very_large_table_raises(tmp_path):
    large = sparse.coo_array(([1, -1], ([0, 9_999], [0, 9_999])), shape=(10_000, 10_000))
    with pytest.raises(InputError, match="would become 800,000,000"):
        read_labels(saved(tmp_path, large))


def test_a_table_beyond_the_free_memory_raises_before_it_is_made(tmp_path, monkeypatch):
    path = saved(tmp_path, sparse.csr_array(KNOWN))
    monkeypatch.setattr("proxmtl.machine.available_memory", lambda: 9 * 24 - 1)
    with pytest.raises(
        InputError, match=r"y\.npz: the 3 x 3 labels, of which 6 are stored.*sparse"
    ):
        read_labels(path)
    monkeypatch.setattr("proxmtl.machine.available_memory", lambda: 9 * 24)
    assert read_labels(path).values.shape == (3, 3)
