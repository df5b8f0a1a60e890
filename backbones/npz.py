"""Reading ``.npz`` archives of networks and data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmtl.io.array_files import read_npz as read_arrays
from proxmtl.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path


def read_npz(path: Path) -> dict[str, Any]:
    """All arrays of an archive; pickled objects raise.

    Raises
    ------
    FileNotFoundError
        If there's no such file.
    InputError
        If it isn't an ``.npz`` archive, is damaged, or unpacks to more than the limit.
    """
    if not path.is_file():
        msg = f"{path} isn't there; check the path of the .npz file."
        raise FileNotFoundError(msg)
    with open_source(path) as (stream, _):
        return read_arrays(path, stream, list)
