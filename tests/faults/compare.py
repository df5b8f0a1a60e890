"""What of a folder must be the same after every fault: all of it, but for times."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import struct
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

if TYPE_CHECKING:
    from pathlib import Path

Tree: TypeAlias = "dict[str, str]"
"""Digest of the content of each file, and of each folder that is empty, by relative path."""

TIMES = frozenset({"seconds", "finished", "command"})
"""Entries of JSON files, and columns of tables, that differ from run to run.

The command that a configuration repeats may be the one with ``--force``.
"""


PIXELS = re.compile(r"(?<=pixels-)[0-9a-f]{16}(?=\.(npy|json)$)")
"""In the names of pixel caches: which files they were made from, to the last byte."""


def in_tree(name: str) -> str:
    """The name that a file has in a tree."""
    return PIXELS.sub("*", name)


def snapshot(folder: Path) -> Tree:
    """Digest all files of a folder; the same content, times apart, has the same digest.

    Pixel caches go by the pixels: an image that lost bytes behind its last pixel has the same.
    """
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = in_tree(path.relative_to(folder).as_posix())
        while name in found:
            name += "+"
        if path.is_file():
            found[name] = _digest(path)
        elif not path.exists() or (path.is_dir() and not any(path.iterdir())):
            found[name] = "nothing"
    return found


def differences(found: Tree, expected: Tree) -> str:
    """Say which files differ, are missing, or are too many; nothing where all are the same."""
    parts = {
        "differ": [name for name in found if expected.get(name, found[name]) != found[name]],
        "missing": [name for name in expected if name not in found],
        "left over": [name for name in found if name not in expected],
    }
    return "; ".join(f"{what}: {', '.join(names[:4])}" for what, names in parts.items() if names)


def _digest(path: Path) -> str:
    content = path.read_bytes()
    for suffixes, canonical in _FORMS.items():
        if path.suffix in suffixes:
            try:
                content = canonical(content)
            except Exception:  # noqa: BLE001 - a damaged file is what it is
                break
    return hashlib.sha256(content).hexdigest()[:20]


def _json(content: bytes) -> bytes:
    value = _without_times(json.loads(content))
    if isinstance(value, dict) and "files" in value:
        value = _without_seals(value)
    elif isinstance(value, dict) and {"file", "rows", "source"} <= set(value):  # a pixel cache's
        value = {key: value[key] for key in ("file", "rows", "bad")}
    elif isinstance(value, dict) and {"fingerprint", "images", "seal"} <= set(value):
        # features of images: of names, sizes and times of the files
        value = {key: part for key, part in value.items() if key not in {"images", "seal"}}
    return json.dumps(value).encode()


def _without_seals(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest's sizes and digests are of files with times in them: those are compared."""
    return {"format": manifest.get("format"), "files": sorted(manifest["files"])}


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in TIMES}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def _csv(content: bytes) -> bytes:
    rows = list(csv.reader(io.StringIO(content.decode())))
    kept = [i for i, name in enumerate(rows[0]) if name not in TIMES]
    return repr([[row[i] for i in kept] for row in rows]).encode()


def _checkpoint(content: bytes) -> bytes:
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(repr((value.shape, value.dtype)).encode())
            digest.update(value.contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key, item in value.items():
                if key not in TIMES:
                    digest.update(repr(key).encode())
                    add(item)
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        else:
            digest.update(repr(value).encode())

    add(torch.load(io.BytesIO(content), weights_only=True))
    return digest.digest()


def _safetensors(content: bytes) -> bytes:
    """The library writes the entries of a header in any order."""
    size = struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8 : 8 + size])
    return json.dumps(header, sort_keys=True).encode() + content[8 + size :]


_FORMS = {
    (".json",): _json,
    (".csv",): _csv,
    (".pt",): _checkpoint,
    (".safetensors",): _safetensors,
}
"""How a file is brought into a form without times, by its suffix."""
