"""Reader of features from parquet files, with the identifiers of their rows."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from proxmtl.io.array_files import check_expansion
from proxmtl.io.errors import InputError, first_line
from proxmtl.io.tables import is_id_header
from proxmtl.wording import warn

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["ParquetTable", "check_there", "id_candidates", "id_texts", "read_parquet"]

_NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*")


class ParquetTable(NamedTuple):
    """Features of a parquet file."""

    values: NDArray[Any]
    """Features of shape (N, D), in the dtype of the file."""
    ids: tuple[str, ...] | None
    """Row identifiers of length N, blank if missing; None if the table has none."""
    names: tuple[str, ...]
    """Names of the D feature columns."""


def read_parquet(
    path: Path, stream: BinaryIO, id_column: str | None = None, *, required: bool = True
) -> ParquetTable:
    """Read a table of features from `stream`; errors name `path`.

    The identifiers are the first of these that exists: the requested column or index; the index, if
    it has a name; the only non-numeric column; a column of integers whose name is one of
    identifiers (``id``, ``image_id``, ``index``, ...); an index without a name other than 0, 1, 2,
    ... It is not a feature.

    Raises
    ------
    InputError
        If pyarrow is missing, the file is unreadable or would unpack to more than the limit, the
        index has several levels, several columns are not numeric, a column of text contains
        numbers, or `id_column` is missing and `required`.
    """
    import pandas as pd  # noqa: PLC0415 (a second to import, needed for parquet only)

    try:
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415 (optional)

        known = ParquetFile(stream).metadata
        packed = stream.seek(0, os.SEEK_END)
        check_expansion(path, packed, 8 * known.num_rows * known.num_columns)
        stream.seek(0)
        table = pd.read_parquet(stream)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            path, "reading parquet needs pyarrow; install it with pip install 'proxmtl[parquet]'."
        ) from error
    except Exception as error:
        # pyarrow has its own tree of exceptions and is imported by pandas only here.
        raise InputError(path, f"not a readable parquet file ({first_line(error)}).") from error
    try:
        if required and id_column is not None:
            check_there(path, table, id_column)
        candidates = id_candidates(path, table, id_column)
        ids = next((id_texts(values) for values in candidates.values()), None)
    except UnicodeDecodeError as error:  # text is looked at when it is asked for
        raise InputError(
            path, f"its row identifiers are not text in UTF-8 ({error}); write them again."
        ) from error
    columns = [name for name in candidates if name in table.columns]
    numbers = table.drop(columns=columns)
    values = numbers.to_numpy()
    if values.dtype == object:  # of pandas' own types, which may have missing entries
        values = numbers.to_numpy(np.float64, na_value=np.nan)
    return ParquetTable(values, ids, tuple(map(str, numbers.columns)))


def id_candidates(
    path: Path, table: pd.DataFrame, id_column: str | None
) -> dict[Any, pd.Series | pd.Index]:
    """Candidates for row identifiers by name, the best first; None: an index without a name."""
    from pandas.api.types import is_numeric_dtype  # noqa: PLC0415

    index = table.index
    if index.nlevels > 1:
        raise InputError(
            path,
            f"its index has {index.nlevels} levels, and a row has one identifier; join the levels "
            "into one, for example table.index = table.index.map('/'.join).",
        )
    texts = [name for name in table.columns if not is_numeric_dtype(table[name])]
    found: dict[Any, pd.Series | pd.Index] = {}
    if id_column is not None and id_column in table.columns:
        found[id_column] = table[id_column]
    if index.name is not None:
        found[index.name] = index
    _check_texts(path, table, [name for name in texts if name not in found])
    found |= {name: table[name] for name in texts}
    found |= {
        name: table[name]
        for name in table.columns
        if is_id_header(str(name)) and str(name).strip() and _whole(table[name])
    }
    if index.name is None and not _counts(index):
        found[None] = index
    if id_column is not None and id_column in found:
        found = {id_column: found[id_column], **found}
    left = [repr(name) for name in list(found)[1:] if name is not None]
    if left:
        warn(
            f"{path}: {', '.join(left)} may identify rows too, and is no feature; the rows are "
            f"identified by {next(iter(found))!r}, or say another --id-column.",
        )
    return found


def check_there(path: Path, table: pd.DataFrame, id_column: str) -> None:
    """Raise `InputError` unless a table has a column or an index of that name."""
    names = [str(name) for name in [*table.index.names, *table.columns] if name is not None]
    if id_column not in names:
        raise InputError(
            path,
            f"there is no column or index {id_column!r} for the row identifiers; there are "
            f"{', '.join(map(repr, names[:20]))}{', ...' if names[20:] else ''}.",
        )


def _check_texts(path: Path, table: pd.DataFrame, texts: list[Any]) -> None:
    fractions = [
        name for name in texts if not is_id_header(str(name)) and _holds_fractions(table[name])
    ]
    if fractions:
        column = str(fractions[0])
        example = next(text for text in table[fractions[0]] if isinstance(text, str))
        also = f", and {len(fractions) - 1} more," if fractions[1:] else ""
        raise InputError(
            path,
            f"column {column!r}{also} holds numbers as text ({example!r}), which are neither "
            "features nor identifiers so; read the table that it was made of again, with "
            "pandas.read_csv(..., decimal=',') where numbers have a decimal comma. If it does hold "
            f"identifiers, say --id-column {column!r} (in Python id_column=).",
        )
    if len(texts) > 1:
        raise InputError(
            path,
            f"columns {', '.join(repr(str(name)) for name in texts)} are not numbers; one such "
            "column may hold the row identifiers, so drop or encode the others.",
        )
    for name in texts:
        first = table[name].iloc[0] if len(table) else None
        if hasattr(first, "__len__") and not isinstance(first, (str, bytes)):
            raise InputError(
                path,
                f"column {str(name)!r} holds a list in each row; features are one column each: "
                f"pandas.DataFrame(table[{str(name)!r}].tolist(), index=table.index).",
            )


def _holds_fractions(column: pd.Series) -> bool:
    """Whether a column of text contains only numbers, not all of them integers."""
    texts = [text for text in column.dropna() if not isinstance(text, str) or text.strip()]
    if not texts or not all(isinstance(text, str) and _NUMBER.fullmatch(text) for text in texts):
        return False
    return any(not text.strip().lstrip("+-").isdecimal() for text in texts)


def _whole(column: pd.Series) -> bool:
    """Whether a column contains integers, possibly as floats if some are missing."""
    kind = getattr(column.dtype, "kind", "O")
    present = column.dropna()
    return kind in "iu" or (kind == "f" and bool((present % 1 == 0).all()))


def _counts(index: pd.Index) -> bool:
    """Whether an index is the default one of pandas, 0, 1, 2, ..."""
    return getattr(index.dtype, "kind", "O") in "iu" and index.tolist() == list(range(len(index)))


def id_texts(values: pd.Series | pd.Index) -> tuple[str, ...]:
    """Convert identifiers to text: integral floats as integers, missing ones as blank."""
    missing = values.isna()
    return tuple(
        "" if lacking else _text(value) for value, lacking in zip(values, missing, strict=True)
    )


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
