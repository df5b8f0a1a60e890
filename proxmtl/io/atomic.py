"""Files and folders that appear whole or not at all.

A file is written beside its destination, flushed to the disk and moved over it with ``os.replace``,
which is atomic within one file system: a reader sees the old file or the new one, and a crash
leaves the old one.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxmtl.io.errors import InputError

__all__ = [
    "atomic_path",
    "check_target",
    "files_below",
    "new_run_folder",
    "write_json",
    "write_text",
]

MARKER = "model.json"
"""The file that makes a folder a run folder; it is moved into place last."""


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    # Windows has no descriptor for a folder; there the rename alone has to do.
    if os.name == "posix":
        _flush_to_disk(folder)


def check_target(path: Path) -> None:
    """Refuse a file that can't be written, before the work of which it is to hold the result.

    Raises
    ------
    InputError
        If the folder of `path` does not exist, or `path` is a folder.
    """
    if not path.parent.is_dir():
        raise InputError(path, f"its folder {path.parent} does not exist; create it first.")
    if path.is_dir():
        raise InputError(path, "this is a folder where a file is to be written; name a file.")


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; move it to `path` when the block succeeds.

    Parameters
    ----------
    path
        The destination. Its folder must exist.

    Yields
    ------
    Path
        Where to write. When the block raises, the file is removed and `path` is left as it was.

    Raises
    ------
    InputError
        If the folder of `path` does not exist, or `path` is a folder.
    """
    path = Path(path)
    check_target(path)
    descriptor, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        _flush_to_disk(temporary)
        # mkstemp makes files that only their owner can read; give what open() would have given.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8 with newlines as given."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON atomically; non-finite numbers become null.

    Raises
    ------
    TypeError
        If `value` holds something JSON cannot express.
    """
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _check_run_target(path: Path, *, force: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(path, "this is a file, and a run is a folder; give another name to --out.")
    if not any(path.iterdir()):
        return
    if not (path / MARKER).is_file():
        raise InputError(
            path,
            f"the folder is not empty and holds no {MARKER}, so it is not a run that may be "
            "replaced; give another name to --out.",
        )
    if not force:
        raise InputError(
            path,
            "the folder already holds a run; give --force to replace it or another name to --out.",
        )


@contextlib.contextmanager
def new_run_folder(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Give an empty folder to fill; sealed, it becomes `path` when the block succeeds.

    Parameters
    ----------
    path
        The run folder. Missing parents are created.
    force
        Replace the files of a run that is already there. Files of other names are left alone.

    Yields
    ------
    Path
        A staging folder beside `path`. When the block raises, it is removed and `path` is left
        as it was.

    Raises
    ------
    InputError
        If `path` is a file, a folder with other contents, or a run and `force` is false. It is
        raised on entry, before any work.
    """
    from proxmtl.io.seal import MANIFEST_FILE, seal_folder  # noqa: PLC0415 - it imports this file

    path = Path(path)
    _check_run_target(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    staging.chmod(0o777 & ~_umask())
    try:
        yield staging
        seal_folder(staging, files_below(staging))
        _check_run_target(path, force=force)
        if path.is_dir() and any(path.iterdir()):
            _move_files(staging, path, last=(MARKER, MANIFEST_FILE))
        else:
            staging.replace(path)
        _flush_folder(path.parent)
    finally:
        if staging.exists():
            shutil.rmtree(staging)


def files_below(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it, with slashes."""
    return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]


def _move_files(staging: Path, path: Path, last: Sequence[str]) -> None:
    """Move every file of `staging` over `path`, those of some names at the end, in their order."""
    for file in sorted(files_below(staging), key=lambda file: [file == name for name in last]):
        target = path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        (staging / file).replace(target)
    _flush_folder(path)
