"""Reading ``.npz`` archives with errors that name the file."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


def read_npz(path: Path) -> dict[str, Any]:
    """All arrays of an archive; pickled objects are refused.

    Raises
    ------
    FileNotFoundError
        If there's no such file.
    ValueError
        If it isn't an ``.npz`` archive or is cut short.
    """
    if not path.is_file():
        msg = f"{path} isn't there; check the path of the .npz file."
        raise FileNotFoundError(msg)
    try:
        # opened here: np.load leaves the file open if the archive turns out to be damaged
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return dict(archive.items())
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        msg = f"{path} isn't a readable .npz archive ({error}); copy the file again."
        raise ValueError(msg) from error
