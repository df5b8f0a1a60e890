"""Provenance of input files: a run records the hash of the contents that it has read.

A file is hashed through the same descriptor through which it is then read, and an error is raised
if it changes in between. A caller collects the files that were read::

    with sources_read() as sources:
        data = load_features("features.npy")
    print(sources[0].sha256)
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["Source", "note_source", "open_source", "read_source", "sources_read"]


class Source(NamedTuple):
    """A file, or a folder of files, that was read."""

    path: str
    bytes: int
    sha256: str
    """SHA-256 of the contents; for a folder see `proxmtl.backbones.data.ImageTable`."""


_collected: ContextVar[list[Source] | None] = ContextVar("sources", default=None)


@contextlib.contextmanager
def sources_read() -> Iterator[list[Source]]:
    """Collect the files that are read inside the block, without repeats, in order of reading."""
    sources: list[Source] = []
    token = _collected.set(sources)
    try:
        yield sources
    finally:
        _collected.reset(token)


def note_source(source: Source) -> None:
    """Add a source to the files collected by :func:`sources_read`, if it is active.

    Raises
    ------
    ValueError
        If the same file was read before with other contents.
    """
    sources = _collected.get()
    if sources is None or source in sources:
        return
    if any(earlier.path == source.path for earlier in sources):
        raise _changed(source.path)
    sources.append(source)


def read_source(path: Path) -> bytes:
    """Read a small file, and note its hash.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    content = path.read_bytes()
    note_source(Source(str(path), len(content), hashlib.sha256(content).hexdigest()))
    return content


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[tuple[BinaryIO, Source]]:
    """Hash a file, then open it for readers that seek.

    Parameters
    ----------
    path
        The file.

    Yields
    ------
    stream, source
        The stream, at its beginning, and its source. A reader may also open `path` itself.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        At the end of the block, if the file has changed during the block.
    """
    with path.open("rb") as stream:
        before = _mark(os.fstat(stream.fileno()))
        digest = hashlib.file_digest(stream, "sha256")
        source = Source(str(path), stream.tell(), digest.hexdigest())
        stream.seek(0)
        yield stream, source
        if before != _mark(os.fstat(stream.fileno())) or before != _mark(path.stat()):
            raise _changed(path)
    note_source(source)


def _mark(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _changed(path: str | Path) -> ValueError:
    return ValueError(
        f"{path}: has changed while it was read; run the command again when nothing writes it."
    )
