"""Attribute labels from CSV files: one row per sample, one column per attribute."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from proxmtl.io.atomic import write_text
from proxmtl.io.errors import InputError
from proxmtl.io.rows import Rows
from proxmtl.io.sparse_labels import read_sparse_labels
from proxmtl.io.tables import is_id_header, no_column, read_table
from proxmtl.naming import name_key
from proxmtl.text_tables import table_line
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from proxmtl.io.tables import Table

__all__ = ["Labels", "read_labels", "write_labels"]

_MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "<na>"})
_WORDS = {
    **dict.fromkeys(("yes", "y", "true", "t", "ja", "wahr"), 1.0),
    **dict.fromkeys(("no", "n", "false", "f", "nein", "falsch"), 0.0),
}
_NO_IN_WORDS = -2.0
"""Temporary code of a negative label given as a word, until the coding of its column is checked."""
_CODES = {1.0, 0.0, -1.0, _NO_IN_WORDS}


class Labels(NamedTuple):
    """The labels of a file."""

    values: Any
    """Labels of shape (N, M): 1 positive, 0 negative, NaN missing; or a sparse array of those that
    are known, +1 and -1."""
    names: tuple[str, ...]
    """Attribute names of length M, from the header."""
    ids: tuple[str, ...] | None
    """Row identifiers of length N; None if the file has none."""
    counted: bool = False
    """Whether the identifiers are just row numbers: see `proxmtl.io.rows.Rows`."""

    def rows(self, source: Path) -> Rows:
        """Describe the rows for `proxmtl.io.join_rows`."""
        n = self.values.shape[0]
        if issparse(self.values):
            known = np.flatnonzero(np.diff(self.values.indptr))
        else:
            known = np.flatnonzero(~np.isnan(self.values).all(axis=1))
        end = n - (int(known[-1]) + 1 if len(known) else 0)
        return Rows(source, "labels", n, self.ids, self.counted, end)


def read_labels(
    path: str | Path,
    *,
    id_column: str | None = None,
    unique_ids: bool = True,
    task_column: str | None = None,
    sparse: bool = False,
) -> Labels:
    """Read attribute labels from a CSV file, or from a sparse matrix in an npz file.

    The first line holds the attribute names. A label is ``1`` for yes and ``0`` or ``-1`` for no
    (one of the two throughout the file), or a word: yes and no, true and false, y and n, t and f,
    in any case. A blank cell, ``nan`` or ``NA`` is a missing label. Encodings, separators and
    quotes are those of `proxmtl.text_tables`; with semicolons or tabs a number may have a decimal
    comma.

    Parameters
    ----------
    path
        The CSV file; or an npz file of :func:`scipy.sparse.save_npz` that stores -1 and +1, with
        what is not stored missing, or 1 alone, with what is not stored negative. Its attributes are
        ``task 0``, ``task 1``, ...
    id_column
        Header of the column of row identifiers. Default: a column ``id``, or the first one if its
        header names identifiers (``image``, ``file``, ...).
    unique_ids
        Whether blank and repeated identifiers raise. If not, a column of labels under a header of
        identifiers raises unless it is the `id_column`.
    task_column
        Header of the column that names the attribute of each line's label, for a file in long form:
        with a single column of labels, and a line for each known label. Lines with the same
        identifier are one sample; without identifiers each line is a sample. Attributes are in the
        order of their first occurrence.
    sparse
        Whether labels of an npz file of which some are missing stay sparse; others are dense.

    Returns
    -------
    Labels
        Values in {0, 1, NaN} of shape (N, M), attribute names and row identifiers. Of sparse labels
        the values are a ``csr_array`` of -1 and +1.

    Raises
    ------
    InputError
        If the file is invalid; the message names file, line and column.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        return Labels(*read_sparse_labels(path, id_column or task_column, sparse=sparse))
    table = read_table(path, id_column)
    task = None if task_column is None else _task_index(table, task_column)
    columns = [i for i in range(len(table.header)) if i not in (table.id_index, task)]
    names = tuple(table.header[index] for index in columns)
    _check_header(table, names)
    if task is not None:
        return _long_labels(table, task, columns)
    if id_column is None and not unique_ids:
        _check_guess(table)
    ids = table.ids(unique=unique_ids)
    codes = _codes(table, columns)
    _check_coding(table, columns, codes)
    codes[codes < 0] = 0.0
    return Labels(codes, names, ids, table.counted)


def _task_index(table: Table, task_column: str) -> int:
    if task_column not in table.header:
        raise no_column(table.path, table.header, task_column, "the tasks")
    index = table.header.index(task_column)
    if index == table.id_index:
        raise InputError(
            table.path,
            f"the column {task_column!r} can't hold both the tasks and the identifiers; name "
            "another one by --id-column (in Python id_column=), or rename it.",
            line=1,
        )
    return index


def _long_labels(table: Table, task: int, columns: list[int]) -> Labels:
    """Convert a table with a line per label to a matrix, with NaN for labels without a line."""
    if len(columns) != 1:
        named = ", ".join(repr(table.header[index]) for index in columns[:5])
        raise InputError(
            table.path,
            f"a table with a column of tasks has one column of labels, and this one has "
            f"{len(columns)} ({named}); leave the others out, or name the identifiers by "
            "--id-column (in Python id_column=).",
            line=1,
        )
    codes = _codes(table, columns)
    _check_coding(table, columns, codes)
    names: dict[str, int] = {}
    samples: dict[str, int] = {}
    ids: list[str] = []
    given = table.ids(unique=False)
    lines: dict[tuple[int, int], int] = {}
    for position, (line, name) in enumerate(table.cells(task)):
        if not name:
            raise InputError(
                table.path, f"no {table.header[task]!r} in this line; fill it in.", line=line
            )
        row = position
        if given is not None:
            key = name_key(given[position])
            if not key:
                raise InputError(table.path, "no identifier in this line; fill it in.", line=line)
            row = samples.setdefault(key, len(samples))
            if row == len(ids):
                ids.append(given[position])
        place = row, names.setdefault(name, len(names))
        if place in lines:
            raise InputError(
                table.path,
                f"a label of {name!r} for {ids[row]!r} was already in line {lines[place]}; give "
                "one for each sample and task.",
                line=line,
            )
        lines[place] = line
    values = np.full((len(codes) if given is None else len(ids), len(names)), np.nan)
    rows, tasks = np.array([*lines]).T
    values[rows, tasks] = np.where(codes[:, 0] < 0, 0.0, codes[:, 0])
    return Labels(values, tuple(names), None if given is None else tuple(ids), table.counted)


def write_labels(
    path: str | Path,
    labels: NDArray[np.float64],
    names: Sequence[str],
    ids: Sequence[str],
    *,
    header: str = "image",
) -> None:
    """Write labels to a CSV file that `read_labels` reads, atomically.

    Parameters
    ----------
    path
        The CSV file.
    labels
        (N, M): 1 positive, 0 negative, NaN missing (a blank cell).
    names, ids
        Names of the M attributes, identifiers of the N rows.
    header
        Header of the column of identifiers, one that `read_labels` recognises.

    Raises
    ------
    ValueError
        If the numbers of names or rows do not match or are zero, a label has another value, or a
        name or identifier is blank, repeated (up to surrounding blanks) or cannot be encoded.
    """
    labels = np.asarray(labels, np.float64)
    if labels.shape != (len(ids), len(names)) or not labels.size or not is_id_header(header):
        msg = (
            f"labels {labels.shape} for {len(ids)} ids and {len(names)} names under the header "
            f"{header!r}: give one id a row, one name a column, and a header of identifiers."
        )
        raise ValueError(msg)
    odd = ~(np.isnan(labels) | np.isin(labels, (0.0, 1.0)))
    if odd.any():
        raise ValueError(f"labels: saw {labels[odd][0]:g}; use 1 yes, 0 no, NaN missing.")
    _check_writable("names", names, [name.strip() for name in names])
    _check_writable("ids", ids, [name_key(name) for name in ids])
    if header in names or (not header and all(map(_is_number, names))):
        raise ValueError(f"header: {header!r} beside these names; use another, such as 'image'.")
    cells = np.array(["0", "1", ""])[np.where(np.isnan(labels), 2, labels == 1).astype(int)]
    rows = ([name, *row] for name, row in zip(ids, cells.tolist(), strict=True))
    write_text(path, "".join(map(table_line, [[header, *names], *rows])))


def _check_writable(title: str, given: Sequence[str], compared: Sequence[str]) -> None:
    seen = Counter(compared)
    for name, key in zip(given, compared, strict=True):
        if not key or seen[key] > 1:
            raise ValueError(f"{title}: {name!r} is blank or there twice; make each its own.")
        if "\0" in name or not _is_text(name):
            raise ValueError(f"{title}: {name!r} is no text in UTF-8; rename it.")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_header(table: Table, names: tuple[str, ...]) -> None:
    path = table.path
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
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(
            path, f"the header names the attribute {twice!r} twice; rename one of them.", line=1
        )
    # a first column called 'image', say, shows that this line is a header whatever else it holds
    said = table.id_index is not None and table.header[table.id_index] != ""
    if not said and all(map(_is_number, names)):
        raise InputError(
            path,
            f"the first line ({', '.join(names[:5])}, ...) holds numbers where the attribute names "
            "belong; add a header line.",
            line=1,
        )


def _check_guess(table: Table) -> None:
    """Raise if the column taken for identifiers contains labels, which would be ignored."""
    if table.id_index is None:
        return
    texts = [text for _, text in table.cells(table.id_index)]
    codes = {_code(text, decimal_comma=table.separator != ",") for text in {*texts}}
    if None in codes or not codes & _CODES:
        return
    if any(texts == list(map(str, range(a, a + len(texts)))) for a in (0, 1)):
        return  # numbers of one or two rows
    header = table.header[table.id_index]
    raise InputError(
        table.path,
        f"column {header!r} is called like one of identifiers and holds nothing but labels; rename "
        f"it if it is an attribute, or, if it holds identifiers, say --id-column {header!r} (in "
        "Python id_column=).",
        line=1,
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _codes(table: Table, columns: list[int]) -> NDArray[np.float64]:
    """Labels (N, M) as 1, 0, -1, `_NO_IN_WORDS` and NaN; each distinct text is parsed once."""
    known: dict[str, float] = {}
    codes = np.empty((len(table.rows), len(columns)))
    for position, (line, row) in enumerate(table.rows):
        if len(row) != len(table.header):
            raise InputError(
                table.path,
                f"{counted(len(row), 'cell')} where the header has {len(table.header)}; "
                "add or remove the cells that make the difference.",
                line=line,
            )
        texts = [row[index] for index in columns]
        for text in dict.fromkeys(texts):
            if text not in known:
                code = _code(text, decimal_comma=table.separator != ",")
                if code is None:
                    raise _no_label(table, line, columns[texts.index(text)], text)
                known[text] = code
        codes[position] = [known[text] for text in texts]
    return codes


def _code(cell: str, *, decimal_comma: bool) -> float | None:
    """Code of the label in a cell; None if it is not a label."""
    word = cell.strip().lower()
    if word in _MISSING:
        return np.nan
    if word in _WORDS:
        return _WORDS[word] or _NO_IN_WORDS
    try:
        value = float(word.replace(",", ".") if decimal_comma else word)
    except ValueError:
        return None
    return value if value in {-1.0, 0.0, 1.0} else None


def _no_label(table: Table, line: int, index: int, cell: str) -> InputError:
    text, header = cell.strip(), table.header
    first = {_code(text, decimal_comma=False) for _, text in table.cells(0)}
    name, found = repr(header[index]), f"column {header[index]!r} has {text!r}"
    advice = "Leave the column out of the file if it is no attribute."
    if len(header) == 1 and re.search(r"[\s|]", text):
        advice = "Separate columns by commas, semicolons or tabs."
    elif index == 0 and table.id_index is None and not (_is_number(text) or first & _CODES):
        found = f"the first {found}, which is no label"
        advice = (
            f"If it names the images or other rows, say --id-column {name}, or call it 'image'."
        )
    elif is_id_header(header[index]) or (_is_number(text) and _all_differ(table, index)):
        advice = f"If the column holds identifiers of the rows, say --id-column {name}."
    return InputError(
        table.path,
        f"{found}; a label is 1 for yes, 0 or -1 for no, and blank where it is missing. {advice}",
        line=line,
    )


def _all_differ(table: Table, index: int) -> bool:
    """Whether no two of several rows have the same text in a column."""
    texts = [text for _, text in table.cells(index)]
    return 2 < len(texts) == len(set(texts))


def _check_coding(table: Table, columns: list[int], codes: NDArray[np.float64]) -> None:
    """Raise if it is ambiguous which labels are negative."""
    minus, zero, word = (codes == value for value in (-1.0, 0.0, _NO_IN_WORDS))
    # a file must not mix 0 and -1; words and numbers may be in different columns
    if minus.any() and zero.any():
        first, second = sorted(_first(where) for where in (minus, zero))
    else:
        both = word.any(axis=0) & (minus | zero).any(axis=0)
        if not both.any():
            return
        column = int(both.argmax())
        first, second = sorted(
            (int(where[:, column].argmax()), column) for where in (word, minus | zero)
        )
    texts = [table.rows[row].cells[columns[column]] for row, column in (first, second)]
    raise InputError(
        table.path,
        f"column {table.header[columns[second[1]]]!r} has the label {texts[1]}, but line "
        f"{table.rows[first[0]].line} has {texts[0]}: with both it is not clear whether one of "
        "them means no or missing; write no as 0, or as -1 with blanks for missing.",
        line=table.rows[second[0]].line,
    )


def _first(where: NDArray[np.bool_]) -> tuple[int, int]:
    row, column = divmod(int(where.argmax()), where.shape[1])
    return row, column
