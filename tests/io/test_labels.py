"""Label files: codings, missing values, identifiers, and the sentence for each bad file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from proxmtl.io import InputError, Rows, join_rows, read_labels, write_labels
from proxmtl.io.tables import read_ids

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
        "red,blue\n1.0,-1.0\n,1.0\n-1.00,NA\n",
        "\ufeffred , blue\r\n+1,0.0\r\n ,1.0\r\n0,\r\n\r\n",
        '"red","blue"\n"1","0"\n"","1"\n"0",""\n',
        "red,blue\nTrue,No\n,y\nF,n/a\n",
        "red;blue\n1,0;0,0\n;1\n0;NULL\n",
        "red\tblue\nja\tFALSCH\n\tT\nno\t\n",
        "red,blue,,\r1,0,,\r,1,,\r0,,,\r",
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
    [
        ("image,red\na.jpg,1\nb.jpg,0\n", None),
        ("red,key\n1,a.jpg\n0,b.jpg\n", "key"),
        ("red,id\n1,a.jpg\n0,b.jpg\n", None),
        *((f"{header};red\na.jpg;1\nb.jpg;0\n", None) for header in ("image_path", "Image Path")),
        *((f"{header},red\na.jpg,1\nb.jpg,0\n", None) for header in ("image_id", "Filename")),
    ],
)
def test_id_column(tmp_path, text, id_column):
    labels = read_labels(_write(tmp_path, text), id_column=id_column)
    assert labels.ids == ("a.jpg", "b.jpg")
    assert labels.names == ("red",)
    np.testing.assert_array_equal(labels.values, [[1], [0]])


def test_a_blank_line_of_one_column_is_a_missing_label(tmp_path):
    labels = read_labels(_write(tmp_path, "a\n1\n\n0\n"))
    np.testing.assert_array_equal(labels.values, [[1], [NAN], [0]])


def test_blank_rows_without_identifiers_hold_the_place_of_a_sample(tmp_path):
    labels = read_labels(_write(tmp_path, "a;b\r\n1;0\r\n;\r\n0;1\r\n\r\n\r\n"))
    np.testing.assert_array_equal(labels.values, [[1, 0], [NAN, NAN], [0, 1]])


@pytest.mark.parametrize("behind", [";;;;;;;\r\n", ";;\r\n"])
def test_what_spreadsheets_write_behind_and_below_the_table_is_no_surprise(tmp_path, behind):
    text = "a;b;c\r\n1;0;1;;;;\r\n0;1;0\r\n"
    labels = read_labels(_write(tmp_path, text))
    np.testing.assert_array_equal(labels.values, [[1, 0, 1], [0, 1, 0]])
    # a row without text may be a sample: where it is one too many, the error says which it is
    below = read_labels(_write(tmp_path, text + behind)).rows(tmp_path / "y.csv")
    features = Rows(tmp_path / "x.npy", "features", 2)
    with pytest.raises(InputError, match=r"3 rows of labels for 2 rows .* The last line is empty"):
        join_rows(features, below)
    assert len(join_rows(Rows(tmp_path / "x.npy", "features", 3), below).first) == 3
    with pytest.raises(InputError) as caught:
        join_rows(Rows(tmp_path / "x.npy", "features", 1), below)
    assert "empty" not in str(caught.value)
    with pytest.raises(InputError, match="line 3: 4 cells where the header has 3"):
        read_labels(_write(tmp_path, "a;b;c\n1;0;1\n0;1;0;1\n"))


def test_blank_rows_between_identified_ones_are_no_samples(tmp_path):
    text = "image;a;b\r\nx;1;0\r\n;;\r\n\r\ny;0;1\r\n;;\r\n"
    with pytest.warns(UserWarning, match="2 rows without text .* the first in line 3"):
        labels = read_labels(_write(tmp_path, text))
    np.testing.assert_array_equal(labels.values, [[1, 0], [0, 1]])
    assert labels.ids == ("x", "y")


BAD = {
    "one line": ("red,blue\n", None, ["1 line with", "header"]),
    "empty": ("", None, ["no line with text"]),
    "word": ("red,blue\n1,0\n1,perhaps\n", None, ["line 3", "'blue'", "'perhaps'", "blank"]),
    "two": ("red,blue\n1,2\n", None, ["line 2", "'blue'", "'2'", "1 for yes"]),
    "infinite": ("red\ninf\n", None, ["line 2", "'inf'"]),
    "both": ("red,blue\n1,0\n-1,1\n", None, ["line 3", "'red'", "-1", "line 2 has 0", "missing"]),
    "short row": ("red,blue\n1,0\n\n1\n", None, ["line 3", "nothing is in this line", "','"]),
    "short": ("red,blue\n1,0\n1\n\n", None, ["line 3", "1 cell where", "header has 2"]),
    "short after lines": ('red,"a\n\nb"\n1,0\n1\n', None, ["line 5", "1 cell where"]),
    "remark": ("red,note\n1,fine\n", None, ["line 2", "'note'", "Leave the column out"]),
    "half": ("red,blue\n1,0.5\n", None, ["line 2", "'blue'", "'0.5'", "1 for yes"]),
    "maybe": ("id;red\na;1\nb;maybe\n", None, ["line 3", "'red'", "'maybe'", "1 for yes"]),
    "words and 0": ("red\nyes\nno\n0\n", None, ["line 4", "'red'", "0", "line 3 has no"]),
    "spaces": ("red blue\n1 0\n", None, ["line 2", "commas, semicolons or tabs"]),
    "late ids": ("red,image\n1,a.jpg\n", None, ["line 2", "--id-column 'image'"]),
    "other ids": (
        "specimen,red\na,1\n",
        None,
        ["line 2", "the first column 'specimen' has 'a', which is no label", "call it 'image'"],
    ),
    "slip": ("red,bar\n1,0\nyess,1\n", None, ["line 3", "Leave the column out"]),
    "ids elsewhere": ("comment,id,red\ngood,a,1\n", None, ["line 2", "Leave the column out"]),
    "numbered": ("Nr;red\n10;1\n11;0\n12;1\n", None, ["line 2", "--id-column 'Nr'"]),
    "blank id": ("id,red\na,1\n,0\n", None, ["line 3", "no 'id'", "fill it in"]),
    "same id composed": (
        "id,red\na\u0308,1\n\u00e4,0\n",
        None,
        ["line 3", "'\u00e4'", "line 2", "unique"],
    ),
    "long row": ("red,blue\n1,0,1\n", None, ["line 2", "3 cells"]),
    "no header": ("1,0\n1,1\n", None, ["line 1", "numbers where the attribute names belong"]),
    "no attribute": ("id\na\n", None, ["line 1", "no attribute"]),
    "nameless": ("red,,blue\n1,0,1\n", None, ["attribute 2 of 3 has no name"]),
    "twice": ("red,red\n1,0\n", None, ["'red' twice"]),
    "same id": ("id,red\na,1\nb,0\na,1\n", None, ["line 4", "'a'", "line 2", "unique"]),
    "no id column": ("red\n1\n", "key", ["line 1", "no column 'key'", "'red'"]),
    "an id column misspelled": (
        "photo,red\na,1\n",
        "foto",
        ["line 1", "no column 'foto'", "is it 'photo'?", "'photo', 'red'"],
    ),
    "quotes": ('red\n"1\n', None, ["not readable as CSV"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_advice(tmp_path, case):
    text, id_column, expected = BAD[case]
    _refused(_write(tmp_path, text), expected, id_column=id_column)


def _refused(path, expected, **options):
    with pytest.raises(InputError) as caught:
        read_labels(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    for part in expected:
        assert part in message


def test_a_line_for_each_label(tmp_path):
    text = "id,task,label\nx,red,1\ny,blue,0\nx,blue,1\nz,red,\nz,blue,0\n"
    labels = read_labels(_write(tmp_path, text), task_column="task")
    np.testing.assert_array_equal(labels.values, [[1, 1], [NAN, 0], [NAN, 0]])
    assert labels.names == ("red", "blue")
    assert labels.ids == ("x", "y", "z")
    text = "label;which\nno;red\nyes;blue\nyes;red\n"
    labels = read_labels(_write(tmp_path, text), task_column="which")
    np.testing.assert_array_equal(labels.values, [[0, NAN], [NAN, 1], [1, NAN]])
    assert labels.ids is None
    assert labels.rows(tmp_path).count == 3


BAD_LONG = {
    "no column": ("id,y\na,1\n", "task", ["line 1", "no column 'task'", "'id', 'y'"]),
    "twice": (
        "id,task,y\na,u,1\nb,u,0\n a ,u,0\n",
        "task",
        ["line 4", "a label of 'u' for 'a'", "in line 2"],
    ),
    "two labels": ("id,task,y,z\na,u,1,1\n", "task", ["line 1", "has 2 ('y', 'z')"]),
    "no labels": ("id,task\na,u\n", "task", ["names no attribute"]),
    "blank task": ("id,task,y\na,u,1\nb,,1\n", "task", ["line 3", "no 'task'"]),
    "blank id": ("id,task,y\na,u,1\n,u,1\n", "task", ["line 3", "no identifier"]),
    "no label": ("id,task,y\na,u,2\n", "task", ["line 2", "'y' has '2'"]),
    "both codings": ("id,task,y\na,u,0\nb,u,-1\n", "task", ["line 3", "'y'", "line 2 has 0"]),
    "one for both": ("id,y\na,1\n", "id", ["'id' can't hold both"]),
}


@pytest.mark.parametrize("case", BAD_LONG)
def test_bad_files_with_a_line_for_each_label(tmp_path, case):
    text, column, expected = BAD_LONG[case]
    _refused(_write(tmp_path, text), expected, task_column=column)


def test_other_encodings_and_missing_files_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"line 2: not text in UTF-8; .* 'größe;1': save it as CSV"
    ):
        read_labels(_write(tmp_path, "id;red\ngröße;1\n", encoding="latin-1"))
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("names", "ids", "said"),
    [
        (["red", "red"], ["a", "b"], "names: 'red'"),
        (["red", " red"], ["a", "b"], "names: 'red'"),
        (["red", "blue"], ["a", "a"], "ids: 'a'"),
        (["red", "image"], ["a", "b"], "header: 'image'"),
        (["red", "blue"], ["a", "\udcff"], "ids: .* no text in UTF-8"),
    ],
)
def test_labels_that_could_not_be_read_again_are_not_written(tmp_path, names, ids, said):
    with pytest.raises(ValueError, match=said):
        write_labels(tmp_path / "y.csv", np.ones((2, 2)), names, ids)


AWKWARD = ["1", "nan", "inf", "id", "ids", "name", "a,b", 'a"b', "a;b", "a\tb", "a\nb", "a\r\nb"]
AWKWARD += ["[red]", " a ", "\ufeffa", "sep=;", "\u00fc", "u\u0308", "'", '"', "\\", "\x85a", "0"]
TEXTS = st.one_of(
    st.sampled_from(AWKWARD), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
)


@given(
    names=st.lists(TEXTS, min_size=1, max_size=4),
    ids=st.lists(TEXTS, min_size=1, max_size=4),
    cells=st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=16, max_size=16),
)
@examples(300)
def test_what_is_written_is_read_again_or_refused(tmp_path_factory, names, ids, cells):
    path = tmp_path_factory.getbasetemp() / "round.csv"
    labels = np.reshape(cells, (4, 4))[: len(ids), : len(names)]
    try:
        write_labels(path, labels, names, ids)
    except ValueError as error:
        assert "names: " in str(error) or "ids: " in str(error)  # noqa: PT017
        return
    read = read_labels(path)
    assert read.names == tuple(names)
    assert read.ids == tuple(ids)
    np.testing.assert_array_equal(read.values, labels)


@pytest.mark.parametrize(
    "names", [["1", "2"], ["nan", "inf"], ["id"], ["red", "id"], [" a", "a ,"]]
)
@pytest.mark.parametrize("ids", [["0"], ["1", "0"], ["a", "b"]])
def test_names_that_look_like_something_else_are_read_again(tmp_path, names, ids):
    labels = np.zeros((len(ids), len(names)))
    write_labels(tmp_path / "y.csv", labels, names, ids)
    read = read_labels(tmp_path / "y.csv")
    assert read.names == tuple(names)
    assert read.ids == tuple(ids)


def test_numbers_of_rows_that_pandas_writes_are_known_as_such(tmp_path):
    assert read_labels(_write(tmp_path, ",red\n0,1\n1,0\n")).counted
    assert read_labels(_write(tmp_path, '"","red"\n"1",1\n"2",0\n')).counted
    assert not read_labels(_write(tmp_path, "id,red\n0,1\n1,0\n")).counted
    assert not read_labels(_write(tmp_path, ",red\n1,1\n0,0\n")).counted


@pytest.mark.parametrize("first", ["", "Unnamed: 0"])
@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", ["image_path", "key", "id"])
def test_a_counter_of_rows_is_left_out_where_another_column_has_the_identifiers(
    tmp_path, first, start, name
):
    """As ``DataFrame.to_csv`` writes it."""
    ids = ("b.jpg", "a.jpg", "c.jpg")
    lines = [
        f"{start + i},{label},{file}"
        for i, (label, file) in enumerate(zip("101", ids, strict=True))
    ]
    path = _write(tmp_path, "\n".join([f"{first},red,{name}", *lines, ""]))
    labels = read_labels(path, id_column=None if name == "id" else name)
    assert (labels.names, labels.ids, labels.counted) == (("red",), ids, False)
    assert labels.values.tolist() == [[1], [0], [1]]
    assert read_ids(path, id_column=None if name == "id" else name) == ids


@pytest.mark.parametrize("numbers", ["013", "120", "100"])
def test_a_column_without_a_name_that_does_not_count_the_rows_is_an_error(tmp_path, numbers):
    lines = [f"{number},1,{i}.jpg" for i, number in enumerate(numbers)]
    path = _write(tmp_path, "\n".join([",red,key", *lines, ""]))
    with pytest.raises(InputError, match=r"attribute 1 of 2 has no name"):
        read_labels(path, id_column="key")


@pytest.mark.parametrize("name", ["photo", "path", "row", "file", "picture", "index", "name", "id"])
@pytest.mark.parametrize("cells", [("1", "0", "1"), ("yes", "", "no"), ("-1", "1", "NA")])
def test_no_attribute_is_lost_to_its_header_where_identifiers_may_repeat(tmp_path, name, cells):
    rows = zip(cells, "011", strict=True)
    path = _write(tmp_path, f"{name},painting\n" + "".join(f"{a},{b}\n" for a, b in rows))
    with pytest.raises(InputError, match=rf"column '{name}' is called like.*--id-column '{name}'"):
        read_labels(path, unique_ids=False)
    assert read_labels(path, id_column=name, unique_ids=False).ids == cells


@pytest.mark.parametrize("ids", ["ab", "aa", "01", "12", ["", ""]])
def test_repeated_identifiers_and_numbers_of_rows_are_no_labels(tmp_path, ids):
    rows = zip(ids, "01", strict=True)
    path = _write(tmp_path, "row,a\n" + "".join(f"{name},{y}\n" for name, y in rows))
    assert read_labels(path, unique_ids=False).ids == tuple(ids)
