"""Which part of a parquet file identifies its rows: index, columns, neither."""

import numpy as np
import pandas as pd
import pytest

from proxmtl.io import InputError, Rows, join_rows, load_features

X = np.random.default_rng(0).standard_normal((5, 3))
NAMES = [f"{i}.jpg" for i in range(5)]


def _read(tmp_path, table, **options):
    table.to_parquet(tmp_path / "x.parquet")
    return load_features(tmp_path / "x.parquet", **options)


@pytest.mark.parametrize("ids", [NAMES, [7, 8, 9, 10, 11], [4, 0, 3, 1, 2]])
@pytest.mark.parametrize("name", [None, "image", "key"])
def test_rows_in_another_order_meet_their_labels(tmp_path, ids, name):
    table = pd.DataFrame(X, index=pd.Index(ids, name=name)).sample(frac=1, random_state=0)
    read = _read(tmp_path, table)
    labels = Rows(tmp_path / "y.csv", "labels", 5, tuple(map(str, ids)))
    joined = join_rows(read.rows(tmp_path / "x.parquet"), labels)
    np.testing.assert_array_equal(read[0][joined.first], X[joined.second])
    assert joined.note is None


@pytest.mark.parametrize("name", ["id", "index", "image_id", "File"])
@pytest.mark.parametrize("kind", [int, float, str])
def test_a_column_of_identifiers_is_no_feature(tmp_path, name, kind):
    table = pd.DataFrame(X, columns=["u", "v", "w"])
    table[name] = [kind(i) for i in (3, 1, 4, 0, 5)]
    read = _read(tmp_path, table)
    assert read.names == ("u", "v", "w")
    assert tuple(float(i) for i in read.ids) == (3, 1, 4, 0, 5)
    np.testing.assert_array_equal(read.values, X)


def test_a_feature_may_have_such_a_name_if_its_numbers_are_not_whole(tmp_path):
    read = _read(tmp_path, pd.DataFrame(X, columns=["row", "v", "w"]))
    assert read.names == ("row", "v", "w")
    assert read.ids is None


@pytest.mark.parametrize("index", [None, range(5), pd.Index([0, 1, 2, 3, 4])])
def test_what_pandas_counts_by_itself_is_no_identifier(tmp_path, index):
    assert _read(tmp_path, pd.DataFrame(X, index=index).rename(columns=str)).ids is None


def test_rows_of_a_part_keep_their_numbers(tmp_path):
    part = pd.DataFrame(X).rename(columns=str).iloc[2:]
    assert _read(tmp_path, part).ids == ("2", "3", "4")


def test_the_column_or_index_asked_for_is_taken(tmp_path):
    table = pd.DataFrame(X, columns=["u", "v", "w"], index=pd.Index(NAMES, name="image"))
    table["key"] = [3, 1, 4, 0, 5]
    with pytest.warns(UserWarning, match="'image' may identify rows too"):
        assert _read(tmp_path, table, id_column="key").ids == ("3", "1", "4", "0", "5")
    read = _read(tmp_path, table, id_column="image")
    assert read.ids == tuple(NAMES)
    assert read.names == ("u", "v", "w", "key")


def test_of_several_the_text_is_taken_and_the_others_are_named(tmp_path):
    table = pd.DataFrame(X, columns=["u", "v", "w"]).assign(id=[3, 1, 4, 0, 5], file=NAMES)
    with pytest.warns(UserWarning, match=r"x\.parquet: 'id' may identify rows too"):
        read = _read(tmp_path, table)
    assert read.ids == tuple(NAMES)
    assert read.names == ("u", "v", "w")


@pytest.mark.parametrize("ids", [["a", None, "b", "c", "d"], [1, np.nan, 2, 3, 4], list("aabcd")])
def test_missing_and_repeated_identifiers_are_errors_unless_the_position_counts(tmp_path, ids):
    table = pd.DataFrame(X, index=pd.Index(ids, name="id")).rename(columns=str)
    rows = _read(tmp_path, table).rows(tmp_path / "x.parquet")
    labels = Rows(tmp_path / "y.csv", "labels", 5, tuple("abcde"))
    with pytest.raises(InputError, match=r"x\.parquet: .*(no identifier|of row 1 and of row 2)"):
        join_rows(rows, labels)
    np.testing.assert_array_equal(join_rows(rows, labels, "position").second, range(5))


BAD = {
    "levels": (
        pd.DataFrame(X, index=pd.MultiIndex.from_product([["a"], range(5)])).rename(columns=str),
        "2 levels",
    ),
    "lists": (pd.DataFrame({"embedding": [list(row) for row in X]}), "'embedding' holds a list"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused_with_advice(tmp_path, case):
    table, said = BAD[case]
    with pytest.raises(InputError, match=said):
        _read(tmp_path, table)


def test_types_of_pandas_are_read_and_missing_numbers_are_named(tmp_path):
    table = pd.DataFrame(X, columns=["u", "v", "w"]).convert_dtypes()
    read = _read(tmp_path, table)
    np.testing.assert_array_equal(read[0], X)
    table.iloc[2, 1] = pd.NA
    with pytest.raises(InputError, match="nan in row 2, column 1"):
        _read(tmp_path, table)


def test_identifiers_that_are_no_text_raise(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    broken = arrow.array([b"a", b"\x81"], arrow.binary()).view(arrow.string())
    table = arrow.table({"id": broken, "f": [1.0, 2.0]})
    parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"x\.parquet: its row identifiers are not text in UTF-8"):
        load_features(tmp_path / "x.parquet")


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("form", ["{:.2f}", "{:.3e}"])
def test_numbers_as_text_are_neither_identifiers_nor_features(tmp_path, many, form):
    """What pandas makes of decimal commas, unless it is told."""
    table = pd.DataFrame(X, columns=["u", "v", "w"])
    for name in ["u", "v"] if many else ["v"]:
        table[name] = table[name].map(lambda value: form.format(value).replace(".", ","))
    with pytest.raises(InputError, match=r"holds numbers as text \('.*,.*decimal=','") as caught:
        _read(tmp_path, table)
    assert ("column 'u', and 1 more," if many else "column 'v' holds") in str(caught.value)


def test_whole_numbers_and_versions_as_text_are_identifiers(tmp_path):
    table = pd.DataFrame(X, columns=["u", "v", "w"])
    for ids in (["007", "8", "9", "10", "11"], ["1.2.0", "1.3", "2", "3", "4"]):
        assert _read(tmp_path, table.assign(Nr=ids)).ids == tuple(ids)
    numbers = ["0,5", "1,5", "2,5", "3,5", "4,5"]
    assert _read(tmp_path, table.assign(Nr=numbers), id_column="Nr").ids == tuple(numbers)


def test_a_column_of_identifiers_that_is_not_there_is_an_error_unless_it_may_be_elsewhere(tmp_path):
    table = pd.DataFrame(X, columns=["u", "v", "w"], index=pd.Index(NAMES, name="image"))
    with pytest.raises(InputError, match=r"no column or index 'key' .* 'image', 'u', 'v', 'w'"):
        _read(tmp_path, table, id_column="key")
    assert _read(tmp_path, table, id_column="key", id_column_required=False).ids == tuple(NAMES)
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(InputError, match=r"a .npy file has no columns.* x\.ids\.csv beside it"):
        load_features(tmp_path / "x.npy", id_column="key")
