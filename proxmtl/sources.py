"""Input files: a run records the hash of what was read, not of what lies there at its end.

A file is hashed through the descriptor that it is then read by, and may not change in between. Who
wants to know what was read collects it::

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
    """A file, or a folder of files, as it was read."""

    path: str
    bytes: int
    sha256: str
    """Of the contents; of a folder see `proxmtl.backbones.data.ImageTable`."""


_collected: ContextVar[list[Source] | None] = ContextVar("sources", default=None)


@contextlib.contextmanager
def sources_read() -> Iterator[list[Source]]:
    """Collect the files that are read inside the block, each once, in the order of reading."""
    sources: list[Source] = []
    token = _collected.set(sources)
    try:
        yield sources
    finally:
        _collected.reset(token)


def note_source(source: Source) -> None:
    """Add to what is collected.

    Raises
    ------
    ValueError
        If the same file was read before, with other contents.
    """
    sources = _collected.get()
    if sources is None or source in sources:
        return
    if any(earlier.path == source.path for earlier in sources):
        raise _changed(source.path)
    sources.append(source)


def read_source(path: Path) -> bytes:
    """Contents of a small file, read once.

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
    """Open a file whose hash is taken first, for readers that go to and fro in it.

    Parameters
    ----------
    path
        The file.

    Yields
    ------
    stream, source
        At its beginning, and what it holds. A reader may also open `path` by itself.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        At the end of the block, if the file has changed since its beginning.
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
