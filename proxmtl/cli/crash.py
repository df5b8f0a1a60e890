"""The log of an internal error: what the program's makers need, in a file."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from importlib import metadata
from pathlib import Path

__all__ = ["log_folders", "write_log"]

_LIBRARIES = ("proxmtl", "torch", "numpy", "scipy", "scikit-learn", "numba", "pandas", "matplotlib")


def write_log(error: BaseException) -> Path | None:
    r"""Write the traceback of an error to a file; None where no folder takes one.

    The file lies in ``$XDG_STATE_HOME/proxmtl`` (``~/.local/state/proxmtl``, on Windows
    ``%LOCALAPPDATA%\proxmtl``), or where that can't be written in the folder of temporary files.
    """
    text = _content(error)
    for folder in log_folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            prefix = time.strftime("error-%Y%m%dT%H%M%S-")
            descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=".log", dir=folder)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
        except (OSError, RuntimeError):  # the latter: there is no home
            continue
        return Path(name)
    return None


def log_folders() -> list[Path]:
    """Folders that may take a log, in the order in which they are tried."""
    folders = []
    state = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        folders.append((Path(state) if state else Path.home() / ".local" / "state") / "proxmtl")
        folders.append(Path(tempfile.gettempdir()))
    except (OSError, RuntimeError):
        pass
    return folders


def _content(error: BaseException) -> str:
    versions = []
    for name in _LIBRARIES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} absent")
    trace = "".join(traceback.format_exception(error))
    return (
        f"command: {' '.join(sys.argv)}\n"
        f"folder: {_here()}\n"
        f"system: {platform.platform()}, Python {platform.python_version()}\n"
        f"libraries: {', '.join(versions)}\n\n{trace}"
    )


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "gone"
