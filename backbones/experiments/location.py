"""Where data sets lie, and the errors that say so when they don't."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "PROXMTL_DATA"


def data_root() -> Path:
    """Folder of the data sets: ``$PROXMTL_DATA``, else ``../shared/data`` from where one works."""
    return Path(os.environ.get(VARIABLE) or Path("..") / "shared" / "data")


def require(path: Path, what: str) -> Path:
    """Return ``path`` if it exists, else raise a sentence.

    Parameters
    ----------
    path
        A file or folder.
    what
        What it should be, for the message.

    Raises
    ------
    FileNotFoundError
        If it isn't there.
    """
    if not path.exists():
        msg = (
            f"{path} isn't there: expected {what}. Give the folder of the data set, or set "
            f"{VARIABLE} to the folder that holds the data sets."
        )
        raise FileNotFoundError(msg)
    return path


def read_text(path: Path, what: str) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Parameters
    ----------
    path, what
        As for :func:`require`.

    Raises
    ------
    FileNotFoundError
        If it isn't there.
    ValueError
        If it isn't such text.
    """
    try:
        return require(path, what).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{path} isn't a text file; get it again."
        raise ValueError(msg) from error
