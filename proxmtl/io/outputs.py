"""Outputs are settled before work starts: what may be written, where, and that there is room."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from proxmtl.io.atomic import files_below, flush_folder, regular_file, umask
from proxmtl.io.errors import InputError
from proxmtl.io.lock import FileLock
from proxmtl.io.names import is_run_file
from proxmtl.io.seal import MANIFEST_FILE, read_document, read_manifest, seal_folder
from proxmtl.io.temporaries import (
    PREFIX,
    is_ours,
    remove_leftovers,
    temporary_file,
    temporary_folder,
)

__all__ = [
    "MARKER",
    "name_of_target",
    "new_run_folder",
    "reserve",
    "room",
    "settle_file",
    "settle_folder",
]

MARKER = "model.json"
"""The file that makes a folder a run folder; it is moved into place last."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNABLE = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


def settle_file(
    path: Path | None, *, force: bool = False, inputs: Iterable[Path | None] = ()
) -> None:
    """Check, before the work of which it is to hold the result, that a file can be written.

    What dead processes left beside it is removed.

    Parameters
    ----------
    path
        The file; None: there is none to write.
    force
        Whether a file that is there may be replaced.
    inputs
        What the result is made from, files and folders.

    Raises
    ------
    InputError
        If it is there and may not be replaced, is an input or no regular file, or its folder does
        not exist.
    OSError
        If its folder takes no file.
    """
    if path is None:
        return
    target = regular_file(path)
    for source in inputs:
        if source is not None and _is_part_of(target, source):
            raise InputError(
                path, f"this is read by the same command (as {source}); name another file."
            )
    if target.exists() and not force:
        raise InputError(path, "the file exists; give --force to replace it or another --out.")
    remove_leftovers(target.parent)
    try:
        with temporary_file(target.parent):
            pass
    except OSError as error:
        error.filename = str(path)
        raise


def _is_part_of(target: Path, source: Path) -> bool:
    """Whether a file is an input, or one of the files of an input folder."""
    if not target.exists() or not source.exists():
        return False
    if source.is_dir():
        # predictions in a run folder may be made again; its own files, and images, are inputs
        own = target.suffix.lower() not in {".csv", ".npy"} or (
            is_run_file(target.name) or target.name == "scalars.csv"
        )
        return own and target.is_relative_to(Path(os.path.realpath(source)))
    return target.samefile(source)


def settle_folder(path: Path | None, option: str, out: Path) -> None:
    """Check a folder of intermediate results, which must outlive the run that it serves.

    Parameters
    ----------
    path
        The folder; None: there is none.
    option
        By which it was given.
    out
        The run folder.

    Raises
    ------
    InputError
        If it is a file, or lies in the run folder.
    """
    if path is None:
        return
    if path.exists() and not path.is_dir():
        raise InputError(path, f"this is a file; give a folder as {option}.")
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out)):
        raise InputError(
            path, f"lies in the run folder {out}; give a folder beside it as {option}."
        )


def reserve(descriptor: int, size: int, path: Path) -> None:
    """Give an open file its size, and take the room for it on the disk.

    A disk that fills up later is then no matter, and a mapped file never meets a page that the disk
    has no room for, which would end the process by a signal.

    Raises
    ------
    InputError
        If there is no room.
    """
    try:
        free = _allocate(descriptor, size)
    except OSError as error:
        if error.errno != errno.EFBIG:
            error.filename = str(path)
            raise
        raise InputError(
            path,
            f"it takes {size / 1e9:.3g} GB, which is more than a file may have here; raise the "
            "limit (ulimit -f), or choose another disk.",
        ) from error
    if free is not None:
        raise InputError(
            path,
            f"it takes {size / 1e9:.3g} GB, and its disk has {free / 1e9:.3g} GB left; make room, "
            "or choose another disk.",
        )


def _allocate(descriptor: int, size: int) -> int | None:
    """Give a file its room; return how much there is where that is too little."""
    free = None
    if hasattr(os, "fstatvfs"):
        status = os.fstatvfs(descriptor)
        free = status.f_bavail * status.f_frsize
        if free < size - os.fstat(descriptor).st_blocks * 512:
            return free
    if hasattr(os, "posix_fallocate") and size:
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno in _FULL:
                return free or 0
            if error.errno not in _UNABLE:
                raise
    os.truncate(descriptor, size)
    return None


@contextlib.contextmanager
def room(folder: Path, size: int, path: Path) -> Iterator[None]:
    """Hold room on the disk of a folder in the block, for what is written there after it.

    `path` is what errors name.

    Raises
    ------
    InputError
        If there is no room.
    """
    with temporary_file(folder) as placeholder:
        descriptor = os.open(placeholder, os.O_RDWR)
        try:
            reserve(descriptor, size, path)
        finally:
            os.close(descriptor)
        yield


@contextlib.contextmanager
def new_run_folder(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Give an empty folder to fill; sealed, it becomes `path` when the block succeeds.

    Parameters
    ----------
    path
        The run folder. Missing parents are created. A folder that is there, also by a link, stays
        the same folder and gets the files; so it may be a mounted disk or the current folder.
    force
        Replace the files of a run that is already there. Files that are not of it are left alone.

    Yields
    ------
    Path
        A staging folder on the same disk. When the block raises, it is removed and `path` is left
        as it was.

    Raises
    ------
    InputError
        If `path` is a file, a folder with other contents, or a run and `force` is false, or another
        process is writing it. It is raised on entry, before any work.
    OSError
        If the folder takes no files. Where the finished folder can't be moved into place at the
        end, a note on the error says where it is kept.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    _check_run_target(path, target, force=force)
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        base = target if target.is_dir() else target.parent
        remove_leftovers(base)
        with _claimed(path, target, base), temporary_folder(base) as staging:
            staging.chmod(0o777 & ~umask())
            yield staging
            try:
                seal_folder(staging, files_below(staging))
                _check_run_target(path, target, force=force)
                with _undisturbed():
                    _put_into_place(staging, target)
            except (OSError, InputError) as error:
                error.add_note(_set_aside(staging, target))
                raise
    except OSError as error:
        name_of_target(error, path)
        raise
    finally:
        with contextlib.suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def name_of_target(error: OSError, path: Path) -> None:
    """Put the name of an output, or of a file in it, for that of a temporary one into an error."""
    if not isinstance(error.filename, str | bytes):
        return
    parts = Path(os.fsdecode(error.filename)).parts
    for place, part in enumerate(parts):
        if part.startswith(PREFIX):
            error.filename, error.filename2 = str(path.joinpath(*parts[place + 1 :])), None
            return


def _check_run_target(path: Path, target: Path, *, force: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(path, "this is a file, and a run is a folder; give another name to --out.")
    if all(is_ours(entry) for entry in target.iterdir()):
        return
    if not _is_run(target):
        raise InputError(
            path,
            f"the folder is not empty and holds no {MARKER} of proxmtl, so it is not a run that "
            "may be replaced; give another name to --out.",
        )
    if not force:
        raise InputError(
            path,
            "the folder already holds a run; give --force to replace it or another name to --out.",
        )


def _is_run(folder: Path) -> bool:
    """Whether a folder holds a model of ours: other programs, too, write files of that name.

    Either file shows it, so that a run of which one is damaged may be replaced.
    """
    if not (folder / MARKER).is_file():
        return False
    with contextlib.suppress(InputError):
        if MARKER in read_manifest(folder).entries:
            return True
    with contextlib.suppress(InputError):
        return read_document(folder / MARKER, "").get("format") == "proxmtl model"
    return False


@contextlib.contextmanager
def _claimed(path: Path, target: Path, base: Path) -> Iterator[None]:
    """Keep other processes from making the same run: only one of them could put it into place."""
    digest = hashlib.sha256(os.fsencode(target)).hexdigest()[:16]
    lock = FileLock(
        base / f"{PREFIX}{digest}.lock",
        "another process is writing this run; wait for it, or give another name to --out.",
        shown=path,
    )
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals wait: a run of which half is in place is none.

    Not by a mask, which holds for one thread: the system hands a signal to any other.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone runs handlers
        yield
        return
    came: list[int] = []
    asked = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
    before = {
        number: signal.getsignal(number)
        for number in asked
        if number is not None and signal.getsignal(number) not in (None, signal.SIG_IGN)
    }
    try:
        for number in before:
            signal.signal(number, lambda arrived, _frame: came.append(arrived))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for arrived in dict.fromkeys(came):
            signal.raise_signal(arrived)


def _put_into_place(staging: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.replace(target)
    else:
        of_before = set()
        with contextlib.suppress(InputError):  # without a manifest nobody knows what is of the run
            # of other names, a file is the user's own, also where it was sealed with the run
            of_before = set(filter(is_run_file, read_manifest(target).entries))
        last = (MARKER, MANIFEST_FILE)
        files = sorted(files_below(staging), key=lambda file: [file == name for name in last])
        for file in files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            (staging / file).replace(target / file)
        for file in of_before.difference(files):
            (target / file).unlink(missing_ok=True)
        flush_folder(target)
    flush_folder(target.parent)


def _set_aside(staging: Path, target: Path) -> str:
    """Give a finished folder a name that stays, and say it."""
    for number in range(1, 1000):
        spare = staging.parent / f"{target.name}.kept-{number}"
        if not spare.exists():
            with contextlib.suppress(OSError):
                staging.rename(spare)
                return f"The finished run is kept in {spare}."
            break
    return "The finished run could not be kept either."
