"""Paths that a command reads: looked for before what is heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxmtl.cli.ranks import several

__all__ = ["check_inputs"]

_FEATURES = "the features or images"
_KIND = {
    "run": "run",
    "runs": "run",
    "features": _FEATURES,
    "samples": _FEATURES,
    "held_out": _FEATURES,
    "images": "the images",
    "labels": "the labels",
    "test": "the labels",
    "held_out_labels": "the labels",
    "groups": "the groups",
    "names": "the names",
    "matrix": "the matrix",
    "classes": "the classes",
}
"""What the parameters of commands that are read are, by their names."""


def check_inputs(given: Mapping[str, Any]) -> None:
    """Check that the paths that a command is to read are there.

    Parameters
    ----------
    given
        Values of its parameters, by their names.

    Raises
    ------
    InputError
        That names the first one that is not.
    """
    if several():  # of which the first one reads, and all are told
        return
    for name, kind in _KIND.items():
        value = given.get(name)
        for path in value if isinstance(value, list | tuple) else (value,):
            if isinstance(path, Path) and not _is_there(name, path):
                from proxmtl.io.errors import InputError  # noqa: PLC0415 - help needs it not

                raise InputError(path, _advice(kind, path))


def _is_there(name: str, path: Path) -> bool:
    # a fit finds the groups 'auto'; what can't be looked at is said by what opens it
    try:
        return path.exists() or (name == "groups" and str(path) == "auto")
    except OSError:
        return True


def _advice(kind: str, path: Path) -> str:
    if kind == "run":
        return "no such folder; name the run folder that a fit wrote."
    what = "file" if path.suffix or kind not in {_FEATURES, "the images"} else "folder"
    return f"no such {what}; check the path to {kind}."
