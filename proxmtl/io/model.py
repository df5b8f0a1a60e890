"""Models on disk: ``model.safetensors`` for the arrays, ``model.json`` for everything else.

Nothing is pickled, so opening a model file from somewhere else runs no code. ``manifest.json``
seals both: a file that has changed since, or belongs to another model, raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from proxmtl.documents import DocumentError, parse_json
from proxmtl.io.atomic import atomic_path, write_json
from proxmtl.io.errors import InputError
from proxmtl.io.names import (
    ARRAYS_FILE,
    CONFIG_FILE,
    DESCRIPTION_FILE,
    TRAINING_FOLDER,
    name_of_earlier_version,
)
from proxmtl.io.seal import MANIFEST_FILE, Manifest, check_in_place, read_manifest, seal_folder
from proxmtl.limits import advice, limit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "FORMAT_VERSION",
    "ModelState",
    "read_model_description",
    "read_model_kind",
    "read_model_state",
    "write_model_state",
]

FORMAT_VERSION = 2

Array = NDArray[Any]


@dataclass(frozen=True)
class ModelState:
    """A fitted model in plain types.

    Parameters
    ----------
    kind
        Name of the estimator class.
    parameters
        Constructor arguments, JSON-able.
    arrays
        Fitted arrays by name.
    description
        All other fitted or measured values, JSON-able: names, groups, status, certificate.
    """

    kind: str
    parameters: Mapping[str, Any]
    arrays: Mapping[str, Array]
    description: Mapping[str, Any] = field(default_factory=dict)


def write_model_state(folder: str | Path, state: ModelState) -> None:
    """Write a model into `folder`, each file atomically: arrays, description and manifest.

    Raises
    ------
    InputError
        If `folder` does not exist.
    ValueError
        If an array of the model is not finite.
    """
    for name, array in state.arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"array {name!r} of the model is not finite; it is not saved.")
    folder = Path(folder)
    # not ascontiguousarray, which converts 0-d arrays to 1-d
    payload: bytes = save({key: np.asarray(v, order="C") for key, v in state.arrays.items()})
    with atomic_path(folder / ARRAYS_FILE) as temporary:
        temporary.write_bytes(payload)
    write_json(
        folder / DESCRIPTION_FILE,
        {
            "format": "proxmtl model",
            "format_version": FORMAT_VERSION,
            "kind": state.kind,
            "parameters": state.parameters,
            "arrays": {name: _declared(array) for name, array in state.arrays.items()},
            "description": state.description,
        },
    )
    seal_folder(folder, [ARRAYS_FILE, DESCRIPTION_FILE])


def read_model_kind(folder: str | Path) -> str:
    """Return the kind (class name) of the model in `folder`, without reading its arrays.

    Raises
    ------
    InputError
        As `read_model_state`, as far as the description alone shows it.
    """
    kind: str = _read_description(_manifest(Path(folder)))["kind"]
    return kind


def read_model_description(folder: str | Path) -> dict[str, Any]:
    """Read the description of the model in `folder`, without its arrays.

    Raises
    ------
    InputError
        As `read_model_state`, as far as the description alone shows it.
    """
    description: dict[str, Any] = _read_description(_manifest(Path(folder)))["description"]
    return description


def read_model_state(folder: str | Path) -> ModelState:
    """Read and validate the model in `folder`.

    Raises
    ------
    InputError
        If a file is missing, has changed since it was written, is invalid or has another format.
    """
    manifest = _manifest(Path(folder))
    document = _read_description(manifest)
    path = manifest.folder / ARRAYS_FILE
    size, most = path.stat().st_size if path.is_file() else 0, limit("model_bytes")
    if size > most:
        raise InputError(path, f"{size:,} bytes; {advice('model_bytes', size)}.")
    payload = manifest.read(ARRAYS_FILE)
    try:
        arrays = load(payload)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(path, f"not a readable safetensors file ({error}).") from error
    _check_arrays(path, arrays, document["arrays"])
    return ModelState(document["kind"], document["parameters"], arrays, document["description"])


def _manifest(folder: Path) -> Manifest:
    if folder.is_file():
        raise InputError(folder, "this is a file, and a run is a folder; name the one of a fit.")
    if not folder.is_dir():
        raise InputError(folder, "no such folder; name the run folder that a fit wrote.")
    check_in_place(folder)
    description = folder / DESCRIPTION_FILE
    if not description.is_file():
        raise InputError(folder, _what_it_holds(folder))
    if not (folder / MANIFEST_FILE).is_file():
        raise InputError(
            folder / MANIFEST_FILE,
            "no such file: the model was written by an earlier version of proxmtl, or was not "
            "copied or written to its end; copy the whole folder again, or fit the model again.",
        )
    return read_manifest(folder)


def _what_it_holds(folder: Path) -> str:
    """Error text on what a folder without a model seems to contain, and what to do."""
    if (folder / MANIFEST_FILE).is_file():
        return (
            f"{DESCRIPTION_FILE} is not in this folder, whose manifest says that it was; copy the "
            "whole folder again, or fit the model again."
        )
    if (folder / TRAINING_FOLDER).is_dir() and (folder / CONFIG_FILE).is_file():
        return (
            "the training in this folder has not come to its end; the same proxmtl train command "
            "goes on with it."
        )
    earlier = name_of_earlier_version(path.name for path in folder.iterdir())
    if earlier is not None:
        return (
            f"an earlier version of proxmtl wrote what is in this folder ({earlier}), and this "
            "version does not read it; fit or train again."
        )
    found = (path.parent for path in folder.glob(f"*/{DESCRIPTION_FILE}"))
    runs = sorted(run for run in found if run.name[0] != ".")  # that is being written
    if runs:
        return f"no model is in this folder itself; name one of the runs in it, such as {runs[0]}."
    return "no model is in this folder; name the one that was given to fit, tune or train as --out."


def _read_description(manifest: Manifest) -> dict[str, Any]:
    path = manifest.folder / DESCRIPTION_FILE
    try:
        document = parse_json(manifest.read(DESCRIPTION_FILE))
    except DocumentError as error:
        raise InputError(path, str(error)) from error
    if not isinstance(document, dict) or document.get("format") != "proxmtl model":
        raise InputError(path, "not the description of a proxmtl model.")
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            path,
            f"written in format {version}, and this proxmtl reads format {FORMAT_VERSION}; "
            "use the version of proxmtl that wrote it, or fit the model again.",
        )
    fields = {"kind": str, "parameters": dict, "arrays": dict, "description": dict}
    for name, kind in fields.items():
        if not isinstance(document.get(name), kind):
            raise InputError(path, f"the entry {name!r} is missing or is no {kind.__name__}.")
    return document


def _declared(array: Array) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


def _check_arrays(path: Path, arrays: Mapping[str, Array], declared: Mapping[str, Any]) -> None:
    if arrays.keys() != declared.keys():
        raise InputError(
            path,
            f"holds the arrays {shortened(sorted(arrays))}, and {DESCRIPTION_FILE} declares "
            f"{shortened(sorted(declared))}; copy both files again from where they were made.",
        )
    for name, array in sorted(arrays.items()):  # safetensors gives them in any order
        if declared[name] != _declared(array) or not np.isfinite(array).all():
            raise InputError(
                path,
                f"the array {name!r} has shape {list(array.shape)} or values that do not fit its "
                f"description ({shortened(declared[name])}).",
            )
