"""The log of a table: one sealed line of JSON for each cell, a system on a split."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from proxmtl.documents import DocumentError, parse_json
from proxmtl.io.lock import FileLock

__all__ = ["CellLog", "Key", "configured"]

SEAL = "seal"


class Key(NamedTuple):
    """What a cell is of."""

    system: str
    split: str
    labels: int | None
    """Labels of each attribute to learn from; None: all."""


def configured(configuration: Mapping[str, Any]) -> str:
    """Hash of everything that the figures of a cell depend on, but versions."""
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class CellLog:
    """Cells in a file of lines, each with a hash of its own.

    A line that was cut off when the disk was full or the process was killed is dropped, and its
    cell is computed again. Another process that writes the same table is an error.

    Parameters
    ----------
    path
        The file, ``.jsonl``; its folder is created.

    Raises
    ------
    InputError
        If another process writes it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = FileLock(
            path.with_name(f".{path.name}.lock"),
            "another process computes this table; wait for it, or give another --out.",
            shown=path,
        )
        self._cells: dict[Key, dict[str, Any]] = {}
        self.dropped = 0
        try:
            self._read()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def _read(self) -> None:
        content = self.path.read_bytes() if self.path.is_file() else b""
        for line in content.splitlines():
            cell = _opened(line)
            if cell is None:
                self.dropped += 1
            else:
                self._cells[_key(cell)] = cell
        if self.dropped or (content and not content.endswith(b"\n")):
            self._rewrite()

    def _rewrite(self) -> None:
        """Write the file again: lines that can be read, each with its end."""
        from proxmtl.io import write_text  # noqa: PLC0415 - rarely needed

        write_text(self.path, "".join(_sealed(cell) for cell in self._cells.values()))

    def find(self, key: Key, configuration: str) -> dict[str, Any] | None:
        """The cell, if it was computed with this configuration."""
        cell = self._cells.get(key)
        return cell if cell is not None and cell["configuration"] == configuration else None

    def append(self, key: Key, cell: Mapping[str, Any]) -> dict[str, Any]:
        """Add a cell, and see it onto the disk; an older one of the same key no longer counts."""
        whole = {**key._asdict(), **cell}
        line = _sealed(whole)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        found = json.loads(line)
        del found[SEAL]
        self._cells[key] = found
        return dict(found)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._cells.values())


def _key(cell: Mapping[str, Any]) -> Key:
    return Key(cell["system"], cell["split"], cell["labels"])


def _digest(cell: Mapping[str, Any]) -> str:
    text = json.dumps(cell, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _sealed(cell: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(cell, allow_nan=False))
    return json.dumps({**plain, SEAL: _digest(plain)}, separators=(",", ":")) + "\n"


def _opened(line: bytes) -> dict[str, Any] | None:
    """The cell of a line; None if it is damaged."""
    try:
        cell = parse_json(line)
    except DocumentError:
        return None
    if not isinstance(cell, dict) or cell.pop(SEAL, None) != _digest(cell):
        return None
    return cell
