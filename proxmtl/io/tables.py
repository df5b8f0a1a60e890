"""Text tables whose rows may have identifiers: labels, classes, lists of images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from proxmtl.io.errors import InputError
from proxmtl.naming import NameIndex, name_key
from proxmtl.text_tables import Row, TextTableError, read_text_table
from proxmtl.wording import counted, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ID_HEADERS", "Table", "is_id_header", "read_ids", "read_table"]

_COUNTERS = frozenset({"", "unnamed:_0"})
"""Headers of columns that programs write beside a table, without being asked: pandas, R."""
ID_HEADERS = _COUNTERS.union(
    ("id", "ids", "index", "name", "path", "row", "row_id", "uid", "uuid"),
    ("file", "file_id", "file_name", "file_path", "filename", "filepath"),
    ("image", "image_file", "image_id", "image_name", "image_path", "imageid"),
    ("img", "img_id", "img_name", "img_path", "photo", "photo_id", "picture"),
    ("sample", "sample_id"),
)
"""Headers, in the form of `is_id_header`, that make the first column one of row identifiers."""


class Table(NamedTuple):
    """A table, with the rows that are of samples."""

    path: Path
    header: list[str]
    rows: list[Row]
    separator: str
    id_index: int | None
    """Where the column of identifiers is."""

    def cells(self, index: int) -> list[tuple[int, str]]:
        """Line number and text of each row in one column; blank where the row ends before it."""
        return [(line, row[index] if index < len(row) else "") for line, row in self.rows]

    def ids(self, *, unique: bool = True) -> tuple[str, ...] | None:
        """Identifiers of the rows.

        Parameters
        ----------
        unique
            Whether to raise `InputError` where one is blank or occurs twice.
        """
        if self.id_index is None:
            return None
        cells = self.cells(self.id_index)
        if unique:
            _check_ids(self.path, self.header[self.id_index], cells)
        return tuple(name for _, name in cells)

    @property
    def counted(self) -> bool:
        """Whether the identifiers are numbers of the rows that a program wrote beside them."""
        return self.id_index is not None and self._counts(self.id_index)

    def without_counter(self) -> Table:
        """Leave out a first column without a name that counts the rows, if another has the ids."""
        if not self.id_index or not self._counts(0):
            return self
        rows = [Row(line, row[1:]) for line, row in self.rows]
        return self._replace(header=self.header[1:], rows=rows, id_index=self.id_index - 1)

    def _counts(self, index: int) -> bool:
        """Whether a column has no name and holds 0, 1, 2, ... or 1, 2, 3, ..."""
        if _plain(self.header[index]) not in _COUNTERS:
            return False
        seen = [name for _, name in self.cells(index)]
        return any(seen == list(map(str, range(a, a + len(seen)))) for a in (0, 1))


def read_table(path: Path, id_column: str | None = None) -> Table:
    """Read a table and find its column of identifiers.

    It is the column asked for; else one called ``id``, or the first if its header is one of
    `ID_HEADERS`. Where both are there, ``id`` is it unless it looks like an attribute: all its
    cells are 0, 1, -1 or blank. A first column without a name that counts the rows, as pandas and
    R write it, is left out where another one has the identifiers.

    Rows without text are no samples where samples have identifiers. Where they have none, such a
    row holds the place of a sample without labels: it counts if it has its separators, or if the
    table has one column and needs none.

    Raises
    ------
    InputError
        If the file can't be read, it has no row, there is no such column, or a line without text
        may be a sample or not.
    """
    if path.is_dir():
        raise InputError(path, "a folder, where a CSV file is wanted; check the path.")
    if not path.is_file():
        raise InputError(path, "no such file; check the path.")
    try:
        header, rows, separator = read_text_table(path)
    except TextTableError as error:
        raise InputError(path, str(error), line=error.line) from error
    if header.is_blank:
        raise InputError(
            path, "no line with text; a header of names and at least one row are needed."
        )
    names, rows = _without_empty_columns(header.cells, [_within(header.cells, r) for r in rows])
    id_index = _find_id_column(path, names, rows, id_column)
    if id_index is not None:
        rows = _without_blank_rows(path, rows)
    elif len(names) > 1:
        rows = _with_cells(path, rows, separator.join([""] * len(names)))
    if not rows:
        raise InputError(
            path, "1 line with text; a header of names and at least one row are needed."
        )
    return Table(path, names, rows, separator, id_index).without_counter()


def read_ids(path: str | Path, *, id_column: str | None = None) -> tuple[str, ...]:
    """Read the row identifiers of a CSV file, whatever its other columns hold.

    Parameters
    ----------
    path, id_column
        As for `read_labels`.

    Raises
    ------
    InputError
        If there is no such column, or an identifier is blank or occurs twice.
    """
    table = read_table(Path(path), id_column)
    ids = table.ids()
    if ids is None:
        raise InputError(
            path,
            f"the first column is {table.header[0]!r}, which is no header of identifiers; call it "
            "'image' or 'id', or name the column by --id-column (in Python id_column=).",
            line=1,
        )
    return ids


def no_column(path: Path, header: list[str], name: str, what: str) -> InputError:
    """Error of a table that lacks a column that was asked for by name."""
    names = f"{', '.join(map(repr, header[:20]))}{', ...' if header[20:] else ''}"
    return InputError(
        path,
        f"there is no column {name!r} for {what}; {NameIndex(header).advice(name)} The header has "
        f"{names}.",
        line=1,
    )


def is_id_header(header: str) -> bool:
    """Whether a column of this header, as the first of a table, holds identifiers."""
    return _plain(header) in ID_HEADERS


def _plain(header: str) -> str:
    return re.sub(r"[\s-]+", "_", header.strip().lower())


def _find_id_column(
    path: Path, header: list[str], rows: list[Row], id_column: str | None
) -> int | None:
    if id_column is not None:
        if id_column not in header:
            raise no_column(path, header, id_column, "the row identifiers")
        return header.index(id_column)
    first = 0 if is_id_header(header[0]) else None
    if "id" not in header:
        return first
    index = header.index("id")
    labels = {"", "0", "1", "-1"}
    if first is not None and all(index < len(row) and row[index] in labels for _, row in rows):
        return first
    return index


def _within(header: list[str], row: Row) -> Row:
    """Leave out blank cells behind the last column, as spreadsheets write them."""
    end = len(row.cells)
    while end > len(header) and not row.cells[end - 1]:
        end -= 1
    return row if end == len(row.cells) else Row(row.line, row.cells[:end])


def _without_empty_columns(header: list[str], rows: list[Row]) -> tuple[list[str], list[Row]]:
    """Leave out columns without a name and without text, as spreadsheets write them."""
    nameless = [index for index, name in enumerate(header) if not name]
    empty = {
        index
        for index in nameless
        if len(header) > 1 and not any(index < len(row) and row[index] for _, row in rows)
    }
    if not empty:
        return header, rows
    return _leave_out(header, empty), [Row(line, _leave_out(row, empty)) for line, row in rows]


def _leave_out(cells: list[str], indices: set[int]) -> list[str]:
    return [cell for index, cell in enumerate(cells) if index not in indices]


def _without_blank_rows(path: Path, rows: list[Row]) -> list[Row]:
    kept = [row for row in rows if not row.is_blank]
    inside = [row for row in rows if row.is_blank and kept and row.line < kept[-1].line]
    if inside:
        warn(
            f"{path}: {counted(len(inside), 'row')} without text between the others left out, the "
            f"first in line {inside[0].line}.",
        )
    return kept


def _with_cells(path: Path, rows: list[Row], blank: str) -> list[Row]:
    """Leave out lines at the end that have no separator, and refuse such lines before."""
    end = len(rows)
    while end and rows[end - 1].cells == [""]:
        end -= 1
    empty = next((row for row in rows[:end] if row.cells == [""]), None)
    if empty is not None:
        raise InputError(
            path,
            "nothing is in this line, and rows without identifiers count by their position: "
            f"remove it, or, if it stands for a sample without labels, write {blank!r}.",
            line=empty.line,
        )
    return rows[:end]


def _check_ids(path: Path, header: str, cells: Sequence[tuple[int, str]]) -> None:
    first_line: dict[str, int] = {}
    for line, name in cells:
        key = name_key(name)
        if not key:
            raise InputError(path, f"no {header!r} in this line; fill it in.", line=line)
        if key in first_line:
            raise InputError(
                path,
                f"the identifier {name!r} was already used in line {first_line[key]}; identifiers "
                f"must be unique. If {header!r} is not the column of identifiers, name that by "
                "--id-column, or rename it.",
                line=line,
            )
        first_line[key] = line
