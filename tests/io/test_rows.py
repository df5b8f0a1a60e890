"""Rows of two inputs: matched by identifier, by position, or refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from proxmtl.io import InputError, Rows, join_rows

X, Y = Path("x.parquet"), Path("y.csv")


def joined(first, second, match="auto", *, counted=False):
    """Join rows of these identifiers; a number stands for so many rows without."""
    sides = [
        Rows(source, what, ids) if isinstance(ids, int) else Rows(source, what, len(ids), ids)
        for source, what, ids in ((X, "features", first), (Y, "labels", second))
    ]
    if counted:
        sides[1] = Rows(Y, "labels", len(second), second, counted=True)
    return join_rows(*sides, match)


@given(
    first=st.lists(st.text("abc1/ ", min_size=1).filter(str.strip), unique_by=str.strip),
    second=st.lists(st.text("abc1/ ", min_size=1).filter(str.strip), unique_by=str.strip),
)
@examples(200)
def test_rows_of_one_identifier_meet_and_all_others_are_counted(first, second):
    keys = [[name.strip() for name in ids] for ids in (first, second)]
    common = [key for key in keys[0] if key in keys[1]]
    if not common:
        with pytest.raises(InputError, match=r"y\.csv: none of its"):
            joined(first or ["x"], second or ["y"])
        return
    found = joined(first, second)
    assert found.by_id
    assert [keys[0][row] for row in found.first] == common
    assert [keys[1][row] for row in found.second] == common
    assert (found.note is None) == (len(first) == len(second) == len(common))


def test_the_note_says_how_many_rows_were_used_and_left_out():
    found = joined(["a", "b", "c", "d"], ["d", "x", "a"])
    np.testing.assert_array_equal(found.first, [0, 3])
    np.testing.assert_array_equal(found.second, [2, 0])
    assert found.note == (
        "2 rows are used, matched by their identifiers; left out are 2 of 4 in x.parquet (the "
        "first is 'b') and 1 of 3 in y.csv (the first is 'x')."
    )


def test_without_identifiers_on_either_side_the_position_counts():
    found = joined(3, 3)
    assert not found.by_id
    np.testing.assert_array_equal(found.first, found.second)
    with pytest.raises(InputError, match="3 rows of labels for 2 rows of features"):
        joined(2, 3)


@pytest.mark.parametrize("match", ["auto", "id"])
@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (["a", "b"], 2, r"y\.csv: there are no identifiers.*'image'.*--match position"),
        (2, ["a", "b"], r"x\.parquet: there are no identifiers.*index.*--match position"),
    ],
)
def test_identifiers_on_one_side_are_no_reason_to_take_the_position(first, second, match, said):
    with pytest.raises(InputError, match=said):
        joined(first, second, match)
    np.testing.assert_array_equal(joined(first, second, "position").second, [0, 1])


def test_identifiers_are_asked_for_and_there_are_none():
    with pytest.raises(InputError, match=r"no identifiers of its rows, nor in y\.csv"):
        joined(2, 2, "id")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (["a", "a"], ["a", "b"], r"x\.parquet: the identifier 'a' is of row 1 and of row 2"),
        (["a", "b"], ["b", "b "], r"y\.csv: the identifier 'b' is of row 1 and of row 2"),
        (["a", "u\u0308", "\u00fc"], ["a"], r"x\.parquet: the identifier 'ü' is of row 2"),
        (["a", ""], ["a", "b"], r"x\.parquet: 1 of 2 rows of features has no identifier.*row 2"),
        (["a", "b"], ["a", " "], r"y\.csv: 1 of 2 rows of labels has no identifier"),
    ],
)
def test_repeated_and_blank_identifiers_are_errors_unless_the_position_counts(first, second, said):
    with pytest.raises(InputError, match=said):
        joined(first, second)
    if len(first) == len(second):
        assert len(joined(first, second, "position").first) == len(first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["u\u0308.jpg", "a"], ["a", "\u00fc.jpg"]),  # macOS decomposes names of files
        (["7", "10"], ["010", "007"]),
        (["7", "10"], ["10.0", "7.0"]),
        ([" a", "b"], ["b ", "a"]),
    ],
)
def test_identifiers_written_in_two_ways_meet(first, second):
    np.testing.assert_array_equal(joined(first, second).second, [1, 0])


def test_zeros_in_front_count_where_they_tell_identifiers_apart():
    np.testing.assert_array_equal(joined(["7", "007"], ["007", "7"]).second, [1, 0])


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (["p/a.jpg", "p/b.jpg"], ["a.jpg", "b.jpg"], "Without folders 2 would match"),
        (["p\\a.jpg"], ["p/a.jpg"], "With / for .* 1 would match"),
        (["a", "b"], ["b.jpg", "a.jpg"], "Without suffixes 2 would match"),
        (["A", "b"], ["a", "B"], "In lower case 2 would match"),
        (["7", "x"], ["007", "y"], "As numbers 1 would match"),
        (["p/a.jpg"], ["a"], "Without folders and suffixes 1 would match"),
        (["a"], ["b"], "files of the same samples?"),
    ],
)
def test_where_nothing_matches_the_error_says_what_would(first, second, said):
    with pytest.raises(InputError, match=said):
        joined(first, second)


def test_where_little_matches_the_note_says_what_would():
    note = joined(["a", "p/b", "p/c"], ["a", "b", "c"]).note
    assert "Without folders 2 would match ('p/b' and 'b'): write them alike." in note


def test_numbers_of_rows_beside_a_table_say_no_more_than_the_position():
    assert not joined(2, ["0", "1"], counted=True).by_id
    np.testing.assert_array_equal(joined(["1", "0"], ["0", "1"], counted=True).second, [1, 0])
    for other in (["1", "2"], ["a", "b"], ["0", "1", "2"]):
        with pytest.raises(InputError, match=r"y\.csv: its first column, which has no name"):
            joined(other, ["0", "1"], counted=True)
    assert joined(["1", "2"], ["0", "1"], "position", counted=True).note is None


def test_counts_from_0_and_from_1_do_not_meet_one_row_off():
    with pytest.raises(InputError, match="counts its rows from 0 and the other from 1"):
        joined(["2", "0", "1"], ["1", "2", "3"])


@pytest.mark.parametrize("second", ["12345", "1", "213", "1234"])
def test_counts_from_0_and_from_1_do_not_meet_whatever_their_lengths(second):
    with pytest.raises(InputError, match="counts its rows from 0 and the other from 1"):
        joined(list("0123"), list(second))


def test_only_ranges_count_rows_and_a_match_by_id_that_is_asked_for_is_made():
    np.testing.assert_array_equal(joined(["0", "17", "33"], ["17", "33", "3"]).first, [1, 2])
    np.testing.assert_array_equal(joined(["0", "1", "2"], ["1", "2", "3"], "id").first, [1, 2])
