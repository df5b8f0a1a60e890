"""An input that cannot be used, the exception of this room, and what others are to say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from proxmtl.naming import fitting

__all__ = ["InputError", "first_line", "name_file", "naming"]


class InputError(ValueError):
    """An input that cannot be used; the message names the file, what was seen and what to do.

    Parameters
    ----------
    source
        The file (or folder) at fault; it opens the message.
    sentence
        What was seen and what to do about it. Of a very long one, which quotes what it saw, the
        middle is left out.
    line
        Line of the file, counted from 1 as editors do, where that is known.
    """

    def __init__(self, source: str | Path, sentence: str, *, line: int | None = None) -> None:
        self.source = Path(source)
        self.line = line
        place = f"{source}" if line is None else f"{source}, line {line}"
        super().__init__(f"{place}: {fitting(sentence)}")


def first_line(error: BaseException) -> str:
    """First line of what an error says; its name if it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def name_file(error: OSError, path: str | Path) -> None:
    """Name a file in an error of the system.

    Parameters
    ----------
    error
        An error with a number gets the name. One without a number, which libraries raise, would
        show the name in place of its message.
    path
        The file.

    Raises
    ------
    OSError
        In place of an error without a number: the name and its message.
    """
    if error.errno is None:
        raise OSError(f"{path}: {first_line(error).removesuffix('.')}.") from error
    error.filename, error.filename2 = str(path), None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in the errors of its descriptor, which know none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            name_file(error, path)
        raise
