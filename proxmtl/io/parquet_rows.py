"""Rows of feature matrices that stay in parquet files, read a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxmtl.io.errors import InputError, first_line
from proxmtl.io.parquet import check_there, id_candidates, id_texts
from proxmtl.io.row_files import check_mark, mark_of, opened
from proxmtl.io.tables import is_id_header
from proxmtl.row_sources import FeatureRows

__all__ = ["ParquetRows"]

FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}
"""Types of Arrow by those of NumPy."""


class ParquetRows(FeatureRows):
    """Matrix (N, D) of the numeric columns of a parquet file, read a row group at a time.

    The last row group that was read stays in memory.

    Parameters
    ----------
    path : Path
    id_column : str, optional
        As for :func:`proxmtl.io.parquet.read_parquet`, which finds the same identifiers.
    required : bool
        Whether to raise if there is no such column.

    Attributes
    ----------
    ids : tuple of str or None
        Identifiers of the rows.
    names : tuple of str
        Names of the columns.
    held : int
        Bytes of the largest row group while it is read, as columns and as rows.

    Raises
    ------
    InputError
        If pyarrow is missing, the file can't be read, or its features are not of one
        floating-point type; and as ``read_parquet`` about identifiers.
    """

    def __init__(self, path: Path, id_column: str | None = None, *, required: bool = True) -> None:
        try:
            from pyarrow.parquet import ParquetFile  # noqa: PLC0415 (optional)
        except ImportError as error:
            raise InputError(
                path,
                "reading parquet needs pyarrow; install it with pip install 'proxmtl[parquet]'.",
            ) from error
        self.path = path
        with _readable(path), opened(path) as stream:
            self.mark = mark_of(stream)
            file = ParquetFile(stream)
            schema, known = file.schema_arrow, file.metadata
            sizes = [known.row_group(i).num_rows for i in range(known.num_row_groups)]
            self.ids, others = self._identified(schema, id_column, required=required)
            self.names = tuple(name for name in schema.names if name not in others)
            kinds = {name: str(schema.field(name).type) for name in self.names}
        self._check_kinds(kinds)
        self.dtype = np.dtype(FLOATS[next(iter(kinds.values()))])
        self._starts = np.cumsum([0, *sizes])
        self.shape = (int(self._starts[-1]), len(self.names))
        if self.shape[0] < 1 or min(sizes) < 0:
            raise InputError(path, "has no row; leave it out.")
        self.held = 2 * max(sizes) * self.shape[1] * self.dtype.itemsize
        self._held: tuple[int, NDArray[Any]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the row group out."""
        return {**vars(self), "_held": None}

    def _check_kinds(self, kinds: dict[str, str]) -> None:
        if not kinds:
            raise InputError(self.path, "has no column of features; save some.")
        odd = next((name for name, kind in kinds.items() if kind not in FLOATS), None)
        if odd is None and len(set(kinds.values())) == 1:
            return
        seen = f"holds {sorted(set(kinds.values()))}"
        if odd is not None:
            seen = f"holds {kinds[odd]} in column {odd!r}"
        raise InputError(
            self.path,
            f"{seen}; features that are read in parts are floats of one type: save those.",
        )

    def _identified(
        self, schema: Any, id_column: str | None, *, required: bool
    ) -> tuple[tuple[str, ...] | None, set[str]]:
        """Identifiers of the rows, and the columns that are no features.

        Only columns that may hold identifiers are read.
        """
        import pandas as pd  # noqa: PLC0415 - heavy

        plain = {*FLOATS, *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
        index = [
            i for i in (schema.pandas_metadata or {}).get("index_columns", ()) if i in schema.names
        ]
        asked = [
            field.name
            for field in schema
            if field.name not in index
            and (
                str(field.type) not in plain
                or field.name == id_column
                or (is_id_header(field.name) and field.name.strip())
            )
        ]
        table = pd.read_parquet(self.path, columns=asked)
        if required and id_column is not None:
            check_there(self.path, table, id_column)
        found = id_candidates(self.path, table, id_column)
        ids = next((id_texts(values) for values in found.values()), None)
        return ids, {*index, *(name for name in found if name in table.columns)}

    def place(self, row: int) -> str:
        return f"{self.path}, row {row}"

    def read_into(self, first: int, out: NDArray[Any]) -> None:
        done, group = 0, int(np.searchsorted(self._starts, first, side="right")) - 1
        while done < len(out):
            rows, start = self._group(group), first + done - int(self._starts[group])
            piece = out[done : done + len(rows) - start]
            np.copyto(piece, rows[start : start + len(piece)])
            done, group = done + len(piece), group + 1

    def _group(self, number: int) -> NDArray[Any]:
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415 (optional)

        held = self._held
        if held is not None and held[0] == number:
            return held[1]
        self._held = held = None  # room for the next
        with _readable(self.path), opened(self.path) as stream:
            check_mark(self.path, stream, self.mark)
            table = ParquetFile(stream).read_row_group(number, columns=list(self.names))
            rows = np.empty((table.num_rows, self.shape[1]), self.dtype)
            for column, name in enumerate(self.names):
                rows[:, column] = table.column(name).to_numpy()
        if len(rows) != self._starts[number + 1] - self._starts[number]:
            raise InputError(
                self.path, f"has {len(rows)} rows in a group, and says others; save it again."
            )
        self._held = number, rows
        return rows


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Convert exceptions of pyarrow and pandas, which are of many kinds, to `InputError`."""
    try:
        yield
    except (InputError, MemoryError, Warning):
        raise
    except UnicodeDecodeError as error:
        raise InputError(path, f"its texts are not UTF-8 ({error}); write it again.") from error
    except Exception as error:
        raise InputError(path, f"not a readable parquet file ({first_line(error)}).") from error
