"""Rows of features that are read when they are asked for: joined, selected, mapped.

A source has the shape, the dtype and the slices of a matrix, and reads consecutive rows into memory
that is there. Sources compose, and nothing is read before a slice is asked for::

    rows = JoinedRows([first, second])            # end to end
    some = rows.take(np.arange(0, len(rows), 2))  # some of them
    block = some[100:200]
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from proxmtl.ranks import ALONE, Ranks

__all__ = [
    "MEMORY",
    "FeatureRows",
    "JoinedRows",
    "MappedRows",
    "RowSource",
    "SelectedRows",
    "as_rows",
    "held",
    "held_type",
    "is_rows",
    "rows_of",
]

MEMORY = 1 << 28
"""Bytes that a pass may take for features where nothing else is said: 256 MiB."""
CHUNK = 1 << 18
"""Entries that are selected or mapped at a time, beside the rows that were asked for."""
GAP = 1 << 16
"""Bytes between two selected rows that are read rather than skipped."""
COPIES = 3
"""Blocks in memory at a time: one in use, one that is read, and what a source makes of it."""

Array = NDArray[Any]


class RowSource(Protocol):
    """What gives rows of features: an array, a memory map, or a file (:func:`open_shards`).

    A source may have a method ``read_into(first, out)``, which reads ``len(out)`` rows from row
    ``first`` on into an array; else a slice of it is copied.
    """

    shape: Any
    dtype: Any

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


class FeatureRows(ABC):
    """Base of matrices (N, D) of features whose rows are read when they are asked for.

    A number, a slice, an index array or a mask of rows gives an array, which is read; :meth:`take`
    gives a source of some of the rows, and reads nothing. Sources hold no open file and can be
    pickled.

    Attributes
    ----------
    shape : tuple of int
        (N, D).
    dtype : numpy.dtype
        Type of the numbers as they are given.
    memory : int
        Bytes that a pass may take for features.
    ranks : Ranks
        Processes that share the rows (:meth:`among`).
    by_tasks : bool
        Whether each of these has all rows, and the labels of some of the tasks.
    """

    ndim = 2
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    memory: int = MEMORY
    ranks: Ranks = ALONE
    by_tasks: bool = False

    @abstractmethod
    def read_into(self, first: int, out: Array) -> None:
        """Read consecutive rows into memory that is there.

        Parameters
        ----------
        first : int
            Number of the first row.
        out : ndarray, shape (n, D)
            Contiguous, of the type of the source.
        """

    def place(self, row: int) -> str:
        """Where a row is, for messages: its file, and its number there."""
        return f"row {row}"

    def take(self, rows: Any) -> FeatureRows:
        """Return a source of some rows, given by a slice, an index array or a mask."""
        return SelectedRows(self, _indices(rows, len(self)))

    def among(self, ranks: Ranks, *, by_tasks: bool = False) -> Self:
        """Return the same rows, shared by processes that fit an estimator to them together.

        Each process is given all labels and reads the features of :attr:`own_rows`; or, with
        ``by_tasks``, those of all rows for the labels of some of the tasks.
        """
        other = copy.copy(self)
        other.ranks, other.by_tasks = ranks, by_tasks
        return other

    @property
    def own_rows(self) -> slice:
        """Rows that this process reads: as many as each of the others, give or take one."""
        n, ranks = len(self), self.ranks
        return slice(n * ranks.rank // ranks.size, n * (ranks.rank + 1) // ranks.size)

    @property
    def own(self) -> FeatureRows:
        """Source of :attr:`own_rows` alone."""
        return self if self.ranks is ALONE else self.take(self.own_rows).among(ALONE)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        if isinstance(rows, (int, np.integer)):
            row: Array = self.take([range(len(self))[rows]])[:][0]
            return row
        if not isinstance(rows, slice):
            return self.take(rows)[:]
        first, last, step = rows.indices(len(self))
        if step != 1:
            return self.take(rows)[:]
        found = np.empty((max(0, last - first), self.shape[1]), self.dtype)
        self.read_into(first, found)
        return found

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield all rows in blocks, as large as :attr:`memory` has room for.

        Raises
        ------
        ValueError
            At the first value that is not finite, with its file, row and column.
        """
        size = max(1, self.memory // (COPIES * self.shape[1] * self.dtype.itemsize))
        for first in range(0, len(self), size):
            rows = slice(first, min(first + size, len(self)))
            block = self[rows]
            bad = ~np.isfinite(block)
            if bad.any():
                row, column = (int(i) for i in np.argwhere(bad)[0])
                raise ValueError(
                    f"X: not finite ({block[row, column]} in {self.place(first + row)}, "
                    f"feature column {column}, counted from 0); drop or impute such samples."
                )
            yield rows, block

    def __iter__(self) -> Iterator[Array]:
        for _, block in self.blocks():
            yield from block

    def check_finite(self) -> None:
        """Read all rows; raise ``ValueError`` as :meth:`blocks`."""
        for _ in self.blocks():
            pass


class JoinedRows(FeatureRows):
    """The rows of several matrices of one width and type, end to end.

    Parameters
    ----------
    parts : sequence
        Arrays, memory maps or other sources.
    memory : int
        Bytes that a pass may take for features.

    Raises
    ------
    ValueError
        If there is no part, or the parts differ in width or type.
    """

    def __init__(self, parts: Sequence[RowSource], *, memory: int = MEMORY) -> None:
        self.parts, self.memory = list(parts), memory
        if not self.parts:
            raise ValueError("X: no part; give a matrix, or the parts of one.")
        for part in self.parts:
            if not isinstance(part.dtype, np.dtype):
                raise ValueError(
                    f"X: has type {part.dtype}; give float16, float32 or float64 of NumPy."
                )
        kinds = {(tuple(part.shape[1:]), part.dtype) for part in self.parts}
        if len(kinds) != 1 or any(len(part.shape) != 2 or 0 in part.shape for part in self.parts):
            seen = [(tuple(part.shape), str(part.dtype)) for part in self.parts][:4]
            raise ValueError(
                f"X: expected matrices (samples, features) of one width and one type, saw {seen}."
            )
        ((width,), self.dtype) = kinds.pop()
        self._starts = np.cumsum([0, *(len(part) for part in self.parts)])
        self.shape = (int(self._starts[-1]), int(width))

    def read_into(self, first: int, out: Array) -> None:
        done, number = 0, self._part(first)
        while done < len(out):
            part, start = self.parts[number], first + done - int(self._starts[number])
            piece = out[done : done + len(part) - start]
            if hasattr(part, "read_into"):
                part.read_into(start, piece)
            else:
                np.copyto(piece, part[start : start + len(piece)])
            done, number = done + len(piece), number + 1

    def _part(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def place(self, row: int) -> str:
        number = self._part(row)
        own = row - int(self._starts[number])
        part = self.parts[number]
        if isinstance(part, FeatureRows):
            return part.place(own)
        return f"row {row}" if len(self.parts) == 1 else f"row {own} of part {number}"


class SelectedRows(FeatureRows):
    """Some rows of another source, in any order, by their indices.

    Rows that lie close together are read at once, with what lies between them.

    Parameters
    ----------
    source : FeatureRows
    index : ndarray of int, shape (n,)
        From 0 on.

    Raises
    ------
    IndexError
        If an index is not that of a row.
    """

    def __init__(self, source: FeatureRows, index: NDArray[np.intp]) -> None:
        if len(index) and not (index.min() >= 0 and index.max() < len(source)):
            raise IndexError(
                f"rows: got indices from {index.min()} to {index.max()}, of {len(source)} rows."
            )
        self.source, self._index = source, index
        self.shape, self.dtype = (len(index), source.shape[1]), source.dtype
        self.memory, self.ranks, self.by_tasks = source.memory, source.ranks, source.by_tasks

    def take(self, rows: Any) -> FeatureRows:
        kept = self._index[_indices(rows, len(self))]
        return SelectedRows(self.source, kept).among(self.ranks, by_tasks=self.by_tasks)

    def place(self, row: int) -> str:
        return self.source.place(int(self._index[row]))

    def read_into(self, first: int, out: Array) -> None:
        wanted = self._index[first : first + len(out)]
        if len(wanted) and (np.diff(wanted) == 1).all():
            self.source.read_into(int(wanted[0]), out)
            return
        order = np.argsort(wanted, kind="stable")
        rows, width = wanted[order], self.shape[1]
        most = max(1, CHUNK // width)
        near = max(1, GAP // (width * self.dtype.itemsize))
        buffer = np.empty((most, width), self.dtype)
        start = 0
        while start < len(rows):
            stop = int(np.searchsorted(rows, rows[start] + most))
            gaps = np.flatnonzero(np.diff(rows[start:stop]) > near)
            stop = start + int(gaps[0]) + 1 if len(gaps) else stop
            own = rows[start:stop] - rows[start]
            block = buffer[: own[-1] + 1]
            self.source.read_into(int(rows[start]), block)
            out[order[start:stop]] = block[own]
            start = stop


class MappedRows(FeatureRows):
    """Rows of another source, each block converted by a function that takes row by row.

    Parameters
    ----------
    source : FeatureRows
    function : callable
        Maps rows (n, D') of the source to rows (n, D), and those of ``beside`` if there are some.
    dtype
        Type of the converted rows.
    width : int, optional
        D; default: that of the source.
    beside : ndarray, shape (N, ...), optional
        What the function needs for each row, such as its scale.
    """

    def __init__(
        self,
        source: FeatureRows,
        function: Callable[..., Array],
        *,
        dtype: DTypeLike,
        width: int | None = None,
        beside: Array | None = None,
    ) -> None:
        self.source, self.function, self.beside = source, function, beside
        self.dtype, self.memory = np.dtype(dtype), source.memory
        self.ranks, self.by_tasks = source.ranks, source.by_tasks
        self.shape = (len(source), source.shape[1] if width is None else width)

    def take(self, rows: Any) -> FeatureRows:
        index = _indices(rows, len(self))
        return MappedRows(
            self.source.take(index),
            self.function,
            dtype=self.dtype,
            width=self.shape[1],
            beside=None if self.beside is None else self.beside[index],
        ).among(self.ranks, by_tasks=self.by_tasks)

    def place(self, row: int) -> str:
        return self.source.place(row)

    def read_into(self, first: int, out: Array) -> None:
        size = max(1, CHUNK // max(self.source.shape[1], self.shape[1]))
        buffer = np.empty((min(size, len(out)), self.source.shape[1]), self.source.dtype)
        for start in range(0, len(out), size):
            piece = out[start : start + size]
            block = buffer[: len(piece)]
            self.source.read_into(first + start, block)
            here = slice(first + start, first + start + len(piece))
            beside = () if self.beside is None else (self.beside[here],)
            np.copyto(piece, self.function(block, *beside))


def is_rows(X: Any) -> bool:
    """Whether features are rows to be read, or a list of such, and not arrays."""
    first = X[0] if isinstance(X, (list, tuple)) and len(X) else X
    return hasattr(first, "read_into")


def as_rows(X: Any) -> FeatureRows:
    """Return rows to be read, or a list of such parts, as one source."""
    if isinstance(X, FeatureRows):
        return X
    return JoinedRows(X if isinstance(X, (list, tuple)) else [X])


def rows_of(X: Any, rows: Any) -> Any:
    """Some rows of features, given by a slice, an index array or a mask; of a source unread."""
    return X.take(rows) if isinstance(X, FeatureRows) else X[rows]


def held_type(rows: FeatureRows) -> np.dtype[Any]:
    """Type of the rows in memory: that of the source, at least float32."""
    return np.result_type(rows.dtype, np.float32)


def held(rows: FeatureRows) -> Array:
    """Read all rows into memory; raise ``ValueError`` at the first value that is not finite."""
    values = np.empty(rows.shape, held_type(rows))
    for part, block in rows.blocks():
        values[part] = block
    return values


def _indices(rows: Any, n: int) -> NDArray[np.intp]:
    """Indices of a slice, an index array or a mask of n rows."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n))
    index = np.asarray(rows)
    if index.dtype == bool:
        if index.shape != (n,):
            raise IndexError(f"rows: a mask of shape {index.shape} for {n} rows.")
        return np.flatnonzero(index)
    return index.astype(np.intp, copy=False)
