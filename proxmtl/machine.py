"""Errors of the operating system as sentences with advice, and checks of available memory.

Imports nothing of the package.
"""

from __future__ import annotations

import errno
import re
import sys
from pathlib import Path

__all__ = [
    "available_memory",
    "check_memory",
    "describe_os_error",
    "errno_of",
    "is_lack_of_memory",
    "memory_asked_for",
]

_ELSEWHERE = "choose another place"
_SENTENCES = {
    errno.ENOSPC: "no space is left on its disk; make room there, or choose another disk, and run "
    "the same command again.",
    errno.EDQUOT: "the quota of its disk is used up; make room there, or choose another disk, and "
    "run the same command again.",
    errno.EFBIG: "it would be larger than this process or its file system may make a file "
    f"(ulimit -f); raise that limit, or {_ELSEWHERE}, and run the same command again.",
    errno.EACCES: "permission is denied; check who may read and write it and its folder, or "
    f"{_ELSEWHERE}.",
    errno.EPERM: "the system does not permit this; check its owner and attributes, or "
    f"{_ELSEWHERE}.",
    errno.EROFS: f"its file system is read-only; {_ELSEWHERE}.",
    errno.ENOENT: "no such file or folder; check the path.",
    errno.ENOTDIR: "a part of this path is a file, not a folder; check the path.",
    errno.EISDIR: "this is a folder where a file is needed; name a file.",
    errno.ELOOP: "its links go round in a circle; name the file itself.",
    errno.ENAMETOOLONG: "the name is too long for its file system; give a shorter one.",
    errno.EMFILE: "this process has too many files open; raise the limit (ulimit -n).",
    errno.ENFILE: "the system has too many files open; end some programs.",
    errno.EIO: "the disk failed (input/output error); check the disk, and keep a copy of what is "
    "on it.",
    errno.EEXIST: "something else is there already; give another name.",
    errno.EBUSY: f"something else is using it; wait for that, or {_ELSEWHERE}.",
    errno.ENXIO: "there is no device behind it; name a regular file.",
    errno.EPIPE: "its reader has gone away.",
}
_NO_MEMORY = re.compile(
    r"(can't|cannot) allocate memory|out of memory|bad_alloc|bad allocation|failed to map segment"
    r"|can't start new thread|not enough memory",
    re.IGNORECASE,
)
_CODE = re.compile(r"\bos error (\d+)\b")
_ASKED = re.compile(r"allocate (\d+) bytes|allocate ([\d.]+ [KMGTPE]i?B)")


def errno_of(error: BaseException) -> int | None:
    """Return the ``errno`` of an error; safetensors states it in the message only.

    None if there is none.
    """
    if isinstance(error, OSError):
        return error.errno
    found = _CODE.search(str(error))
    return int(found[1]) if found else None


def describe_os_error(error: OSError) -> str:
    """Return a sentence with the file of an ``OSError``, what happened, and what to do about it."""
    name = error.filename2 or error.filename
    if isinstance(name, bytes):
        name = name.decode(errors="surrogateescape")
    place = "" if name is None or isinstance(name, int) else f"{Path(name)}: "
    known = _SENTENCES.get(error.errno or 0)
    return place + (known or f"{error.strerror}.")


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory (or a thread) could not be allocated."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | ImportError | OSError) and bool(
        _NO_MEMORY.search(str(error))
    )


def memory_asked_for(error: BaseException) -> str | None:
    """Return the amount of memory whose allocation failed, as text; None if the error lacks it."""
    found = _ASKED.search(str(error))
    if found is None:
        return None
    return found[2] or f"{int(found[1]) / 1e9:.3g} GB"


def available_memory() -> int | None:
    """Return the bytes that this process can still allocate; None if the system does not say.

    The minimum of the free memory, of what is left in the process's control group, and of what is
    left of its address space (``ulimit -v``).
    """
    found = [_free(), _left_by_group(), _left_by_limit()]
    return min((size for size in found if size is not None), default=None)


def check_memory(size: float, what: str, cure: str) -> None:
    """Raise if an allocation would exceed the available memory: many systems kill the process.

    Parameters
    ----------
    size
        Bytes to be allocated.
    what
        What needs them, the plural subject of the error message.
    cure
        How to need less, the end of the error message.

    Raises
    ------
    ValueError
        If `size` is more than is available.
    """
    available = available_memory()
    if available is not None and size > available:
        raise ValueError(
            f"{what} take {size / 1e9:.3g} GB of memory, and {available / 1e9:.3g} GB are free; "
            f"{cure}."
        )


def _free() -> int | None:
    lines = _lines("/proc/meminfo")
    sizes = {line[0]: int(line[1]) for line in map(str.split, lines) if len(line) == 3}
    free = sizes.get("MemAvailable:")
    return None if free is None else 1024 * (free + sizes.get("SwapFree:", 0))


def _left_by_group() -> int | None:
    group = Path("/sys/fs/cgroup")
    most, used = _lines(group / "memory.max"), _lines(group / "memory.current")
    if not (most and used and most[0].isdigit()):
        return None
    # the kernel reclaims inactive pages of cached files on demand
    statistics = dict(line.split() for line in _lines(group / "memory.stat"))
    return int(most[0]) - int(used[0]) + int(statistics.get("inactive_file", 0))


def _left_by_limit() -> int | None:
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - Unix only

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _lines("/proc/self/statm")
    if most == resource.RLIM_INFINITY or not pages:
        return None
    return most - int(pages[0].split()[0]) * resource.getpagesize()


def _lines(path: str | Path) -> list[str]:
    """Lines of a file of the system; empty if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
