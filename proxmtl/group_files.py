"""Tables of groups in files: TOML, JSON, CSV."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"groups: {path.name} cannot be parsed: {error}.") from error


def _read_toml(path: Path, _: Sequence[str]) -> Any:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _read_json(path: Path, _: Sequence[str]) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_csv(path: Path, items: Sequence[str]) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    if rows and rows[0] and rows[0][-1].strip() in items:
        raise ValueError(
            f"groups: {path.name}, line 1: {rows[0]} looks like a membership; the first line is a "
            "header such as group,item."
        )
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != 2:
            raise ValueError(f"groups: {path.name}, line {number}: expected group,item; got {row}.")
        table.setdefault(row[0].strip(), []).append(row[1].strip())
    return table
