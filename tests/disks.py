"""Small disks and limits of files, for tests of what happens where there is no room."""

import contextlib
import os
import shutil
import subprocess
import sys

import pytest


@contextlib.contextmanager
def file_limit(size):
    """No file may grow beyond a size in the block (``ulimit -f``)."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def on_small_disk(folder, code, *, size="1m", arguments=(), options="rw"):
    """Run Python code in a folder that is a disk of its own, which no other process sees."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs the rights to mount a disk")
    mount = f'mount -t tmpfs -o size={size},{options} tmpfs "$0" && cd "$0" && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, folder, sys.executable, "-c", code, *arguments]
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not make a namespace of mounts")
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
