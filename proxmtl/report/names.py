"""Names of attributes, groups and classes as a terminal or a figure can show them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.measure import Measurement
from rich.text import Text

from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["NameColumn", "distinct_names", "out_of", "printable", "some"]

NAMED = 6
"""Attributes that a sentence names."""
NARROWEST = 12
"""Width that a column of names keeps, however narrow the table is."""


def printable(name: str, encoding: str = "utf-8") -> str:
    """Replace what is not seen, or what an encoding lacks, by escapes as in Python's strings."""
    seen = "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in name
    )
    return seen.encode(encoding, "backslashreplace").decode(encoding)


def some(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(printable(str(name)) for name in names[:NAMED])
    rest = len(names) - NAMED
    return shown if rest <= 0 else f"{shown} and {rest} more"


def out_of(count: int, total: int) -> str:
    """How many of the attributes, in words."""
    return f"{count} of {counted(total, 'attribute')}"


def distinct_names(names: Sequence[str], width: int, encoding: str = "utf-8") -> list[str]:
    """Shorten names to a width such that those that differ still do.

    A long name loses its middle. Where two then look alike they get numbers in the place of it.

    Parameters
    ----------
    names
        Any text.
    width
        Largest width of a name, in cells of a terminal: a Chinese sign takes two.
    encoding
        Of the terminal.

    Returns
    -------
    list of str
        One for each name, in the same order; alike only for names that are the same.
    """
    gap = "\u2026" if printable("\u2026", encoding) == "\u2026" else ".."
    whole = {name: printable(name, encoding) for name in names}
    shown = {name: _without_middle(text, width, gap) for name, text in whole.items()}
    count = Counter(shown.values())
    taken = {text for text, times in count.items() if times == 1}
    numbers: Counter[str] = Counter()
    for name, alike in list(shown.items()):
        if count[alike] == 1:
            continue
        while shown[name] in taken or shown[name] == alike:
            numbers[alike] += 1
            shown[name] = _without_middle(
                whole[name], width, f"{gap}{numbers[alike]}{gap}", cut=True
            )
        taken.add(shown[name])
    return [shown[name] for name in names]


def _without_middle(text: str, width: int, gap: str, *, cut: bool = False) -> str:
    """Cut the middle out of a text, if it is too wide or this is asked for."""
    if cell_len(text) <= width - (cell_len(gap) if cut else 0):
        return text + gap if cut else text
    room = max(width - cell_len(gap), 0)
    tail = _head(text[::-1], room // 2)[::-1]
    return _head(text, room - cell_len(tail)) + gap + tail


def _head(text: str, width: int) -> str:
    for end, sign in enumerate(text):
        width -= cell_len(sign)
        if width < 0:
            return text[:end]
    return text


class NameColumn:
    """Names of a column of a table; its cells are shortened together, when the width is known."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = [str(name) for name in names]
        self._shown: dict[tuple[int, str], list[str]] = {}

    def cells(self) -> list[_NameCell]:
        """Return a cell for each name, for ``rich.table.Table.add_row``."""
        return [_NameCell(self, row) for row in range(len(self.names))]

    def shown(self, width: int, encoding: str) -> list[str]:
        """Return the names in a width."""
        key = (width, encoding)
        if key not in self._shown:
            self._shown[key] = distinct_names(self.names, width, encoding)
        return self._shown[key]


class _NameCell:
    """One name of a column."""

    def __init__(self, column: NameColumn, row: int) -> None:
        self.column, self.row = column, row

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = self.column.shown(options.max_width, options.encoding)
        yield Text(names[self.row], no_wrap=True, overflow="ellipsis", end="")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widest = cell_len(printable(self.column.names[self.row], options.encoding))
        return Measurement(min(widest, NARROWEST), widest)
