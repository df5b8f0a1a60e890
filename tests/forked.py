"""Processes of Python that begin with torch and the package imported: forks of one that has them.

A process that imports them itself takes seconds of the processor, and tests start many. What is
under test in the start itself, such as the time that it takes, needs a process of its own, and so
do figures, which are pictures of one pixel here.
"""

import fcntl
import multiprocessing
import os
import runpy
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import torch
from pictures import draw_no_figures

__all__ = ["Forked"]

CAPACITY = 1 << 20
"""Bytes of errors that are kept for a reader that comes at the end."""
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["warm"])


class Forked:
    """A script, or a module of the package, that runs; as `subprocess.Popen`, with its errors.

    Parameters
    ----------
    script
        Path of a script, or the name of a module that is run with ``-m``.
    arguments
        Of the command line.
    env
        Environment of the process. What is read when torch is imported, it has of the tests, the
        number of threads apart.
    """

    def __init__(self, script, arguments, env):
        # A pipe, not a file: its size is no matter of limits on files.
        reader, errors = _SERVER.Pipe(duplex=False)
        self.stderr = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()
        os.set_blocking(self.stderr.fileno(), False)  # a process of its own may outlive it
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self.stderr, fcntl.F_SETPIPE_SZ, CAPACITY)
        # modules of tests are found by the path alone
        with mock.patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parent)):
            forkserver.ensure_running()
        given = (str(script), [str(each) for each in arguments], dict(env), errors)
        self._process = _SERVER.Process(target=_run, args=given)
        self._process.start()
        errors.close()
        self.pid = self._process.pid

    @property
    def returncode(self):
        """Exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self):
        """Exit code, or None while it runs."""
        return self.returncode

    def wait(self, timeout=None):
        """Wait for the end; raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """None, and what was written to the standard error, after the end."""
        self.wait(timeout)
        return None, self.stderr.read()

    def terminate(self):
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self):
        """Send SIGKILL."""
        self._process.kill()


def _run(script, arguments, env, errors):
    os.environ.clear()
    os.environ.update(env)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor, number in ((nowhere, 0), (nowhere, 1), (errors.fileno(), 2)):
        os.dup2(descriptor, number)
    os.close(nowhere)
    errors.close()
    torch.set_num_threads(int(env.get("OMP_NUM_THREADS", "1")))
    draw_no_figures()
    sys.argv = [script, *arguments]
    if script.endswith(".py"):
        sys.path.insert(0, str(Path(script).parent))
        runpy.run_path(script, run_name="__main__")
    else:
        runpy.run_module(script, run_name="__main__", alter_sys=True)
