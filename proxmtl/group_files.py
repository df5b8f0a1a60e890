"""Tables of groups in files: TOML, JSON, CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxmtl.documents import DocumentError, parse_json, parse_toml
from proxmtl.sources import read_source
from proxmtl.text_tables import TextTableError, read_text_table

__all__ = ["read_table"]


def read_table(path: Path, items: Sequence[str]) -> Any:
    """What a file holds, as parsed; a CSV as group name -> item names.

    Raises
    ------
    ValueError
        If the file's ending is none of ``.toml``, ``.json``, ``.csv``, or it cannot be parsed.
    """
    readers = {".toml": _read_toml, ".json": _read_json, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise ValueError(
            f"groups: {path.name} ends in {path.suffix!r}; "
            "write the groups as .toml, .json or .csv."
        )
    try:
        return readers[path.suffix.lower()](path, items)
    except DocumentError as error:
        raise ValueError(f"groups: {path.name} cannot be parsed: {error}") from error


def _read_toml(path: Path, _: Sequence[str]) -> Any:
    return parse_toml(read_source(path))


def _read_json(path: Path, _: Sequence[str]) -> Any:
    return parse_json(read_source(path))


def _read_csv(path: Path, items: Sequence[str]) -> dict[str, list[str]]:
    try:
        header, rows, _ = read_text_table(path)
    except TextTableError as error:
        line = "" if error.line is None else f", line {error.line}"
        raise ValueError(f"groups: {path.name}{line}: {error}") from error
    if header.cells and header.cells[-1] in items:
        raise ValueError(
            f"groups: {path.name}, line {header.line}: {header.cells} looks like a membership; the "
            "first line is a header such as group,item."
        )
    table: dict[str, list[str]] = {}
    for row in rows:
        if row.is_blank:
            continue
        group, item, *more = [*row.cells, ""]
        if len(row.cells) < 2 or any(more):  # spreadsheets write blank cells behind
            raise ValueError(
                f"groups: {path.name}, line {row.line}: expected group,item; got {row.cells}."
            )
        table.setdefault(group, []).append(item)
    return table
