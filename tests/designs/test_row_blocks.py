"""Rows read ahead in blocks: every row once and in its place, whatever happens on the way."""

import threading

import numpy as np
import pytest
import torch

from proxmtl.designs import row_blocks
from proxmtl.designs.row_blocks import COPIES, DEPTH, LEAST, RowBlocks

X = np.arange(120, dtype=np.float32).reshape(40, 3)
A_ROW = COPIES * 3 * 4


def readers():
    return [t for t in threading.enumerate() if t.name.startswith("rows")]


@pytest.mark.parametrize("rows", [1, 3, 7, 40])
@pytest.mark.parametrize("bounds", [[], [1, 2, 3, 25], [39]])
def test_every_row_is_read_once_and_in_its_place(rows, bounds):
    blocks = RowBlocks(np.split(X, bounds), rows * A_ROW)
    assert blocks.rows == rows
    seen = np.full_like(X, np.nan)
    with blocks.opened() as read:
        for place, block in read:
            assert np.isnan(seen[place]).all()
            seen[place] = block
    np.testing.assert_array_equal(seen, X)
    assert not readers()


def test_blocks_come_in_the_order_asked_for():
    blocks = RowBlocks(X, 40 * A_ROW)
    with blocks.opened(rows=16, order=[2, 0, 1]) as read:
        found = [(place.start, block.clone()) for place, block in read]
    assert [start for start, _ in found] == [32, 0, 16]
    for start, block in found:
        np.testing.assert_array_equal(block, X[start : start + 16])


def test_a_block_stays_while_it_is_in_use():
    """The thread has time to fill all the buffers that it may."""
    blocks = RowBlocks(X, 2 * A_ROW)
    with blocks.opened() as read:
        for place, block in read:
            threading.Event().wait(0.002)
            np.testing.assert_array_equal(block, X[place])


class Failing:
    shape, dtype = X.shape, X.dtype

    def __len__(self):
        return len(X)

    def __getitem__(self, rows):
        if rows.start >= 20:
            raise OSError("the disk is gone")
        return X[rows]


def test_an_error_of_the_thread_is_raised_where_its_block_is_asked_for():
    blocks = RowBlocks(Failing(), 5 * A_ROW)
    seen = []
    with pytest.raises(OSError, match="the disk is gone"), blocks.opened() as read:
        seen.extend(place.start for place, _ in read)
    assert seen == [0, 5, 10, 15]
    assert not readers()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_read_that_is_broken_off_leaves_no_thread(error):
    blocks = RowBlocks(X, A_ROW)
    with pytest.raises(error), blocks.opened() as read:  # noqa: PT012 - the body breaks off
        for place, _ in read:
            if place.start == 5:
                raise error
    assert not readers()
    with blocks.opened() as read:
        np.testing.assert_array_equal(torch.cat([block.clone() for _, block in read]), X)


def test_reads_in_one_another_have_buffers_of_their_own():
    blocks = RowBlocks(X, 4 * A_ROW)
    with blocks.opened() as outer:
        for place, block in outer:
            with blocks.opened() as inner:
                np.testing.assert_array_equal(torch.cat([b.clone() for _, b in inner]), X)
            np.testing.assert_array_equal(block, X[place])


def test_a_read_uses_the_buffers_of_the_last_one():
    blocks = RowBlocks(X, 4 * A_ROW)
    places = []
    for _ in range(2):
        with blocks.opened() as read:
            places.append({block.data_ptr() for _, block in read})
    assert len(places[0]) == LEAST
    assert places[0] == places[1]


def test_there_are_more_buffers_where_memory_has_room_for_more(monkeypatch):
    monkeypatch.setattr(row_blocks, "BLOCK", 12)
    with RowBlocks(X, 1 << 20).opened() as read:
        assert len({block.data_ptr() for _, block in read}) == DEPTH


def test_blocks_are_no_larger_than_a_cache(monkeypatch):
    monkeypatch.setattr(row_blocks, "BLOCK", 5 * 12)
    assert RowBlocks(X, 1 << 20).rows == 5
    monkeypatch.setattr(row_blocks, "BLOCK", 1)
    assert RowBlocks(X, 1 << 20).rows == 1


@pytest.mark.parametrize("kind", [torch.float32, np.dtype(">f4"), np.dtype(int)])
def test_types_that_cannot_be_read_raise(kind):
    given = X.astype(kind) if isinstance(kind, np.dtype) else torch.from_numpy(X)
    with pytest.raises(ValueError, match="give float16, float32 or float64"):
        RowBlocks(given, 1 << 20)
