"""A lock keeps others out until its holder ends, however it ends."""

import os
import subprocess
import sys

import pytest

from proxmtl.io import InputError
from proxmtl.io.lock import FileLock

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no such lock on Windows")

HOLDER = """
import sys, time
from pathlib import Path
from proxmtl.io.lock import FileLock
lock = FileLock(Path(sys.argv[1]), "")
print("held", flush=True)
time.sleep(100)
"""


def test_a_lock_is_held_once(tmp_path):
    path = tmp_path / "lock"
    lock = FileLock(path, "wait for it.")
    with pytest.raises(InputError, match="lock: wait for it"):
        FileLock(path, "wait for it.")
    with pytest.raises(InputError, match=r"^run: wait"):
        FileLock(path, "wait for it.", shown="run")
    lock.release()
    assert not path.exists()
    FileLock(path, "").release()


def test_a_lock_ends_with_its_process(tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError):
            FileLock(path, "")
        holder.kill()
    assert path.exists()
    FileLock(path, "").release()


def test_a_file_that_was_removed_is_no_lock(tmp_path, monkeypatch):
    """Another holder may let go, and remove the file, between its opening and its locking."""
    from proxmtl.io import lock as module

    path = tmp_path / "lock"
    whole, removed = module.try_lock, []

    def late(descriptor):
        if not removed:
            removed.append(path.unlink())
        return whole(descriptor)

    monkeypatch.setattr(module, "try_lock", late)
    lock = FileLock(path, "")
    with pytest.raises(InputError):
        FileLock(path, "")
    lock.release()
