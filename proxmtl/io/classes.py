"""One class a sample, from CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proxmtl.io.errors import InputError
from proxmtl.io.labels import find_id_column, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["read_classes"]


def read_classes(
    path: str | Path,
    known: Sequence[str],
    ids: Sequence[str] | None,
    n_rows: int,
    *,
    column: str = "class",
) -> list[int]:
    """Read the class of each sample, as its number among the known classes.

    Parameters
    ----------
    path
        CSV file in UTF-8 with a header. Its other columns are left out, but for the row
        identifiers: a column ``id``, or the first if its header is one of identifiers.
    known
        Names of the classes.
    ids
        Row identifiers of the features, by which rows are matched; None: row i belongs to row i.
    n_rows
        Number of rows of the features.
    column
        Header of the column of class names.

    Raises
    ------
    InputError
        Naming the file and the line, what was seen and what to do.
    """
    path = Path(path)
    rows = read_rows(path)
    header = [cell.strip() for cell in rows[0][1]]
    if column not in header:
        raise InputError(
            path, f"there is no column {column!r}; the header has {', '.join(header)}.", line=1
        )
    class_index, id_index = header.index(column), find_id_column(path, header)
    if id_index in {None, class_index}:
        if ids is not None:
            raise InputError(
                path,
                f"no column of identifiers, which the features have ({ids[0]!r}, ...); put them "
                f"first, under the header 'image'. The header has {', '.join(header)}.",
                line=1,
            )
        id_index = None
    number = {name: i for i, name in enumerate(known)}
    found: list[int] = []
    by_id: dict[str, int] = {}
    for line, row in rows[1:]:
        name, identifier = (
            row[index].strip() if index is not None and index < len(row) else ""
            for index in (class_index, id_index)
        )
        if name not in number:
            raise InputError(
                path,
                f"class {name!r} has no row in the class-attribute matrix, which has "
                f"{', '.join(known[:5])}{', ...' if len(known) > 5 else ''}.",
                line=line,
            )
        found.append(number[name])
        if ids is not None and identifier in by_id:
            raise InputError(path, f"{identifier!r} has two rows; remove one.", line=line)
        by_id[identifier] = number[name]
    if ids is not None:
        lost = [identifier for identifier in ids if identifier not in by_id]
        if lost:
            raise InputError(
                path, f"no row for {len(lost)} of the features, the first is {lost[0]!r}; add it."
            )
        return [by_id[identifier] for identifier in ids]
    if len(found) != n_rows:
        raise InputError(
            path,
            f"{len(found)} classes for {n_rows} rows of features; there must be one for each, in "
            "the same order.",
        )
    return found
