"""Where commands are disturbed: a small disk, set back to the start of a command each time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.faults.commands import COMMANDS, Case
from tests.faults.compare import Tree, snapshot
from tests.faults.process import Ended, start, warm_up
from tests.faults.world import make_inputs

SIZE = 64 << 20
"""Bytes of the disk."""
WARM_UP = (
    *(COMMANDS[name].line for name in ("fit", "tune-convex", "extract", "train")),
    "report out/run -o out/page.html",  # its scripts are made once a process
)
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000


@dataclass(frozen=True)
class Reference:
    """A command that was left alone.

    Attributes
    ----------
    ended
        Its end.
    before, after
        The files at its start and at its end.
    """

    ended: Ended
    before: Tree
    after: Tree


class Ground:
    """A folder for commands, on a disk of known size where this process may mount one.

    Parameters
    ----------
    folder
        An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.disk, self.states = self.folder / "disk", self.folder / "states"
        # one path for all of them: pixel caches go by the whole paths of images
        self.work = self.disk / "work"
        self.disk.mkdir()
        self.states.mkdir()
        self.mounted = _mount(self.disk, SIZE)
        self._references: dict[str, Reference] = {}
        self.work.mkdir()
        make_inputs(self.work)
        for name in ("out", "made"):
            (self.work / name).mkdir()
        self._keep("", self.work)
        warm_up(self.work, WARM_UP)

    def restore(self, name: str) -> None:
        """Make the folder that of the start of a command."""
        case = COMMANDS[name]
        key = "; ".join(case.before)
        if not (self.states / _file_name(key)).is_dir():
            self._copy("")
            for line in case.before:
                self._prepare(line, case)
            self._keep(key, self.work)
        self._copy(key)

    def reference(self, name: str) -> Reference:
        """Run a command undisturbed, or remember that."""
        if name not in self._references:
            self.restore(name)
            before = snapshot(self.work)
            ended = start(COMMANDS[name].arguments, self.work).wait()
            if ended.code != 0:
                raise RuntimeError(f"{name}, left alone, ended with {ended.code}: {ended.err}")
            self._references[name] = Reference(ended, before, snapshot(self.work))
        return self._references[name]

    def fill(self, room: int) -> None:
        """Leave so many bytes on the disk."""
        with (self.disk / "filler").open("wb") as stream, contextlib.suppress(OSError):
            status = os.statvfs(self.disk)
            os.posix_fallocate(stream.fileno(), 0, max(1, status.f_bavail * status.f_frsize - room))

    def clear(self) -> None:
        """Make room again."""
        (self.disk / "filler").unlink(missing_ok=True)

    def _prepare(self, line: str, case: Case) -> None:
        whole = {path: (self.work / path).read_bytes() for path in case.repairs}
        times = {path: (self.work / path).stat().st_mtime_ns for path in case.repairs}
        for path in case.repairs:
            (self.work / path).write_bytes(b"not an image")
        ended = start(line.split(), self.work).wait()
        if ended.code != (2 if case.repairs else 0):
            raise RuntimeError(f"proxmtl {line} ended with {ended.code}: {ended.err}")
        for path, content in whole.items():
            (self.work / path).write_bytes(content)
            os.utime(self.work / path, ns=(times[path], times[path]))

    def _keep(self, key: str, folder: Path) -> None:
        shutil.copytree(folder, self.states / _file_name(key), symlinks=True)

    def _copy(self, key: str) -> None:
        self.clear()
        for path in self.work.iterdir() if self.work.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(self.states / _file_name(key), self.work, symlinks=True, dirs_exist_ok=True)


def _file_name(key: str) -> str:
    return key.replace("/", "+").replace(" ", "_") or "inputs"


def own_mounts() -> bool:
    """Let this process mount disks that nobody else sees; false where it may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNS if uid == 0 else CLONE_NEWNS | CLONE_NEWUSER
    if libc.unshare(flags) != 0:
        return False
    if flags & CLONE_NEWUSER:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    private = 1 << 18 | 1 << 14  # MS_PRIVATE | MS_REC: what is mounted here stays here
    return libc.mount(b"none", b"/", None, private, None) == 0


def _mount(folder: Path, size: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={size}".encode()
    return libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options) == 0
