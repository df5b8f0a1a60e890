"""Machine code on disk: used again only if compiled from the same files, and never in the way."""

import os
import subprocess
import sys

import numba
import pytest
from numba.core import caching

from proxmtl.kernels.numba import disk


def doubled(x):
    return 2 * x


def halved(x):
    return x / 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def hits(function, *arguments):
    kept = disk.keep(numba.njit(function))
    for argument in arguments:
        assert kept(argument) == function(argument)
    return sum(kept.stats.cache_hits.values())


def test_only_code_of_the_same_files_is_used_again(folder, monkeypatch):
    assert hits(doubled, 3, 4.0) == 0
    assert hits(doubled, 3, 4.0) == 2
    before = set(folder.rglob("*.nbc"))
    monkeypatch.setattr(disk, "sources", lambda: "an inlined file was edited")
    assert hits(doubled, 3) == 0
    assert hits(doubled, 3) == 1
    after = set(folder.rglob("*.nbc"))
    assert len(before) == 2
    assert len(after) == 1
    assert not before & after


def test_two_signatures_never_share_a_file(folder):
    assert hits(doubled, 3) == 0
    (index,) = folder.rglob("*.nbi")
    stale = index.read_bytes()
    first = set(folder.rglob("*.nbc"))
    index.unlink()  # what another process sees that looks before this one writes
    assert hits(doubled, 4.0) == 0
    assert not first & set(folder.rglob("*.nbc"))
    index.write_bytes(stale)
    assert hits(doubled, 3, 4.0) == 0


@pytest.mark.parametrize("content", [b"", b"torn", b"\x80\x04c__main__\ngone\n."])
def test_files_that_are_torn_are_written_anew(folder, content):
    hits(halved, 3.0)
    for path in folder.rglob("*.nb?"):
        path.write_bytes(content)
    assert hits(halved, 3.0) == 0
    assert hits(halved, 3.0) == 1


def test_without_a_place_to_write_every_process_compiles(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert hits(halved, 3.0) == 0
    assert hits(halved, 3.0) == 0


def test_a_folder_that_goes_away_is_not_missed(folder):
    kept = disk.keep(numba.njit(halved))
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir()
    folder.rmdir()
    folder.touch()
    assert kept(3.0) == 1.5


def test_every_file_of_the_folder_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "__file__", str(tmp_path / "disk.py"))
    (tmp_path / "disk.py").write_text("1")
    (tmp_path / "other.py").write_text("1")
    seen = {disk.sources.__wrapped__()}
    (tmp_path / "other.py").write_text("2")
    seen.add(disk.sources.__wrapped__())
    (tmp_path / "other.py").rename(tmp_path / "another.py")
    seen.add(disk.sources.__wrapped__())
    assert len(seen) == 3


CHILD = """
import numba
from proxmtl.kernels.numba import disk

def tripled(x):
    return 3 * x

kept = disk.keep(numba.njit(tripled))
assert kept(3.0) == 9.0
print(sum(kept.stats.cache_hits.values()))
"""


def test_code_for_one_processor_is_not_given_to_another(tmp_path):
    """A folder may be shared by machines, or move to another with the environment around it."""
    script = tmp_path / "tripled.py"
    script.write_text(CHILD)

    # of the processor as it is, whatever one this process was told of
    own = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU_")}

    def hits_on(processor):
        settings = {"NUMBA_CACHE_DIR": str(tmp_path / "kept"), **processor}
        run = subprocess.run(
            [sys.executable, script],
            env={**own, **settings},
            capture_output=True,
            text=True,
            check=True,
        )
        return int(run.stdout)

    generic = {"NUMBA_CPU_NAME": "generic"}
    assert [hits_on(processor) for processor in ({}, generic, {})] == [0, 0, 1]
    assert len(list((tmp_path / "kept").rglob("*.nbc"))) == 2
