"""Commands in processes of their own, forked from one that has imported everything.

A child has its own process group, streams, limits and signals, as a command started by a shell
has. Forking saves the seconds of the imports; a fresh interpreter pays them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pkgutil
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.child import UNDISTURBED, Disturbance, become

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Command", "Ended", "import_everything", "quiet_surroundings", "start", "warm_up"]

HANGS_AFTER = 300.0
"""Seconds after which a command counts as hanging: the slowest takes a few."""
ORPHANS_END_WITHIN = 10.0
"""Seconds that processes of a command have to notice that it has ended."""
WITHOUT = ("proxmtl.kernels.triton", "proxmtl.__main__", "proxmtl.backbones.training.events")


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes
    ----------
    code
        Its exit code, or minus the signal that ended it; None: it had to be killed, as it hung.
    out, err
        What it wrote.
    seconds
        Its time.
    events
        Its file events; 0 where a signal ended it.
    orphans
        Processes of its group that were left when it had ended.
    """

    code: int | None
    out: str
    err: str
    seconds: float
    events: int
    orphans: int


def import_everything() -> None:
    """Import what commands import, before they are forked."""
    import torch

    torch.set_num_threads(1)
    package = importlib.import_module("proxmtl")
    for module in pkgutil.walk_packages(package.__path__, "proxmtl."):
        if not module.name.startswith(WITHOUT):
            with contextlib.suppress(ImportError):  # of an extra that isn't there
                importlib.import_module(module.name)
    for name in ("matplotlib.pyplot", "pyarrow.parquet", "PIL.PngImagePlugin"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def warm_up(folder: Path, lines: Sequence[str]) -> None:
    """Run commands in this process, so that kernels are loaded before it is copied.

    Parameters
    ----------
    folder
        To work in.
    lines
        Their arguments.
    """
    from proxmtl.cli.app import app

    with (
        contextlib.chdir(folder),
        Path(os.devnull).open("w") as null,
        contextlib.redirect_stdout(null),
        contextlib.redirect_stderr(null),
    ):
        for line in lines:
            with contextlib.suppress(SystemExit):
                app(line.split())
    gc.collect()
    gc.freeze()  # children write to no page of what is there


@dataclass
class Command:
    """A command at work.

    Parameters
    ----------
    process
        Its number, which is that of its group too.
    streams
        Descriptors of its output, its errors, and the number of its events.
    disturbance
        What is done to it, and is still to be done where its moment is a time.
    fresh
        Whether it is a new interpreter.
    """

    process: int
    streams: tuple[int, ...]
    disturbance: Disturbance
    fresh: bool = False
    begin: float = field(default_factory=time.monotonic)

    def wait(self) -> Ended:
        """Wait for the end; at its moment, disturb it."""
        texts = {stream: bytearray() for stream in self.streams}
        at, act = self.disturbance.at, self.disturbance.act
        waits = at is not None and at.seconds is not None and act is not None
        # a copy of this process says when the program begins, which takes signals from there on
        begun = self.begin if self.fresh else None
        hung, status = False, None
        with selectors.DefaultSelector() as selector:
            for stream in self.streams:
                selector.register(stream, selectors.EVENT_READ)
            while status is None:
                for key, _ in selector.select(0.002):
                    part = os.read(key.fd, 1 << 16)
                    texts[key.fd] += part
                    if not part:
                        selector.unregister(key.fd)
                now = time.monotonic()
                if begun is None and texts[self.streams[2]]:
                    begun = now
                if waits and begun is not None and now >= begun + at.seconds:
                    waits = False
                    act(self.process)
                if now > self.begin + HANGS_AFTER:
                    hung = True
                    self._kill_group()
                found, code = os.waitpid(self.process, os.WNOHANG)
                status = code if found else None
        seconds = time.monotonic() - self.begin
        orphans = self._orphans()
        out, err, events = (self._rest(stream, texts[stream]) for stream in self.streams)
        ended = None if hung else os.waitstatus_to_exitcode(status)
        return Ended(ended, out, err, seconds, int(events.strip() or 0), orphans)

    def _rest(self, stream: int, text: bytearray) -> str:
        """Read what is left in a stream, and close it."""
        os.set_blocking(stream, False)
        with contextlib.suppress(BlockingIOError):  # something still has its other end
            while part := os.read(stream, 1 << 16):
                text += part
        os.close(stream)
        return text.decode(errors="replace")

    def _orphans(self) -> int:
        """Count the processes of the group that don't end; end them."""
        deadline = time.monotonic() + ORPHANS_END_WITHIN
        while (members := _group(self.process)) and time.monotonic() < deadline:
            time.sleep(0.01)
        if members:
            self._kill_group()
        return len(members)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process, signal.SIGKILL)


def _group(number: int) -> list[int]:
    """Processes of a group that are at work."""
    try:
        os.killpg(number, 0)
    except (ProcessLookupError, PermissionError):
        return []
    members = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, _, group = status.read_text().rpartition(")")[2].split()[:3]
            if int(group) == number and state != "Z":
                members.append(int(status.parent.name))
    return members


def start(
    arguments: Sequence[str],
    folder: Path,
    disturbance: Disturbance = UNDISTURBED,
    *,
    fresh: bool = False,
) -> Command:
    """Start ``proxmtl ARGUMENTS`` in a folder.

    Parameters
    ----------
    arguments, folder
        Of the program, and where it works.
    disturbance
        What is done to it: of a fresh interpreter, at a time only.
    fresh
        A new interpreter instead of a copy of this process.
    """
    reading, writing = zip(*(os.pipe() for _ in range(3)), strict=True)
    if fresh:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxmtl", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=writing[0],
            stderr=writing[1],
            process_group=0,
        ).pid
    else:
        process = os.fork()
        if process == 0:
            become(arguments, folder, writing, disturbance)
    for stream in writing:
        os.close(stream)
    with contextlib.suppress(OSError):  # the child does it too: whoever comes first
        os.setpgid(process, process)
    return Command(process, reading, disturbance, fresh)


@contextlib.contextmanager
def quiet_surroundings(folder: Path) -> Iterator[None]:
    """Make what commands see of the machine the same everywhere: width, colours, threads."""
    folder.mkdir(parents=True, exist_ok=True)
    changes = {
        "COLUMNS": "400",
        "TERM": "dumb",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "TMPDIR": str(folder),
    }
    before = dict(os.environ)
    os.environ.update(changes)
    for name in ("FORCE_COLOR", "PROXMTL_DEBUG"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
