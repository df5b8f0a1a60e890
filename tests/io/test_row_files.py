"""Rows of files that are larger than memory: read past the page cache, with the same values."""

import errno
import os

import numpy as np
import pytest

from proxmtl.io import InputError, row_files
from proxmtl.io.row_files import PAGE, NpyRows

X = np.random.default_rng(0).standard_normal((5000, 7)).astype(np.float32)  # 140,000 bytes
SLICES = [(0, 5000), (0, 1), (4999, 5000), (1234, 1235), (137, 4321), (1170, 3511)]

direct = pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="the system has no such reads")


@pytest.fixture
def passing(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return NpyRows(tmp_path / "x.npy", passing=True)


@pytest.fixture
def buffered(monkeypatch):
    """Descriptors that are opened without the flag of reads past the cache, and how many were."""
    opened = []

    def plain(path, flags):
        opened.append(path)
        return os.open(path, flags)

    monkeypatch.setattr(row_files, "_direct", plain)
    return opened


@direct
@pytest.mark.parametrize("scratch", [PAGE, 3 * PAGE, 1 << 22])
def test_reads_past_the_cache_give_the_rows_asked_for(passing, monkeypatch, scratch):
    monkeypatch.setattr(row_files, "SCRATCH", scratch)
    for first, last in SLICES:
        np.testing.assert_array_equal(passing[first:last], X[first:last])


@direct
def test_reads_begin_and_end_at_pages(passing, buffered, monkeypatch):
    """As files opened for direct reads demand; these here stand in for them on any file system."""
    read = os.preadv

    def aligned(descriptor, buffers, place):
        (buffer,) = buffers
        assert place % PAGE == len(buffer) % PAGE == np.frombuffer(buffer).ctypes.data % PAGE == 0
        return read(descriptor, buffers, place)

    monkeypatch.setattr(os, "preadv", aligned)
    for first, last in SLICES:
        np.testing.assert_array_equal(passing[first:last], X[first:last])
    assert len(buffered) == len(SLICES)


@direct
def test_reads_that_give_less_than_was_asked_for_go_on(passing, buffered, monkeypatch):
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, to, place: read(fd, [to[0][:PAGE]], place))
    np.testing.assert_array_equal(passing[:], X)
    assert buffered


@direct
@pytest.mark.parametrize("where", ["open", "read"])
def test_file_systems_without_such_reads(passing, monkeypatch, where):
    def fails(*_):
        raise OSError(errno.EINVAL, "not on this file system")

    monkeypatch.setattr(*((row_files, "_direct") if where == "open" else (os, "preadv")), fails)
    np.testing.assert_array_equal(passing[3:4000], X[3:4000])


@direct
@pytest.mark.parametrize("change", ["shorter", "longer", "gone"])
def test_a_file_that_changes_is_named(passing, change):
    if change == "gone":
        passing.path.unlink()
    else:
        os.truncate(passing.path, passing.path.stat().st_size + (7 if change == "longer" else -7))
    with pytest.raises(InputError, match=r"x\.npy"):
        passing[:]
