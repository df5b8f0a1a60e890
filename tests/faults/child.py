"""A forked child on its way to being a command, and what disturbs it from within."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.pictures import draw_no_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["UNDISTURBED", "Disturbance", "Moment", "become"]

FILE_EVENTS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link"}
)
FAULT_OF_THE_CHILD = 99
"""Exit code where the child didn't get as far as the program."""


@dataclass(frozen=True)
class Moment:
    """Before the file event of a number, or so many seconds after the start.

    A *file event* of a command is an open, a rename, a removal, ... in its folder, and has the same
    number in each run.
    """

    event: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        return f"event {self.event}" if self.seconds is None else f"{self.seconds:.3f} s"


@dataclass(frozen=True)
class Disturbance:
    """What is done to a command.

    Attributes
    ----------
    at, act
        When, and what, given the number of its process.
    memory
        Bytes of address space that it may take beyond those that it begins with.
    file_size
        Bytes that a file may have.
    """

    at: Moment | None = None
    act: Callable[[int], object] | None = None
    memory: int | None = None
    file_size: int | None = None


UNDISTURBED = Disturbance()


def become(
    arguments: Sequence[str], folder: Path, streams: Sequence[int], disturbance: Disturbance
) -> None:
    """Be the command, from here to the end of the process; then say how many file events it had.

    Parameters
    ----------
    arguments
        Of the program.
    folder
        To work in.
    streams
        Descriptors for its output, its errors, and the number of events, after a blank when the
        program begins.
    disturbance
        What is done to it.
    """
    code = FAULT_OF_THE_CHILD
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        for stream, target in ((os.open(os.devnull, os.O_RDONLY), 0), *zip(streams, (1, 2))):  # noqa: B905
            os.dup2(stream, target)
        sys.stdin = os.fdopen(0)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        sys.argv = ["proxmtl", *arguments]
        count = _watch(folder, disturbance)
        draw_no_figures()
        _limit(disturbance)
        os.write(streams[2], b" ")  # the program begins
        code = _main()
        os.write(streams[2], str(count()).encode())
    finally:
        os._exit(code)


def _main() -> int:
    """Run the program; end as the interpreter ends."""
    from proxmtl.cli import main

    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 - whatever else comes out of the program
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if code is None:
        return 0
    return code if isinstance(code, int) else 1


def _watch(folder: Path, disturbance: Disturbance) -> Callable[[], int]:
    """Count the file events in the folder; before one of a number, act."""
    count, own, inside = 0, os.getpid(), False
    there, at, act = os.path.realpath(folder), disturbance.at, disturbance.act

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count, inside
        # processes that the command starts inherit this hook
        if event not in FILE_EVENTS or inside or os.getpid() != own:
            return
        path = arguments[0]
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or (path.startswith("/") and not path.startswith(there)):
            return
        count += 1
        if at is not None and at.event == count and act is not None:
            inside = True
            try:
                act(own)
            finally:
                inside = False

    sys.addaudithook(hook)
    return lambda: count


def _limit(disturbance: Disturbance) -> None:
    if disturbance.memory is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + disturbance.memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if disturbance.file_size is not None:
        size = disturbance.file_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
