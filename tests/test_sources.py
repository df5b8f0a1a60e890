"""Hashes of input files are of what was read, whatever happens to the files meanwhile."""

import hashlib
import os

import pytest

from proxmtl.sources import open_source, read_source, sources_read


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_files_are_noted_as_they_were_read(tmp_path):
    small, large = tmp_path / "a.csv", tmp_path / "b.npy"
    small.write_bytes(b"small")
    large.write_bytes(b"large")
    with sources_read() as sources:
        assert read_source(small) == b"small"
        assert read_source(small) == b"small"
        with open_source(large) as (stream, source):
            assert stream.read() == b"large"
        large.write_bytes(b"other")  # later
    assert sources == [(str(small), 5, sha256(b"small")), (str(large), 5, sha256(b"large"))]
    assert sources[1] == source
    read_source(small)  # where nobody asks
    assert len(sources) == 2


def in_place(path):
    with path.open("r+b") as stream:
        stream.write(b"X")
    os.utime(path, ns=(1, 1))


def by_name(path):
    other = path.with_suffix(".new")
    other.write_bytes(b"other")
    other.replace(path)


@pytest.mark.parametrize("change", [in_place, by_name])
def test_a_file_that_changes_while_it_is_read_raises(tmp_path, change):
    path = tmp_path / "x.npy"
    path.write_bytes(b"large")
    with sources_read() as sources:  # noqa: SIM117
        with pytest.raises(ValueError, match=r"x\.npy: has changed while it was read"):
            with open_source(path):
                change(path)
    assert not sources


def test_two_readings_of_one_file_must_agree(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"one")
    with sources_read():
        read_source(path)
        path.write_bytes(b"two")
        with pytest.raises(ValueError, match=r"a\.csv: has changed"):
            read_source(path)
