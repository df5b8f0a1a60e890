"""Reader of the class of each sample from CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from proxmtl.io.errors import InputError
from proxmtl.io.rows import Rows
from proxmtl.io.tables import read_table
from proxmtl.naming import NameIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Classes", "read_classes"]


class Classes(NamedTuple):
    """The classes of a file."""

    numbers: list[int]
    """Class of each of the N rows, as its index among the known classes."""
    ids: tuple[str, ...] | None
    """Row identifiers of length N; None if the file has none."""
    counted: bool = False
    """Whether the identifiers are just row numbers: see `proxmtl.io.rows.Rows`."""

    def rows(self, source: Path) -> Rows:
        """Describe the rows for `proxmtl.io.join_rows`."""
        return Rows(source, "classes", len(self.numbers), self.ids, self.counted)


def read_classes(
    path: str | Path,
    known: Sequence[str],
    *,
    column: str = "class",
    unique_ids: bool = True,
    matrix: str | Path = "the class-attribute matrix",
) -> Classes:
    """Read the class of each sample.

    Parameters
    ----------
    path
        CSV file with a header. Other columns are ignored, except the row identifiers: a column
        ``id``, or the first one if its header names identifiers (``image``, ``file``, ...).
    known
        Names of the classes.
    column
        Header of the column of class names.
    unique_ids
        Whether blank and repeated identifiers are errors.
    matrix
        Source of the known classes, for error messages.

    Raises
    ------
    InputError
        If the file cannot be read, or a class is unknown; the message names file and line.
    """
    path = Path(path)
    table = read_table(path)
    if column not in table.header:
        raise InputError(
            path,
            f"there is no column {column!r}; the header has {', '.join(table.header)}.",
            line=1,
        )
    index = table.header.index(column)
    if index == table.id_index:
        table = table._replace(id_index=None)
    numbers = NameIndex(known)
    found: list[int] = []
    for line, name in table.cells(index):
        number = numbers.place(name)
        if number is None:
            raise InputError(
                path,
                f"class {name!r} has no row in {matrix}, which has "
                f"{', '.join(known[:5])}{', ...' if len(known) > 5 else ''}; "
                f"{numbers.advice(name)}",
                line=line,
            )
        found.append(number)
    return Classes(found, table.ids(unique=unique_ids), table.counted)
