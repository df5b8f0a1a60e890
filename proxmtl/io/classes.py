"""One class a sample, from CSV files."""

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
    """Classes as they were read."""

    numbers: list[int]
    """Class of each of the N rows, as its number among the known classes."""
    ids: tuple[str, ...] | None
    """Row identifiers of length N, where the file has them."""
    counted: bool = False
    """Whether the identifiers are but numbers of the rows: see `proxmtl.io.rows.Rows`."""

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
        CSV file with a header. Its other columns are left out, but for the row identifiers: a
        column ``id``, or the first if its header says that it has some (``image``, ``file``, ...).
    known
        Names of the classes.
    column
        Header of the column of class names.
    unique_ids
        Whether blank and repeated identifiers are errors.
    matrix
        Where the classes are known from, for errors.

    Raises
    ------
    InputError
        Naming the file and the line, what was seen and what to do.
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
