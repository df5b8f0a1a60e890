"""Labels of a sparse matrix in an npz file, as ``scipy.sparse.save_npz`` writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from scipy.sparse import csr_array

from proxmtl.io.array_files import check_expansion, read_npz
from proxmtl.io.beside import ids_beside
from proxmtl.io.errors import InputError
from proxmtl.io.sparse_files import as_csr, sparse_members
from proxmtl.machine import check_memory
from proxmtl.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["dense_labels", "read_sparse_labels"]

LABEL_BYTES = 24
"""What a label takes in any command: as it was read, as a sign and with its score, in float64."""


def read_sparse_labels(
    path: Path, column: str | None = None, *, sparse: bool = False
) -> tuple[NDArray[np.float64] | csr_array, tuple[str, ...], tuple[str, ...] | None]:
    """Read labels (N, M): 1 positive, 0 negative, NaN missing; their names, and those of the rows.

    Attributes are named by their numbers: ``task 0``, ``task 1``, ... Identifiers of the rows may
    lie in a file beside this one, as for features. If the matrix stores -1, then -1 and +1 are the
    labels and what is not stored is missing; if it stores 1 (or True) alone, what is not stored is
    negative. The result is dense, unless it is to be ``sparse`` and some are missing: then it has
    float64 -1 and +1 for those that are known.

    Parameters
    ----------
    path
        File that ``scipy.sparse.save_npz`` has written.
    column
        A column that was asked for, which such a file does not have.
    sparse
        Whether labels of which some are missing stay a sparse matrix.

    Raises
    ------
    InputError
        If there is no such file, or it is no sparse matrix, stores a zero or another number, or its
        labels, dense, take far more memory than the file has bytes, or more than is free.
    """
    if column is not None:
        raise InputError(
            path, f"an npz file has no column {column!r}; name identifiers in a file beside it."
        )
    if not path.is_file():
        raise InputError(path, "no such file; check the path to the labels.")
    with open_source(path) as (stream, _):
        table, size = _table(path, stream)
    values = table if sparse and bool((table.data < 0).any()) else dense_labels(path, table, size)
    names = tuple(f"task {number}" for number in range(values.shape[1]))
    return values, names, ids_beside(path, table.shape[0])


def _table(path: Path, stream: BinaryIO) -> tuple[csr_array, int]:
    """The matrix of a file, and the bytes of the file."""

    def choose(shapes: Mapping[str, object]) -> list[str]:
        members = sparse_members(shapes)
        if members is None:
            raise InputError(
                path,
                "labels in an npz file are a sparse matrix, written by scipy.sparse.save_npz; give "
                "others as CSV.",
            )
        return members

    arrays = read_npz(path, stream, choose)
    size = stream.seek(0, os.SEEK_END)
    table = as_csr(path, arrays, size)
    if 0 in table.shape or not table.nnz:
        raise InputError(path, f"a sparse matrix of shape {table.shape} without a label.")
    found = np.unique(table.data).tolist()
    if not set(found) <= {-1, 1}:
        raise InputError(
            path,
            f"stores {found[:4]} (entries that are there twice are added); store -1 and +1 for "
            "labels that are known, or 1 alone if all others are negative, and no zeros.",
        )
    return csr_array(table, dtype=np.float64), size


def dense_labels(path: Path, table: csr_array, size: int | None = None) -> NDArray[np.float64]:
    """Dense table (N, M), 1, 0 and NaN, of a sparse matrix of -1 and +1, or of 1 alone.

    Raises
    ------
    InputError
        If it takes far more memory than the file (of a path) has bytes (``size``), or more than is
        free.
    """
    n, n_tasks = table.shape
    if size is not None:
        check_expansion(path, size, 8 * n * n_tasks)
    try:
        check_memory(
            LABEL_BYTES * n * n_tasks,
            f"the {n:,} x {n_tasks:,} labels, of which {table.nnz:,} are stored, are a dense table "
            "here, and with their codes and scores they",
            "give fewer rows or tasks at a time; or store -1 and +1 for those that are known, "
            "which stay sparse in evaluate and in fit without a search",
        )
    except ValueError as error:
        raise InputError(path, str(error)) from None
    values = np.full((n, n_tasks), np.nan if bool((table.data < 0).any()) else 0.0)
    rows = np.repeat(np.arange(n), np.diff(table.indptr))
    values[rows, table.indices] = (table.data > 0).astype(np.float64)
    return values
