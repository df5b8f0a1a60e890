"""Classes of samples: by row, or by the names of the rows."""

import pytest

from proxmtl.io import InputError, read_classes

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
    assert read_classes(written(tmp_path, text), KNOWN, ("a", "b"), 2) == [1, 0]


@pytest.mark.parametrize("header", ["image_id,class", "class,image"])
def test_rows_are_not_matched_by_order_where_the_features_have_names(tmp_path, header):
    """Two classes the other way round would be taken for right."""
    cells = {"image_id": ["b", "a"], "image": ["b", "a"], "class": ["cat", "ox"]}
    rows = [",".join(cells[name][i] for name in header.split(",")) for i in range(2)]
    path = written(tmp_path, "\n".join([header, *rows]) + "\n")
    with pytest.raises(InputError, match=r"line 1: no column of identifiers"):
        read_classes(path, KNOWN, ("a", "b"), 2)


def test_without_names_of_the_samples_the_order_counts(tmp_path):
    path = written(tmp_path, "image,class\nb,cat\nb,ox\n")
    assert read_classes(path, KNOWN, None, 2) == [0, 1]
    with pytest.raises(InputError, match=r"line 3: 'b' has two rows"):
        read_classes(path, KNOWN, ("b", "b"), 2)


def test_samples_without_a_class_are_counted(tmp_path):
    path = written(tmp_path, "image,class\nb,cat\n")
    with pytest.raises(InputError, match="no row for 2 of the features, the first is 'x'"):
        read_classes(path, KNOWN, ("x", "b", "y"), 3)
