"""InputError: an unusable input file, with path and line; helpers that name files in errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from proxmtl.naming import fitting

__all__ = ["InputError", "first_line", "name_file", "naming"]


class InputError(ValueError):
    """An unusable input file; the message names the file, what was seen and what to do.

    Parameters
    ----------
    source
        The file (or folder), with which the message begins.
    sentence
        What was seen and what to do about it; the middle of a very long sentence is cut out.
    line
        Line of the file, counted from 1, if it is known.
    """

    def __init__(self, source: str | Path, sentence: str, *, line: int | None = None) -> None:
        self.source = Path(source)
        self.line = line
        place = f"{source}" if line is None else f"{source}, line {line}"
        super().__init__(f"{place}: {fitting(sentence)}")


def first_line(error: BaseException) -> str:
    """First line of an error's message; the name of its class if the message is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def name_file(error: OSError, path: str | Path) -> None:
    """Add a file name to an ``OSError``.

    Parameters
    ----------
    error
        An error with an ``errno`` gets the name as its ``filename``. One without, as libraries
        raise, would show the name in place of its message.
    path
        The file.

    Raises
    ------
    OSError
        In place of an error without ``errno``: one whose message begins with the name.
    """
    if error.errno is None:
        raise OSError(f"{path}: {first_line(error).removesuffix('.')}.") from error
    error.filename, error.filename2 = str(path), None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add a file name to errors raised by operations on its descriptor, which lack it."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            name_file(error, path)
        raise
