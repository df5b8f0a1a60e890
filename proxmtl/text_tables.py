"""Reader of tables in text files (CSV), as spreadsheets, pandas and editors write them.

The same reader serves labels, classes, identifiers and groups. It follows fixed rules, without
guessing, and raises if a file is ambiguous under them:

- *Encoding*: UTF-8, or the encoding of a byte order mark (UTF-8, UTF-16, UTF-32).
- *Separator*: the one of comma, semicolon and tab that occurs in the header; if several do, the
  one that splits the next line into as many cells as the header. A first line ``sep=;``, which
  spreadsheets write, decides.
- *Quotes*: as in RFC 4180. Quoted cells are kept as they are; other cells are stripped of
  surrounding blanks.
- *Lines* end with LF, CRLF or CR. A line without text becomes a row of blank cells; the caller
  decides what it means.
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
    """A text that is not a table; `line` is the line, counted from 1, or None if not known."""

    def __init__(self, sentence: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(sentence)


class Row(NamedTuple):
    """One row of a table."""

    line: int
    """Line in which the row begins, counted from 1."""
    cells: list[str]

    @property
    def is_blank(self) -> bool:
        """Whether all cells are empty."""
        return not any(self.cells)


class TextTable(NamedTuple):
    """A table as read; rows may have more or fewer cells than the header."""

    header: Row
    rows: list[Row]
    separator: str


def read_text_table(path: Path) -> TextTable:
    """Read a table: its first line with text is the header; a file without text has none.

    Raises
    ------
    TextTableError
        If the file is not text, a quote is never closed, or the separator is ambiguous.
    OSError
        If the file cannot be opened.
    """
    # lines, since a quoted cell may span several; StringIO, unlike splitlines, splits at CR and LF
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
    """Write one line of a comma-separated table, from which `read_text_table` reads the cells."""
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
    """Find the separator in the header; if it has several, by the width of the first row."""
    widths = {}
    for mark in SEPARATORS:
        try:
            cells, after = _record(lines, first, mark)
        except TextTableError:  # a closing quote that is not followed by this separator
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
    """Number of cells of the next row with text; 0 if there is none or its quotes are invalid."""
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
    """Cells of the row that begins in a line, and the line after the row (counted from 0)."""
    line = lines[number]
    if '"' not in line:  # a fast path for nearly all lines
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
    """Text up to the closing quote, the line of that quote, and the column after it."""
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
