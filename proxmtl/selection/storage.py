"""Finished parts of a long computation in a folder, so that a later run goes on with the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from proxmtl.documents import parse_json
from proxmtl.io.atomic import atomic_path
from proxmtl.io.errors import InputError, first_line
from proxmtl.io.identity import fingerprint
from proxmtl.io.seal import read_sealed, write_sealed
from proxmtl.io.temporaries import is_ours, remove_leftovers

__all__ = ["SETTINGS", "Storage"]

SETTINGS = "settings.json"


class Storage:
    """A folder with one file a part: tensors, and a record as JSON in the file's own header.

    A file appears whole or not at all, so whatever is there is finished. It carries the SHA-256 of
    what it holds and of what it belongs to: a damaged part, and one of another folder, raise.
    ``settings.json``, sealed too, says what the parts belong to; figures of the data in it (norms)
    are compared to six digits, which another number of threads does not change.

    Parameters
    ----------
    folder : path
        Created if missing.
    settings : mapping
        JSON-able description of the computation.

    Raises
    ------
    InputError
        If the folder holds the parts of another computation, or something else.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        remove_leftovers(self.folder)
        known = self.folder / SETTINGS
        asked = json.loads(json.dumps(settings))
        if known.is_file():
            found = read_sealed(known, "remove the folder to compute all of it again.")
            differing = sorted(
                key for key in {*asked, *found} if not _same(asked.get(key), found.get(key))
            )
            if differing:
                raise InputError(
                    known,
                    f"this folder holds another computation, which differs in its "
                    f"{', '.join(differing)}; give another folder, or the data and settings it was "
                    "made with.",
                )
            self._origin = fingerprint(found)
            return
        if self.folder.is_dir() and not all(map(is_ours, self.folder.iterdir())):
            raise InputError(
                self.folder, f"not empty, and there is no {SETTINGS} in it; give an empty folder."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_sealed(known, asked)
        self._origin = fingerprint(asked)

    def save(self, name: str, record: Mapping[str, Any], **tensors: Tensor) -> None:
        """Write a part."""
        with atomic_path(self._file(name)) as temporary:
            arrays = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            text = json.dumps(record)
            digest = self._digest(name, text, arrays)
            save_file(arrays, temporary, metadata={"record": text, "sha256": digest})

    def load(self, name: str, like: Tensor | None = None) -> dict[str, Any] | None:
        """Read a part: its record, with the tensors under their names; None if there is none.

        Raises
        ------
        InputError
            If the file is damaged, or of another folder.
        """
        path = self._file(name)
        if not path.is_file():
            return None
        again = "remove it to compute it again."
        try:
            with safe_open(path, framework="pt") as stream:
                metadata = stream.metadata()
                tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
            text, digest = metadata["record"], metadata["sha256"]
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(path, f"damaged ({first_line(error)}); {again}") from error
        if digest != self._digest(name, text, tensors):
            raise InputError(path, f"damaged, or of another folder (SHA-256 differs); {again}")
        record: dict[str, Any] = parse_json(text, finite=False)
        device = torch.device("cpu") if like is None else like.device
        return {**record, **{key: tensor.to(device) for key, tensor in tensors.items()}}

    def _digest(self, name: str, record: str, tensors: Mapping[str, Tensor]) -> str:
        """SHA-256 of a part, with its name and the settings of the folder."""
        ordered = {key: tensors[key] for key in sorted(tensors)}
        return fingerprint([self._origin, name, record, ordered])

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


def _same(asked: Any, found: Any) -> bool:
    if isinstance(asked, float) and isinstance(found, float):
        return math.isclose(asked, found, rel_tol=1e-6)
    if isinstance(asked, list) and isinstance(found, list) and len(asked) == len(found):
        return all(_same(a, b) for a, b in zip(asked, found, strict=True))
    return bool(asked == found)
