"""What the machine refuses, in a sentence: files, disks, memory; imports nothing of the package."""

from __future__ import annotations

import errno
import re
from pathlib import Path

__all__ = ["describe_os_error", "errno_of", "is_lack_of_memory", "memory_asked_for"]

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
    """Return the system's number of an error, which safetensors gives in its message only."""
    if isinstance(error, OSError):
        return error.errno
    found = _CODE.search(str(error))
    return int(found[1]) if found and type(error).__name__ == "SafetensorError" else None


def describe_os_error(error: OSError) -> str:
    """Name the file of an error of the system, what happened, and what to do about it."""
    name = error.filename2 or error.filename
    if isinstance(name, bytes):
        name = name.decode(errors="surrogateescape")
    place = "" if name is None or isinstance(name, int) else f"{Path(name)}: "
    known = _SENTENCES.get(error.errno or 0)
    return place + (known or f"{error.strerror}.")


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory (or another thread) could not be had."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | ImportError | OSError) and bool(
        _NO_MEMORY.search(str(error))
    )


def memory_asked_for(error: BaseException) -> str | None:
    """Return how much memory was asked for, where an error says so."""
    found = _ASKED.search(str(error))
    if found is None:
        return None
    return found[2] or f"{int(found[1]) / 1e9:.3g} GB"
