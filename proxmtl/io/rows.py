"""Matching of the rows of two inputs, by identifiers or by position.

Identifiers are compared as text without surrounding blanks, in Unicode's composed form (NFC), since
macOS writes file names decomposed. If all identifiers of both inputs are integers, they are
compared as numbers: ``7``, ``007`` and ``7.0`` are equal. Nothing else is guessed: names with and
without a folder or a suffix differ; the error or the note says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from proxmtl.io.errors import InputError
from proxmtl.naming import name_key, no_such
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Joined",
    "Match",
    "Rows",
    "check_ids",
    "check_match",
    "how_to_match",
    "join_rows",
]

Match: TypeAlias = Literal["auto", "id", "position"]

_SUFFIX = re.compile(r"\.\w{1,5}$")
_WHOLE = re.compile(r"([+-]?)0*(\d+)(?:\.0*)?")
BY_POSITION = "say so with --match position (in Python match='position')"


@dataclass(frozen=True)
class Rows:
    """The rows of one input."""

    source: Path
    """The file, for messages."""
    what: str
    """Kind of the rows, ``"features"``, ``"labels"``, ..., for messages."""
    count: int
    """Number of rows."""
    ids: Sequence[str] | None = None
    """Identifiers of the rows; None if they have none."""
    counted: bool = False
    """Whether the identifiers are just row numbers that a program wrote into a column without a
    name. They are equivalent to the position, unless the other input has the same numbers."""
    empty_end: int = 0
    """Number of rows without any text at the end of the file."""


class Joined(NamedTuple):
    """Matched rows of two inputs."""

    first: NDArray[np.intp]
    """Indices of the matched rows of the first input, ascending."""
    second: NDArray[np.intp]
    """Indices of the matching rows of the second input."""
    by_id: bool
    """Whether the rows were matched by identifiers."""
    note: str | None
    """Sentence on how many rows were used and left out; None if all were used."""


def check_match(match: str) -> Match:
    """Return `match` if it is a valid way of matching.

    Raises
    ------
    ValueError
        If it is not.
    """
    for known in get_args(Match):
        if match == known:
            return match  # type: ignore[return-value] # it is one of the three
    raise ValueError(f"match: {no_such(match, get_args(Match))}")


def join_rows(first: Rows, second: Rows, match: Match = "auto") -> Joined:
    """Match the rows of two inputs.

    Parameters
    ----------
    first, second
        The inputs; the result is in the order of the first.
    match
        ``"id"``: by identifiers, which both must have. ``"position"``: row i of one belongs to row
        i of the other, whatever their identifiers. ``"auto"``: by identifiers if both have some, by
        position if neither has.

    Returns
    -------
    Joined
        By identifiers: the rows that both inputs have. By position: all rows.

    Raises
    ------
    InputError
        By identifiers: if one is blank or repeated, only one input has identifiers, or they have
        none in common. By position: if the numbers of rows differ.
    """
    if match == "position":
        return _by_position(first, second)
    if match == "auto":
        if all(side.ids is None or side.counted for side in (first, second)):
            return _by_position(first, second)
        _check_counters(first, second)
    for side, other in ((first, second), (second, first)):
        if side.ids is None:
            raise InputError(side.source, _lacks(side, other))
    if match == "auto":
        _check_counts(first, second)
    return _by_id(first, second)


def check_ids(source: Path, what: str, ids: Sequence[str]) -> None:
    """Raise `InputError` if an identifier is blank or repeated."""
    _check_unique(Rows(source, what, len(ids), ids), [name_key(name) for name in ids])


def _check_counters(first: Rows, second: Rows) -> None:
    """Raise where numbers of rows on one side are not all of the identifiers on the other.

    Both may count differently, one from 0 and the other from 1, and would match one row off.
    """
    for side, other in ((first, second), (second, first)):
        if side.counted and other.ids is not None and _number_set(side) != _number_set(other):
            raise InputError(
                side.source,
                f"its first column, which has no name, counts the rows, and those of "
                f"{other.source} have identifiers ({other.ids[0]!r}, ...). If it holds these, call "
                f"it 'id'; or, if row i of one file is row i of the other, {BY_POSITION}.",
            )


def _check_counts(first: Rows, second: Rows) -> None:
    """Raise where both sides number their rows, one from 0 and the other from 1."""
    starts = []
    for side in (first, second):
        numbers = _number_set(side)
        starts.append(
            [a for a in (0, 1) if numbers == set(map(str, range(a, a + side.count)))],
        )
    if sorted(starts) == [[0], [1]]:
        raise InputError(
            second.source,
            f"one of it and {first.source} counts its rows from 0 and the other from 1, so rows of "
            "one number need not belong together; count both alike, or, if they do, say so with "
            "--match id (in Python match='id'), or, if row i of one file is row i of the other, "
            f"{BY_POSITION}.",
        )


def _number_set(side: Rows) -> set[str]:
    return {_number(key) or key for key in _keys(side)}


def _lacks(side: Rows, other: Rows) -> str:
    if other.ids is None:
        return f"there are no identifiers of its rows, nor in {other.source}; leave out --match id."
    table = "a first column 'image'" if side.source.suffix.lower() == ".csv" else _place(side)
    return (
        f"there are no identifiers of its rows, and those of {other.source} have some "
        f"({other.ids[0]!r}, ...), so it is not known which rows belong together. Add them as "
        f"{table}; or, if row i of one file is row i of the other, {BY_POSITION}."
    )


def _place(side: Rows) -> str:
    if side.source.suffix.lower() == ".parquet":
        return "the index or a column 'id'"
    return f"a column 'id' of a file {side.source.with_suffix('.ids.csv').name} beside it"


def _by_position(first: Rows, second: Rows) -> Joined:
    if first.count != second.count:
        raise InputError(
            second.source,
            f"{counted(second.count, 'row')} of {second.what} for {counted(first.count, 'row')} of "
            f"{first.what} in {first.source}; there must be one for each, in the same order, or "
            f"identifiers in both files.{_blank_rows(first, second)}",
        )
    every = np.arange(first.count)
    return Joined(every, every, by_id=False, note=None)


def _blank_rows(first: Rows, second: Rows) -> str:
    """Say so where lines without text at the end, which count, are the surplus."""
    end = second.empty_end
    if not first.count < second.count <= first.count + end:
        return ""
    which = "The last line is" if end == 1 else f"The last {end} lines are"
    return f" {which} empty, and an empty line counts as a row here: remove those of no sample."


def _by_id(first: Rows, second: Rows) -> Joined:
    keys = [_keys(first), _keys(second)]
    for side, own in zip((first, second), keys, strict=True):
        _check_unique(side, own)
    numbers = [[number for key in own if (number := _number(key)) is not None] for own in keys]
    if all(len(set(known)) == len(own) for known, own in zip(numbers, keys, strict=True)):
        keys = numbers
    place = {key: row for row, key in enumerate(keys[1])}
    pairs = [(row, place[key]) for row, key in enumerate(keys[0]) if key in place]
    used = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    left = [_others(side, rows) for side, rows in zip((first, second), used.T, strict=True)]
    hint = how_to_match(*left)
    if not pairs:
        raise InputError(
            second.source,
            f"none of its {second.count} identifiers ({left[1][0]!r}, ...) is one of the "
            f"{first.count} in {first.source} ({left[0][0]!r}, ...). "
            f"{hint or 'Are these files of the same samples?'}",
        )
    return Joined(used[:, 0], used[:, 1], by_id=True, note=_note(first, second, left, hint))


def _keys(side: Rows) -> list[str]:
    return [name_key(name) for name in side.ids or ()]


def _others(side: Rows, used: NDArray[np.intp]) -> list[str]:
    """Identifiers of the rows that are not used."""
    ids = side.ids or ()
    return [ids[row] for row in np.setdiff1d(np.arange(side.count), used)]


def _check_unique(side: Rows, keys: list[str]) -> None:
    if "" in keys:
        raise InputError(
            side.source,
            f"{keys.count('')} of {counted(len(keys), 'row')} of {side.what} "
            f"{agree(keys.count(''), 'has', 'have')} no identifier, the first is "
            f"row {keys.index('') + 1}; fill them in, or leave these rows out.",
        )
    if len(set(keys)) == len(keys):
        return
    again = len(keys) - len(set(keys))
    seen: dict[str, int] = {}
    for row, key in enumerate(keys):
        if key in seen:
            raise InputError(
                side.source,
                f"the identifier {key!r} is of row {seen[key] + 1} and of row {row + 1} of "
                f"{len(keys)}, and {counted(again, 'row')} {agree(again, 'has', 'have')} one that "
                "was used before; identifiers must be unique. Leave rows out, or, if the order of "
                f"the rows is right, {BY_POSITION}.",
            )
        seen[key] = row


def _number(key: str) -> str | None:
    found = _WHOLE.fullmatch(key)
    if found is None:
        return None
    sign, digits = found.groups()
    return f"-{digits}" if sign == "-" and digits != "0" else digits


def _note(first: Rows, second: Rows, left: list[list[str]], hint: str) -> str | None:
    if not any(left):
        return None
    parts = [
        f"{len(lost)} of {side.count} in {side.source} (the first is {lost[0]!r})"
        for side, lost in zip((first, second), left, strict=True)
        if lost
    ]
    used = first.count - len(left[0])
    return (
        f"{counted(used, 'row')} {agree(used, 'is', 'are')} used, matched by "
        f"{agree(used, 'its identifier', 'their identifiers')}; left out are {' and '.join(parts)}."
        f"{' ' if hint else ''}{hint}"
    )


def _folderless(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


_RELAXED: dict[str, Callable[[str], str]] = {
    "without ./ before them": lambda name: name.removeprefix("./"),
    "with / for \\": lambda name: name.replace("\\", "/").removeprefix("./"),
    "in lower case": str.lower,
    "as numbers": lambda name: _number(name) or name,
    "without suffixes": lambda name: _SUFFIX.sub("", name),
    "without folders": _folderless,
    "without folders and suffixes": lambda name: _SUFFIX.sub("", _folderless(name)),
    "without folders and suffixes, as numbers or in lower case": lambda name: (
        _number(_SUFFIX.sub("", _folderless(name))) or _SUFFIX.sub("", _folderless(name)).lower()
    ),
}


def how_to_match(first: Sequence[str], second: Sequence[str]) -> str:
    """Advice on a form in which unmatched identifiers would match; empty if none is known."""
    best: tuple[int, str, str, str] | None = None
    for how, form in _RELAXED.items():
        partner = {form(name): name for name in second}
        found = [(name, partner[form(name)]) for name in first if form(name) in partner]
        if found and (best is None or len(found) > best[0]):
            best = (len(found), how, *found[0])
    if best is None:
        return ""
    count, how, one, other = best
    pair = f"({one!r} and {other!r})"
    return f"{how[0].upper()}{how[1:]} {count} would match {pair}: write them alike."
