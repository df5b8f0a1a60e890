"""Label files: codings, missing values, identifiers, and the sentence for each bad file."""

from pathlib import Path

import numpy as np
import pytest

from proxmtl.io import InputError, align_rows, read_labels, write_labels

NAN = np.nan


def _write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "red,blue\n1,0\n,1\n0,nan\n",
        "red,blue\n1,-1\n,1\n-1,NA\n",
        "\ufeffred , blue\r\n+1,0.0\r\n ,1.0\r\n0,\r\n\r\n",
        '"red","blue"\n"1","0"\n"","1"\n"0",""\n',
    ],
)
def test_codings_and_missing(tmp_path, text):
    labels = read_labels(_write(tmp_path, text))
    np.testing.assert_array_equal(labels.values, [[1, 0], [NAN, 1], [0, NAN]])
    assert labels.names == ("red", "blue")
    assert labels.ids is None


def test_only_positive_labels_are_read(tmp_path):
    labels = read_labels(_write(tmp_path, "red\n1\n1\n"))
    np.testing.assert_array_equal(labels.values, [[1], [1]])


@pytest.mark.parametrize(
    ("text", "id_column"),
    [("image,red\na.jpg,1\nb.jpg,0\n", None), ("red,key\n1,a.jpg\n0,b.jpg\n", "key")],
)
def test_id_column(tmp_path, text, id_column):
    labels = read_labels(_write(tmp_path, text), id_column=id_column)
    assert labels.ids == ("a.jpg", "b.jpg")
    assert labels.names == ("red",)
    np.testing.assert_array_equal(labels.values, [[1], [0]])


def test_rows_are_matched_by_identifier(tmp_path):
    labels = read_labels(_write(tmp_path, "id,red\na,1\nb,0\nc,\n"))
    where = {"labels_path": Path("y.csv"), "features_path": Path("x.parquet")}
    aligned = align_rows(labels, ["c", "a"], 2, **where)
    np.testing.assert_array_equal(aligned.values, [[NAN], [1]])
    with pytest.raises(InputError, match=r"y.csv: no row for 1 of the 2 .* 'd'"):
        align_rows(labels, ["d", "a"], 2, **where)
    with pytest.raises(InputError, match="3 rows of labels for 2 rows of features"):
        align_rows(labels, None, 2, **where)


BAD = {
    "one line": ("red,blue\n", None, ["1 lines", "header"]),
    "empty": ("", None, ["0 lines"]),
    "word": ("red,blue\n1,0\n1,yes\n", None, ["line 3", "'blue'", "'yes'", "blank"]),
    "two": ("red,blue\n1,2\n", None, ["line 2", "'blue'", "'2'", "1 for yes"]),
    "infinite": ("red\ninf\n", None, ["line 2", "'inf'"]),
    "both": ("red,blue\n1,0\n-1,1\n", None, ["line 3", "'red'", "-1", "line 2 has 0", "missing"]),
    "short row": ("red,blue\n1,0\n\n1\n", None, ["line 4", "1 cells", "header has 2"]),
    "long row": ("red,blue\n1,0,1\n", None, ["line 2", "3 cells"]),
    "no header": ("1,0\n1,1\n", None, ["line 1", "numbers where the attribute names belong"]),
    "no attribute": ("id\na\n", None, ["line 1", "no attribute"]),
    "nameless": ("red,,blue\n1,0,1\n", None, ["attribute 2 of 3 has no name"]),
    "twice": ("red,red\n1,0\n", None, ["'red' twice"]),
    "same id": ("id,red\na,1\nb,0\na,1\n", None, ["line 4", "'a'", "line 2", "unique"]),
    "no id column": ("red\n1\n", "key", ["line 1", "no column 'key'", "'red'"]),
    "quotes": ('red\n"1\n', None, ["not readable as CSV"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_advice(tmp_path, case):
    text, id_column, expected = BAD[case]
    path = _write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_labels(path, id_column=id_column)
    message = str(caught.value)
    assert message.startswith(str(path))
    for part in expected:
        assert part in message


def test_other_encodings_and_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="UTF-8"):
        read_labels(_write(tmp_path, "größe\n1\n", encoding="latin-1"))
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "absent.csv")


def test_names_on_the_side_of_the_features_only_are_warned_of(tmp_path):
    labels = read_labels(_write(tmp_path, "red\n1\n0\n"))
    where = {"labels_path": tmp_path / "y.csv", "features_path": tmp_path / "x.npy"}
    with pytest.warns(UserWarning, match=r"y\.csv: no column of identifiers"):
        assert align_rows(labels, ["b", "a"], 2, **where) is labels


@pytest.mark.parametrize(
    ("names", "ids", "said"),
    [(["red", "red"], ["a", "b"], "names: 'red'"), (["red", "blue"], ["a", "a"], "ids: 'a'")],
)
def test_labels_that_could_not_be_read_again_are_not_written(tmp_path, names, ids, said):
    with pytest.raises(ValueError, match=said):
        write_labels(tmp_path / "y.csv", np.ones((2, 2)), names, ids)
