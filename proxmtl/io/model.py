"""Models on disk: ``model.safetensors`` for the arrays, ``model.json`` for everything else.

Nothing is pickled, so opening a model file from somewhere else runs no code. The JSON holds the
SHA-256 of the safetensors file: a pair that does not belong together is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from proxmtl.io.atomic import atomic_path, write_json
from proxmtl.io.errors import InputError

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

FORMAT_VERSION = 1
ARRAYS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"

Array = NDArray[Any]


@dataclass(frozen=True)
class ModelState:
    """What there is to know about a fitted model, in plain types.

    Parameters
    ----------
    kind
        Name of the estimator class.
    parameters
        Constructor arguments, JSON-able.
    arrays
        Fitted arrays by name.
    description
        Everything else that was fitted or measured, JSON-able: names, groups, status, certificate.
    """

    kind: str
    parameters: Mapping[str, Any]
    arrays: Mapping[str, Array]
    description: Mapping[str, Any] = field(default_factory=dict)


def write_model_state(folder: str | Path, state: ModelState) -> None:
    """Write a model into `folder` atomically: arrays first, then the description that seals them.

    Raises
    ------
    InputError
        If `folder` does not exist.
    ValueError
        If an array of the model is not finite: such a model is not worth keeping.
    """
    for name, array in state.arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"array {name!r} of the model is not finite; it is not saved.")
    folder = Path(folder)
    # not ascontiguousarray, which makes a scalar an array of one
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
            "arrays": {
                name: {"shape": list(array.shape), "dtype": str(array.dtype)}
                for name, array in state.arrays.items()
            },
            "arrays_sha256": hashlib.sha256(payload).hexdigest(),
            "description": state.description,
        },
    )


def read_model_kind(folder: str | Path) -> str:
    """Say of which kind the model in `folder` is, without reading its arrays.

    Raises
    ------
    InputError
        As `read_model_state`, as far as the description alone shows it.
    """
    kind: str = _read_document(_existing(Path(folder)) / DESCRIPTION_FILE)["kind"]
    return kind


def read_model_description(folder: str | Path) -> dict[str, Any]:
    """Read what was measured of the model in `folder`, and said of it, without its arrays.

    Raises
    ------
    InputError
        As `read_model_state`, as far as the description alone shows it.
    """
    document = _read_document(_existing(Path(folder)) / DESCRIPTION_FILE)
    description: dict[str, Any] = document["description"]
    return description


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(folder, "no such folder; name the run folder that a fit wrote.")
    return folder


def read_model_state(folder: str | Path) -> ModelState:
    """Read and validate the model in `folder`.

    Raises
    ------
    InputError
        If a file is missing, is not what it should be, is of a later format, or the two files do
        not belong together.
    """
    folder = _existing(Path(folder))
    document = _read_document(folder / DESCRIPTION_FILE)
    arrays_path = folder / ARRAYS_FILE
    try:
        payload = arrays_path.read_bytes()
    except OSError as error:
        raise InputError(
            arrays_path, f"cannot be read ({error.strerror}); fit the model again."
        ) from error
    if hashlib.sha256(payload).hexdigest() != document["arrays_sha256"]:
        raise InputError(
            arrays_path,
            f"its contents are not those that {DESCRIPTION_FILE} was written for (SHA-256 "
            "differs); copy both files again from where they were made.",
        )
    try:
        arrays = load(payload)
    except SafetensorError as error:
        raise InputError(arrays_path, f"not a readable safetensors file ({error}).") from error
    _check_arrays(arrays_path, arrays, document["arrays"])
    return ModelState(document["kind"], document["parameters"], arrays, document["description"])


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            path, f"cannot be read ({error.strerror}); a run folder holds this file."
        ) from error
    except ValueError as error:
        raise InputError(path, f"not readable as JSON ({error}).") from error
    if not isinstance(document, dict) or document.get("format") != "proxmtl model":
        raise InputError(path, "not the description of a proxmtl model.")
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            path,
            f"written in format {version}, and this proxmtl reads format {FORMAT_VERSION}; "
            "use the version of proxmtl that wrote it, or fit the model again.",
        )
    fields = {"kind": str, "parameters": dict, "arrays": dict, "arrays_sha256": str}
    for name, kind in {**fields, "description": dict}.items():
        if not isinstance(document.get(name), kind):
            raise InputError(path, f"the entry {name!r} is missing or is no {kind.__name__}.")
    return document


def _check_arrays(path: Path, arrays: Mapping[str, Array], declared: Mapping[str, Any]) -> None:
    if arrays.keys() != declared.keys():
        raise InputError(
            path,
            f"holds the arrays {sorted(arrays)}, and {DESCRIPTION_FILE} declares "
            f"{sorted(declared)}; copy both files again from where they were made.",
        )
    for name, array in arrays.items():
        if list(array.shape) != declared[name].get("shape") or not np.isfinite(array).all():
            raise InputError(
                path,
                f"the array {name!r} has shape {list(array.shape)} or values that do not fit its "
                f"description ({declared[name]}).",
            )
