"""Readers of group files (TOML, JSON, CSV), and the lookup of item names in them."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxmtl.documents import DocumentError, parse_json, parse_toml
from proxmtl.naming import NameIndex, fitting
from proxmtl.sources import read_source
from proxmtl.text_tables import TextTableError, read_text_table

__all__ = ["item_index", "places_by_name", "read_group_file", "read_places"]

_TABLE = "a table of group name -> list of item names"
_EXAMPLES = {
    ".toml": 'colors = ["black", "white"]',
    ".json": '{"colors": ["black", "white"]}',
    ".csv": "the lines group,attribute and colors,black",
}
_LONGEST = 200
"""Number of characters that an error message quotes from a file."""


def read_group_file(
    path: Path, items: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Read group name -> item names, and group name -> weight for groups with a weight.

    Parameters
    ----------
    path
        A TOML, JSON or CSV file.
    items
        Names of all items; a CSV file whose first line contains one of them lacks a header.

    Raises
    ------
    ValueError
        If the suffix is another, the file cannot be parsed or has other content, a name is blank,
        or there is no group in it. The message begins with the path, and with the line if one line
        is wrong.
    """
    suffix = path.suffix.lower()
    if suffix not in _EXAMPLES:
        raise ValueError(
            f"{path}: groups are read from .toml, .json or .csv files, and this name ends in "
            f"{path.suffix!r}; write the groups as one of these."
        )
    weights: dict[str, float] = {}
    if suffix == ".csv":
        table = _read_csv(path, items)
    else:
        table, weights = _checked(path, suffix, _parsed(path, suffix))
    if not table:
        raise ValueError(
            f"{path}: there is no group in it; write one, as in {_EXAMPLES[suffix]}, or leave the "
            "file of groups out."
        )
    return table, weights


def read_places(path: Path, items: Sequence[str]) -> tuple[dict[str, list[int]], dict[str, float]]:
    """Read group name -> indices into ``items``, and group name -> weight for groups with a weight.

    Raises
    ------
    ValueError
        As `read_group_file` and `places_by_name`; the message begins with the path.
    """
    table, weights = read_group_file(path, items)
    try:
        return dict(zip(table, places_by_name(table, items), strict=True)), weights
    except ValueError as error:
        raise ValueError(f"{path}: {fitting(str(error))}") from error


def places_by_name(groups: Mapping[str, Iterable[str]], items: Sequence[str]) -> list[list[int]]:
    """Indices into ``items`` of the members of each group.

    Raises
    ------
    TypeError
        If ``groups`` is no mapping, or ``items`` is one, as where they are swapped.
    ValueError
        If item names repeat, or a member is unknown or repeated in its group.
    """
    if not isinstance(groups, Mapping) or isinstance(items, Mapping | str):
        swapped = isinstance(items, Mapping) and not isinstance(groups, Mapping)
        raise TypeError(
            f"groups: got a {type(groups).__name__} of groups and a {type(items).__name__} of "
            "items; give a mapping of group name -> item names, and then a list of all item names"
            f"{', in this order' if swapped else ''}."
        )
    repeated = sorted(name for name, count in Counter(items).items() if count > 1)
    if repeated:
        raise ValueError(f"items: names repeat: {repeated}; make them distinct.")
    index = NameIndex(items)
    lists: list[list[int]] = []
    for group, group_members in groups.items():
        if isinstance(group_members, str):
            raise ValueError(
                f"groups: group {group!r} is the string {group_members!r}; give a list."
            )
        members = [(name, index.place(name)) for name in group_members]
        unknown = [name for name, place in members if place is None]
        if unknown:
            named = [name for others in groups.values() for name in others]
            strangers = all(index.place(n) is None and index.nearest(n) is None for n in named)
            raise ValueError(
                f"groups: group {group!r} names {_shorten(unknown)}, which "
                f"{'is' if len(unknown) == 1 else 'are'} not among the {len(items)} items "
                f"{_shorten(items)}; "
                + (
                    "nor is a member of any other group: are these the groups of other items?"
                    if strangers and len(named) > len(unknown)
                    else index.advice(unknown[0])
                )
            )
        counts = Counter(place for _, place in members)
        twice = next((name for name, place in members if counts[place] > 1), None)
        if twice is not None:
            raise ValueError(
                f"groups: group {group!r} holds an item twice: {twice!r}; leave it there once."
            )
        lists.append([place for _, place in members if place is not None])
    return lists


def _parsed(path: Path, suffix: str) -> Any:
    try:
        return (parse_toml if suffix == ".toml" else parse_json)(read_source(path))
    except DocumentError as error:
        raise ValueError(f"{path}: groups cannot be parsed: {error}") from error


def _checked(
    path: Path, suffix: str, content: Any
) -> tuple[dict[str, list[str]], dict[str, float]]:
    nested = isinstance(content, Mapping) and isinstance(content.get("groups"), Mapping)
    if nested:
        _check_tables(path, content)
    table = content["groups"] if nested else content
    weights = content.get("weights", {}) if nested else {}
    example = f"write it as in {_EXAMPLES[suffix]}."
    if not isinstance(table, Mapping):
        raise ValueError(f"{path}: groups must be {_TABLE}, and this is {_shown(table)}; {example}")
    for name, members in table.items():
        if isinstance(members, Mapping):
            inside = "[groups]" if suffix == ".toml" else '"groups": {...}'
            raise ValueError(
                f"{path}: {name!r} is a table where groups are lists of item names; write all "
                f"groups under {inside}, beside which alone a table 'weights' may stand."
            )
        if not isinstance(members, list) or not all(isinstance(item, str) for item in members):
            raise ValueError(
                f"{path}: groups must be {_TABLE}, and {name!r} is {_shown(members)}; {example}"
            )
        blank = not name.strip() or any(not item.strip() for item in members)
        if blank:
            raise ValueError(
                f"{path}: groups must be {_TABLE}, and a name in {name!r} = {_shown(members)} is "
                "blank; fill it in, or take it out."
            )
    if not isinstance(weights, Mapping) or not all(map(_is_number, weights.values())):
        raise ValueError(
            f"{path}: weights must be a table of group name -> number, and this is "
            f"{_shown(weights)}; write numbers without quotes, such as colors = 1.5."
        )
    stray = sorted(set(weights) - set(table))
    if stray:
        raise ValueError(
            f"{path}: there are weights of {_shown(stray)}, and no such groups, but "
            f"{_shown(list(table))}; check the spelling, or take these weights out."
        )
    return dict(table), {name: float(weight) for name, weight in weights.items()}


def _check_tables(path: Path, content: Mapping[str, Any]) -> None:
    """Raise if the document has a key other than ``groups`` and ``weights``."""
    known = ["groups", "weights"]
    unknown = [name for name in content if name not in known]
    if unknown:
        meant = NameIndex(known).nearest(unknown[0])
        raise ValueError(
            f"{path}: {_shown(unknown[0])} stands beside the table 'groups', where only 'weights' "
            f"may; {'take it out' if meant is None else f'is it {meant!r}'}"
            f"{', or write a group inside the table.' if meant is None else '?'}"
        )


def _read_csv(path: Path, items: Sequence[str]) -> dict[str, list[str]]:
    try:
        header, rows, _ = read_text_table(path)
    except TextTableError as error:
        raise ValueError(f"{_place(path, error.line)}: groups: {error}") from error
    if header.cells and any(cell in items for cell in header.cells[1:]):
        raise ValueError(
            f"{_place(path, header.line)}: groups begin with a header such as group,attribute, and "
            f"{_shown(header.cells)} looks like a membership; add a header above it."
        )
    table: dict[str, list[str]] = {}
    for row in rows:
        if row.is_blank:
            continue
        group, item, *more = [*row.cells, ""]
        if len(row.cells) < 2 or any(more):  # spreadsheets append blank cells
            raise ValueError(
                f"{_place(path, row.line)}: groups have one membership a line, group,attribute, "
                f"and this line has {_shown(row.cells)}; write a line for each attribute."
            )
        if not group or not item:
            lacking, other = ("group", item) if not group else ("attribute", group)
            merged = "" if group else " Spreadsheets write merged cells in the first line only."
            raise ValueError(
                f"{_place(path, row.line)}: there is no {lacking} beside {other!r}; groups need "
                f"both names in every line.{merged}"
            )
        table.setdefault(group, []).append(item)
    # the columns may be swapped, or there may be a column for each group
    if table and all(name in items and name not in table[name] for name in table):
        raise ValueError(
            f"{_place(path, rows[0].line)}: the first column has attributes ({_shown(list(table))})"
            " where groups are named; groups have one membership a line, group,attribute. Write it "
            "so, or, if these are names of groups, rename them."
        )
    return table


def _place(path: Path, line: int | None) -> str:
    return f"{path}" if line is None else f"{path}, line {line}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shorten(names: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    return f"[{shown}{', ...' if len(names) > limit else ''}]"


def item_index(item: Any) -> int:
    """Convert an item index to an int.

    Raises
    ------
    ValueError
        If it is not an integer.
    """
    try:
        return operator.index(item)
    except TypeError as error:
        raise ValueError(
            f"groups: {item!r} is no item index; give whole numbers, or names to Groups.from_names."
        ) from error
