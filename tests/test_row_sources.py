"""Sources of rows: joined, selected and mapped as arrays are, and read when they are asked for."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxmtl import row_sources
from proxmtl.ranks import ALONE, Ranks
from proxmtl.row_sources import FeatureRows, JoinedRows, MappedRows, as_rows, is_rows, rows_of

X = np.arange(60.0).reshape(20, 3)


class Logged(FeatureRows):
    """Rows of an array; what is read is written down."""

    def __init__(self, array):
        self.array, self.log = array, []
        self.shape, self.dtype = array.shape, array.dtype

    def read_into(self, first, out):
        self.log.append((first, len(out)))
        np.copyto(out, self.array[first : first + len(out)])


def negated(block):
    return -block


def weighed(block, beside):
    return block * beside


def sources():
    """Sources of one matrix, each with the matrix."""
    joined = JoinedRows([X[:7], Logged(X[7:8]), X[8:]])
    beside = np.arange(20.0)[:, None]
    yield joined, X
    yield joined.take(slice(2, 19, 3)), X[2:19:3]
    yield joined.take([5, 5, 0, 19, 7]), X[[5, 5, 0, 19, 7]]
    yield joined.take(X[:, 0] > 20).take([-0, 2, 1]), X[X[:, 0] > 20][[0, 2, 1]]
    yield MappedRows(joined, negated, dtype=np.float32), -X.astype(np.float32)
    weighted = MappedRows(joined, weighed, dtype=np.float64, beside=beside)
    yield weighted, X * beside
    yield weighted.take([9, 3, 12]), (X * beside)[[9, 3, 12]]
    yield JoinedRows([weighted, joined.take([1])]), np.concatenate([X * beside, X[[1]]])


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("chunk", [1, 7, 1 << 18])
def test_rows_are_those_of_the_matrix(number, chunk, monkeypatch):
    monkeypatch.setattr(row_sources, "CHUNK", chunk)
    source, matrix = list(sources())[number]
    assert source.shape == matrix.shape
    assert len(source) == len(matrix)
    assert source.dtype == matrix.dtype
    n = len(matrix)
    index = np.random.default_rng(0).integers(0, n, 9)
    slices = (slice(None), slice(1, 3), slice(2, 2), slice(None, None, -2))
    for rows in (*slices, index, np.arange(n) % 3 > 0):
        np.testing.assert_array_equal(source[rows], matrix[rows])
        np.testing.assert_array_equal(rows_of(source, rows)[:], matrix[rows])
    for row in (0, -1, np.intp(1)):
        np.testing.assert_array_equal(source[row], matrix[row])
    with pytest.raises(IndexError):
        source[n]
    np.testing.assert_array_equal(list(source), matrix)
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[1:3], matrix[1:3])


@given(
    rows=st.lists(st.integers(0, 19), max_size=30),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    first=st.integers(0, 30),
    chunk=st.integers(1, 40),
)
def test_any_rows_of_any_parts(rows, sizes, first, chunk):
    ends = np.minimum(np.cumsum(sizes), 19)
    parts = [part for part in np.split(X, np.unique(ends)) if len(part)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_sources, "CHUNK", chunk)
        patch.setattr(row_sources, "GAP", chunk)
        found = JoinedRows(parts).take(np.array(rows, dtype=int))[first : first + 5]
    np.testing.assert_array_equal(found, X[np.array(rows, dtype=int)][first : first + 5])


def test_rows_are_read_in_few_pieces_and_gaps_are_skipped(monkeypatch):
    source = Logged(np.zeros((10_000, 4)))
    some = source.take(np.arange(2000, 9000))
    assert source.log == []
    some[10:5000]
    assert source.log == [(2010, 4990)]
    source.log.clear()
    source.take(np.r_[3:9, 11, 5000:5003])[:]  # a gap of two rows is read, one of thousands is not
    assert source.log == [(3, 9), (5000, 3)]
    source.log.clear()
    source.take(np.arange(0, 10_000, 2))[:]
    assert source.log == [(0, 9999)]
    monkeypatch.setattr(row_sources, "CHUNK", 4 * 1000)
    source.log.clear()
    source.take(np.arange(0, 10_000, 2)[::-1])[:]
    assert [size for _, size in source.log] == [999] * 10


def test_blocks_are_as_large_as_memory_has_room_for():
    source = JoinedRows([X], memory=3 * 4 * X[0].nbytes)
    assert [len(block) for _, block in source.blocks()] == [4] * 5
    assert source.take(slice(3, None)).memory == source.memory
    assert MappedRows(source, negated, dtype=float).memory == source.memory


def test_a_value_that_is_not_finite_is_named_by_its_part():
    bad = X.copy()
    bad[12, 1] = np.nan
    joined = JoinedRows([bad[:10], bad[10:]], memory=200)
    with pytest.raises(ValueError, match=r"nan in row 2 of part 1, feature column 1"):
        joined.check_finite()
    mapped = MappedRows(joined, negated, dtype=float).take([3, 12])
    with pytest.raises(ValueError, match=r"row 2 of part 1"):
        mapped.check_finite()
    JoinedRows([X]).check_finite()


def test_what_is_no_matrix_or_no_row_raises():
    with pytest.raises(ValueError, match="no part"):
        JoinedRows([])
    for parts in ([X, X[:, :2]], [X, X.astype(np.float32)], [X[:0]], [X[0]]):
        with pytest.raises(ValueError, match="one width and one type"):
            JoinedRows(parts)
    for rows in ([20], [-1], np.ones(3, dtype=bool)):
        with pytest.raises(IndexError, match="rows"):
            JoinedRows([X]).take(rows)


def test_rows_in_files_are_told_from_arrays():
    source = Logged(X)
    assert is_rows(source)
    assert is_rows([source, source])
    assert not any(is_rows(each) for each in (X, [X, X], [], X.tolist()))
    assert as_rows(source) is source
    assert as_rows([source, source]).shape == (40, 3)
    assert np.shares_memory(rows_of(X, slice(1, 3)), X)


@pytest.mark.parametrize(("n", "size"), [(10, 3), (3, 3), (2, 3), (7, 1)])
def test_ranks_read_every_row_once(n, size):
    rows = JoinedRows([np.arange(2 * n, dtype=np.float64).reshape(n, 2)])
    parts = []
    for rank in range(size):
        ranks = Ranks()
        ranks.rank, ranks.size = rank, size
        shared = rows.take(np.arange(n)).among(ranks)  # the ranks go on to what is made of rows
        assert shared.take(slice(None)).ranks is ranks
        assert shared.own.ranks is ALONE
        parts.append(shared.own[:])
    assert np.array_equal(np.concatenate(parts), rows[:])
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
