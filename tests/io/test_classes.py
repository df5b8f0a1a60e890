"""Classes of samples: by row, or by the names of the rows."""

import pytest

from proxmtl.io import InputError, Rows, join_rows, read_classes

KNOWN = ["cat", "ox"]


def written(folder, text):
    path = folder / "classes.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "class,id\ncat,b\nox,a\n",
        "file,class,id\nz,cat,b\ny,ox,a\n",  # a column called id is the one
        "image,class\nb,cat\na,ox\nc,cat\n",
        "name,class\nb,cat\na,ox\n",
        '"image ",class\nb,cat\na,ox\n',
    ],
)
def test_rows_are_matched_by_name_where_there_are_names(tmp_path, text):
    read = read_classes(written(tmp_path, text), KNOWN)
    joined = join_rows(Rows(tmp_path / "x.npy", "features", 2, ("a", "b")), read.rows(tmp_path))
    assert [read.numbers[row] for row in joined.second] == [1, 0]


@pytest.mark.parametrize("header", ["specimen,class", "class,image"])
def test_rows_are_not_matched_by_order_where_the_features_have_names(tmp_path, header):
    """Two classes the other way round would be taken for right."""
    cells = {"specimen": ["b", "a"], "image": ["b", "a"], "class": ["cat", "ox"]}
    rows = [",".join(cells[name][i] for name in header.split(",")) for i in range(2)]
    path = written(tmp_path, "\n".join([header, *rows]) + "\n")
    read = read_classes(path, KNOWN)
    with pytest.raises(InputError, match=r"classes.csv: there are no identifiers of its rows"):
        join_rows(Rows(tmp_path / "x.npy", "features", 2, ("a", "b")), read.rows(path))


def test_without_names_of_the_samples_the_order_counts(tmp_path):
    path = written(tmp_path, "class\ncat\nox\n")
    assert read_classes(path, KNOWN) == ([0, 1], None, False)


def test_names_are_unique_unless_the_order_counts(tmp_path):
    path = written(tmp_path, "image,class\nb,cat\nb,ox\n")
    assert read_classes(path, KNOWN, unique_ids=False).numbers == [0, 1]
    with pytest.raises(InputError, match=r"line 3: the identifier 'b' was already used in line 2"):
        read_classes(path, KNOWN)


def test_unknown_classes_are_named_with_their_line(tmp_path):
    path = written(tmp_path, "image,class\nb,cat\na,dog\n")
    with pytest.raises(InputError, match=r"line 3: class 'dog' has no row in m\.csv, .* cat, ox"):
        read_classes(path, KNOWN, matrix="m.csv")
    with pytest.raises(InputError, match=r"line 3: class 'dog' has no row .* cat, ox; check"):
        read_classes(path, KNOWN)
    path = written(tmp_path, "class\nCat\n")
    with pytest.raises(InputError, match=r"line 2: class 'Cat' has no row .* is it 'cat'\?"):
        read_classes(path, KNOWN)
