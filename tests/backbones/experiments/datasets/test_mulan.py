import lzma

import numpy as np
import pytest

from proxmtl.backbones.experiments.datasets import MULAN_LABELS, load_mulan

HEAD = "@relation 'x'\n" + "".join(f"@attribute f{k} numeric\n" for k in range(2))
HEAD += "".join(f"@attribute l{k} {{0,1}}\n" for k in range(6)) + "@data\n"
TRAIN = HEAD + "0.5,-1,0,1,0,0,0,1\n2,3,1,1,0,0,0,0\n"
SPARSE = HEAD + "{0 0.5,1 -1,3 1,7 1}\n{7 1}\n{}\n"


def test_dense_and_sparse_parts_are_joined(tmp_path):
    (tmp_path / "emotions-train.arff").write_text(TRAIN)
    path = tmp_path / "emotions__emotions-test.arff.xz"
    path.write_bytes(lzma.compress(SPARSE.encode()))
    found = load_mulan(tmp_path, "emotions")
    np.testing.assert_array_equal(found.X, [[0.5, -1], [2, 3], [0.5, -1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(found.Y[0], [0, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(found.Y[2], found.Y[0])
    np.testing.assert_array_equal(found.Y[3:], [[0, 0, 0, 0, 0, 1], [0] * 6])
    assert found.n_train == 2


def test_a_set_may_have_one_part(tmp_path):
    (tmp_path / "emotions.arff").write_text(TRAIN)
    assert load_mulan(tmp_path, "emotions").n_train == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "can't be read as ARFF"),
        (TRAIN.replace("2,3,1", "2,x,1"), "can't be read as ARFF"),
        (SPARSE.replace("7 1", "70 1"), "can't be read as ARFF"),
        (SPARSE.replace("7 1", "7 5"), "aren't labels of 0 and 1"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, message):
    path = tmp_path / "emotions.arff"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        load_mulan(tmp_path, "emotions")
    assert "emotions" in str(error.value)


def test_unknown_sets_and_missing_parts(tmp_path):
    with pytest.raises(ValueError, match="got 'imdb'; use"):
        load_mulan(tmp_path, "imdb")
    (tmp_path / "emotions-train.arff").write_text(TRAIN)
    with pytest.raises(FileNotFoundError, match=r"emotions-test\.arff isn't there"):
        load_mulan(tmp_path, "emotions")


@pytest.mark.data
@pytest.mark.parametrize("name", MULAN_LABELS)
def test_the_real_sets(data, name):
    found = load_mulan(data / "mtl_tabular" / "mulan", name)
    assert found.Y.shape[1] == MULAN_LABELS[name]
    assert found.Y.sum(0).min() > 0 or name in {"medical", "enron"}
