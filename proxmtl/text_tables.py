"""Tables in text files (CSV) as spreadsheets, pandas and editors write them.

One reader for labels, classes, identifiers and groups. It decides by fixed rules, never by
likelihood, and raises where they leave two readings:

- *Encoding*: UTF-8, or what a byte order mark says (UTF-8, UTF-16, UTF-32).
- *Separator*: the one of comma, semicolon and tab that separates names in the first line; if
  several do, the one by which the next line has as many cells; ``sep=;`` as a line of its own, as
  spreadsheets write it, says which.
- *Quotes*: as in RFC 4180. What stands in quotes is kept as it is; other cells lose the blanks
  around them.
- *Lines* end with LF, CRLF or CR. Those without text are given as rows of one blank cell: what
  they mean depends on the table.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, NamedTuple

from proxmtl.encodings import EncodingError, decode_text
from proxmtl.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Row", "TextTable", "TextTableError", "read_text_table", "table_line"]

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_NO_TEXT = {
    b"PK\x03\x04": "an Excel workbook or another zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed by gzip",
    b"PAR1": "a parquet file",
    b"\x93NUMPY": "an npy file",
}
_SAVE = "save it as CSV in UTF-8 (in Excel: 'CSV UTF-8')"
_SAID = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_TO_QUOTE = re.compile(r'[",;\t\r\n\ufeff]')


class TextTableError(ValueError):
    """A text that is no table; `line`, counted from 1, says where, or is None."""

    def __init__(self, sentence: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(sentence)


class Row(NamedTuple):
    """One row of a table."""

    line: int
    """Where it begins, counted from 1 as editors do."""
    cells: list[str]

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing in it, but for separators."""
        return not any(self.cells)


class TextTable(NamedTuple):
    """A table as it was read; rows may have more or fewer cells than the header."""

    header: Row
    rows: list[Row]
    separator: str


def read_text_table(path: Path) -> TextTable:
    """Read a table: the first line with text is its header, without cells if there is none.

    Raises
    ------
    TextTableError
        If the file is no text, a quote in it is never closed, or its separator is not clear.
    OSError
        If it can't be opened.
    """
    # a list of lines, as a quoted cell may go over several; StringIO splits at CR and LF only
    lines = list(io.StringIO(_decoded(read_source(path)), newline=""))
    first = _next_with_text(lines, 0)
    said = _SAID.fullmatch(lines[first]) if first < len(lines) else None
    if said is not None:
        first = _next_with_text(lines, first + 1)
    if first == len(lines):
        return TextTable(Row(1, []), [], ",")
    separator = said[1] if said is not None else _separator(lines, first)
    header, *rows = _rows(lines, first, separator)
    return TextTable(header, rows, separator)


def table_line(cells: Iterable[str]) -> str:
    """One line of a table with commas, such that `read_text_table` gives the same cells again."""
    return ",".join(map(_quoted, cells)) + "\n"


def _quoted(cell: str) -> str:
    if _TO_QUOTE.search(cell) is None and cell == cell.strip():
        return cell
    return '"' + cell.replace('"', '""') + '"'


def _decoded(content: bytes) -> str:
    for magic, what in _NO_TEXT.items():
        if content.startswith(magic):
            raise TextTableError(f"this is no text but {what}; {_SAVE}.")
    try:
        return decode_text(content, _SAVE)
    except EncodingError as error:
        raise TextTableError(str(error), error.line) from error


def _next_with_text(lines: list[str], start: int) -> int:
    return next((i for i in range(start, len(lines)) if lines[i].strip()), len(lines))


def _separator(lines: list[str], first: int) -> str:
    """By the header; by the first row, if the header has several."""
    widths = {}
    for mark in SEPARATORS:
        try:
            cells, after = _record(lines, first, mark)
        except TextTableError:  # quotes that end elsewhere than before this mark
            continue
        if len(cells) > 1:
            widths[mark] = (len(cells), after)
    if len(widths) > 1:
        fitting = {mark for mark, (n, after) in widths.items() if n == _width(lines, after, mark)}
        if len(fitting) != 1:
            raise TextTableError(
                f"names are separated by {' or by '.join(SEPARATORS[mark] for mark in widths)}, "
                "which is not clear; put names that have one of them inside into quotes.",
                first + 1,
            )
        return fitting.pop()
    return next(iter(widths), ",")


def _width(lines: list[str], start: int, separator: str) -> int:
    """Number of cells of the next row with text; 0 if there is none, or quotes stop it."""
    number = _next_with_text(lines, start)
    try:
        return 0 if number == len(lines) else len(_record(lines, number, separator)[0])
    except TextTableError:
        return 0


def _rows(lines: list[str], number: int, separator: str) -> Iterator[Row]:
    while number < len(lines):
        cells, after = _record(lines, number, separator)
        yield Row(number + 1, cells)
        number = after


def _record(lines: list[str], number: int, separator: str) -> tuple[list[str], int]:
    """Cells of the row that begins in a line, and the line after it (both counted from 0)."""
    line = lines[number]
    if '"' not in line:  # nearly all lines, and much faster
        return [cell.strip() for cell in line.split(separator)], number + 1
    cells: list[str] = []
    end = 0
    while end >= 0:
        start = end
        while line[start : start + 1] == " ":
            start += 1
        if line[start : start + 1] == '"':
            cell, number, start = _quoted_cell(lines, number, start + 1)
            line = lines[number]
            end = line.find(separator, start)
            if line[start : end if end >= 0 else None].strip():
                raise TextTableError(
                    "not readable as CSV: there is text after the closing quote of a cell; write "
                    "a quote inside of a cell twice.",
                    number + 1,
                )
        else:
            end = line.find(separator, start)
            cell = line[start : end if end >= 0 else None].strip()
        cells.append(cell)
        end = end + 1 if end >= 0 else -1
    return cells, number + 1


def _quoted_cell(lines: list[str], number: int, start: int) -> tuple[str, int, int]:
    """Text up to the closing quote, the line where that is, and the place after it."""
    opened, parts = number, []
    while True:
        line = lines[number]
        quote = line.find('"', start)
        if quote >= 0 and line[quote + 1 : quote + 2] != '"':
            parts.append(line[start:quote])
            return "".join(parts), number, quote + 1
        if quote >= 0:
            parts.append(line[start : quote + 1])
            start = quote + 2
            continue
        parts.append(line[start:])
        number, start = number + 1, 0
        if number == len(lines):
            raise TextTableError(
                "not readable as CSV: a quote is opened in this line and never closed.", opened + 1
            )
