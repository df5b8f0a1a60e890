"""Attribute labels from CSV files: one row per sample, one column per attribute."""

from __future__ import annotations

import csv
import io
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proxmtl.io.atomic import write_text
from proxmtl.io.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "ID_HEADERS",
    "Labels",
    "align_rows",
    "find_id_column",
    "read_ids",
    "read_labels",
    "read_rows",
    "write_labels",
]

ID_HEADERS = frozenset({"", "id", "ids", "image", "file", "filename", "name", "row", "sample"})
"""Headers (in lower case) that make the first column one of row identifiers."""

_MISSING = frozenset({"", "nan", "na"})


class Labels(NamedTuple):
    """Labels as they were read."""

    values: NDArray[np.float64]
    """Labels of shape (N, M): 1 yes, 0 no, NaN missing."""
    names: tuple[str, ...]
    """Attribute names of length M, from the header."""
    ids: tuple[str, ...] | None
    """Row identifiers of length N, where the file has them."""


def read_labels(path: str | Path, *, id_column: str | None = None) -> Labels:
    """Read attribute labels from a CSV file.

    The first line holds the attribute names. A label is ``1`` for yes and ``0`` or ``-1`` for no
    (one of the two throughout the file); a blank cell, ``nan`` or ``NA`` is a missing label.

    Parameters
    ----------
    path
        The CSV file, in UTF-8.
    id_column
        Header of the column of row identifiers. By default it is a column ``id``, or the first
        where its header is among `ID_HEADERS`.

    Returns
    -------
    Labels
        Values in {0, 1, NaN} of shape (N, M), attribute names and row identifiers.

    Raises
    ------
    InputError
        Naming the file, the line and the column, what was seen there and what to do.
    """
    path = Path(path)
    rows = read_rows(path)
    header = [cell.strip() for cell in rows[0][1]]
    id_index = find_id_column(path, header, id_column)
    columns = [index for index in range(len(header)) if index != id_index]
    names = tuple(header[index] for index in columns)
    _check_header(path, names)
    values = np.empty((len(rows) - 1, len(names)))
    negative: tuple[float, int] | None = None
    for position, (line, row) in enumerate(rows[1:]):
        if len(row) != len(header):
            raise InputError(
                path,
                f"{len(row)} cells where the header has {len(header)}; "
                "add or remove the cells that make the difference.",
                line=line,
            )
        for out, index in enumerate(columns):
            value = _parse(path, line, header[index], row[index])
            if value in {0.0, -1.0}:
                if negative is not None and negative[0] != value:
                    raise InputError(
                        path,
                        f"column {header[index]!r} has the label {value:g}, but line "
                        f"{negative[1]} has {negative[0]:g}: with both it is not clear whether 0 "
                        "means no or missing; write no as 0, or as -1 with blanks for missing.",
                        line=line,
                    )
                negative = negative or (value, line)
                value = 0.0
            values[position, out] = value
    ids = None
    if id_index is not None:
        ids = _check_ids(path, [(line, row[id_index].strip()) for line, row in rows[1:]])
    return Labels(values, names, ids)


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
    path = Path(path)
    rows = read_rows(path)
    header = [cell.strip() for cell in rows[0][1]]
    index = find_id_column(path, header, id_column)
    if index is None:
        raise InputError(
            path,
            f"the first column is {header[0]!r}, which is no header of identifiers; call it "
            "'image' or 'id', or name the column by id_column.",
            line=1,
        )
    cells = [(line, row[index].strip() if index < len(row) else "") for line, row in rows[1:]]
    blank = next((line for line, cell in cells if not cell), None)
    if blank is not None:
        raise InputError(path, f"no {header[index]!r} in this line; fill it in.", line=blank)
    return _check_ids(path, cells)


def write_labels(
    path: str | Path,
    labels: NDArray[np.float64],
    names: Sequence[str],
    ids: Sequence[str],
    *,
    header: str = "image",
) -> None:
    """Write what `read_labels` reads, atomically: a data set's labels for the command line.

    Parameters
    ----------
    path
        The CSV file.
    labels
        (N, M): 1 yes, 0 no, NaN missing (a blank cell).
    names, ids
        Of the M attributes and N rows.
    header
        Of the column of row identifiers, one of `ID_HEADERS`.

    Raises
    ------
    ValueError
        If numbers of names or rows differ, a label is something else, or a name or identifier is
        blank or occurs twice.
    """
    labels = np.asarray(labels, np.float64)
    if labels.shape != (len(ids), len(names)) or header.lower() not in ID_HEADERS:
        msg = (
            f"labels {labels.shape} for {len(ids)} ids and {len(names)} names under the header "
            f"{header!r}: give one id a row, one name a column, and a header of identifiers."
        )
        raise ValueError(msg)
    odd = ~(np.isnan(labels) | np.isin(labels, (0.0, 1.0)))
    if odd.any():
        raise ValueError(f"labels: saw {labels[odd][0]:g}; use 1 yes, 0 no, NaN missing.")
    for title, given in (("names", names), ("ids", ids)):
        seen = Counter(name.strip() for name in given)
        wrong = next((name for name, count in seen.items() if count > 1 or not name), None)
        if wrong is not None:
            raise ValueError(f"{title}: {wrong!r} is blank or there twice; make each its own.")
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([header, *names])
    for identifier, row in zip(ids, labels, strict=True):
        lines.writerow([identifier, *("" if np.isnan(cell) else f"{cell:.0f}" for cell in row)])
    write_text(path, text.getvalue())


def align_rows(
    labels: Labels,
    ids: Sequence[str] | None,
    n_rows: int,
    *,
    labels_path: Path,
    features_path: Path,
) -> Labels:
    """Bring the rows of `labels` into the order of the features.

    With identifiers on both sides the rows are matched by them; otherwise row i of one file
    belongs to row i of the other and the counts must agree. Where only the features have some, a
    warning says so.

    Parameters
    ----------
    labels
        As read by `read_labels`.
    ids
        Row identifiers of the features, or None.
    n_rows
        Number of rows N of the features.
    labels_path, features_path
        Where both came from, for the error messages.

    Returns
    -------
    Labels
        With exactly `n_rows` rows.

    Raises
    ------
    InputError
        If the counts differ, or a feature row has no labels.
    """
    if ids is None or labels.ids is None:
        if len(labels.values) != n_rows:
            raise InputError(
                labels_path,
                f"{len(labels.values)} rows of labels for {n_rows} rows of features in "
                f"{features_path}; there must be one row of labels per row of features, in the "
                "same order.",
            )
        if ids is not None:
            warnings.warn(
                f"{labels_path}: no column of identifiers, and the rows of {features_path} have "
                "some; row i is taken for row i. Add them as a first column 'image' to be sure.",
                stacklevel=2,
            )
        return labels
    row_of = {identifier: row for row, identifier in enumerate(labels.ids)}
    lost = [identifier for identifier in ids if identifier not in row_of]
    if lost:
        raise InputError(
            labels_path,
            f"no row for {len(lost)} of the {n_rows} identifiers in {features_path}, the first is "
            f"{lost[0]!r}; add a row for each (blank cells for missing labels).",
        )
    order = [row_of[identifier] for identifier in ids]
    return Labels(labels.values[order], labels.names, tuple(ids))


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Give (line number, cells) for the header and each row; lines without text are left out."""
    if not path.is_file():
        raise InputError(path, "no such file; check the path.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise InputError(path, f"not text in UTF-8 ({error}); save it as UTF-8 CSV.") from error
    except csv.Error as error:
        raise InputError(path, f"not readable as CSV ({error}).") from error
    if len(rows) < 2:
        raise InputError(
            path,
            f"{len(rows)} lines with text; a header of names and at least one row are needed.",
        )
    return rows


def find_id_column(path: Path, header: list[str], id_column: str | None = None) -> int | None:
    """Where a header, stripped of blanks, has the row identifiers; None: nowhere.

    In the column asked for; else in one called ``id``, or the first if it is among `ID_HEADERS`.
    """
    if id_column is None:
        if "id" in header:
            return header.index("id")
        return 0 if header[0].lower() in ID_HEADERS else None
    if id_column not in header:
        raise InputError(
            path,
            f"there is no column {id_column!r} for the row identifiers; the header has "
            f"{', '.join(map(repr, header))}.",
            line=1,
        )
    return header.index(id_column)


def _check_header(path: Path, names: tuple[str, ...]) -> None:
    if not names:
        raise InputError(
            path, "the header names no attribute; add one column per attribute.", line=1
        )
    if "" in names:
        raise InputError(
            path,
            f"attribute {names.index('') + 1} of {len(names)} has no name; fill in the header.",
            line=1,
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            path, f"the header names the attribute {twice!r} twice; rename one of them.", line=1
        )
    if all(_is_number(name) for name in names):
        raise InputError(
            path,
            f"the first line ({', '.join(names[:5])}, ...) holds numbers where the attribute names "
            "belong; add a header line.",
            line=1,
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(path: Path, line: int, column: str, cell: str) -> float:
    text = cell.strip()
    if text.lower() in _MISSING:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.inf
    if value not in {-1.0, 0.0, 1.0}:
        raise InputError(
            path,
            f"column {column!r} has {text!r}; a label is 1 for yes, 0 or -1 for no, "
            "and blank where it is missing.",
            line=line,
        )
    return value


def _check_ids(path: Path, ids: list[tuple[int, str]]) -> tuple[str, ...]:
    first_line: dict[str, int] = {}
    for line, identifier in ids:
        if identifier in first_line:
            raise InputError(
                path,
                f"the identifier {identifier!r} was already used in line "
                f"{first_line[identifier]}; identifiers must be unique.",
                line=line,
            )
        first_line[identifier] = line
    return tuple(first_line)
