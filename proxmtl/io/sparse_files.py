"""Sparse matrices as ``scipy.sparse.save_npz`` writes them: the arrays of an npz archive."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from proxmtl.io.array_files import check_expansion
from proxmtl.io.errors import InputError

__all__ = ["as_csr", "sparse_members"]

Array = NDArray[Any]
_MARKS = {"format", "shape", "data"}
_PLACES = {
    "csr": ("indices", "indptr"),
    "csc": ("indices", "indptr"),
    "coo": ("row", "col"),
}
"""Formats that are read, and the arrays that say where their entries lie."""


def sparse_members(shapes: Mapping[str, object]) -> list[str] | None:
    """Names of the arrays of a sparse matrix, where an archive holds one; else None.

    Parameters
    ----------
    shapes
        What the archive holds, by name.
    """
    if not set(shapes) >= _MARKS:
        return None
    places = {name for pair in _PLACES.values() for name in pair}
    return [name for name in shapes if name in _MARKS | places]


def as_csr(path: Path, arrays: Mapping[str, Array], size: int) -> Any:
    """Put a sparse matrix together, as a CSR array.

    Parameters
    ----------
    path
        For messages.
    arrays
        Those of `sparse_members`.
    size
        Bytes of the file.

    Raises
    ------
    InputError
        If they are of another format, do not fit together, or ask for far more memory than the file
        has bytes.
    """
    kind = arrays["format"]
    name = kind.item() if kind.ndim == 0 else kind
    name = name.decode("ascii", "replace") if isinstance(name, bytes) else name
    if not isinstance(name, str) or name not in _PLACES:
        raise InputError(
            path,
            f"a sparse matrix of format {str(name)[:20]!r}; save it as CSR: "
            "scipy.sparse.save_npz('x.npz', X.tocsr()).",
        )
    lacking = [part for part in _PLACES[name] if part not in arrays]
    if lacking:
        raise _broken(path, f"a sparse matrix of format {name} without its array {lacking[0]!r}")
    first, second = (arrays[part] for part in _PLACES[name])
    data = arrays["data"]
    for part, each in zip((*_PLACES[name], "data"), (first, second, data), strict=True):
        if each.ndim != 1 or (part != "data" and each.dtype.kind not in "iu"):
            raise _broken(path, f"its {part!r} has shape {each.shape} and dtype {each.dtype}")
    rows, columns = _shape(path, arrays["shape"])
    # row pointers, and what a fit keeps of each feature
    check_expansion(path, size, 8 * (rows + columns + 1))
    if name == "coo":
        _check_places(path, first, rows, len(data))
        _check_places(path, second, columns, len(data))
        found = sparse.coo_array((data, (first, second)), shape=(rows, columns)).tocsr()
    else:
        n_major, n_minor = (rows, columns) if name == "csr" else (columns, rows)
        _check_places(path, first, n_minor, len(data))
        steps = second.astype(np.int64)
        if (
            len(steps) != n_major + 1
            or steps[0] != 0
            or steps[-1] != len(data)
            or (np.diff(steps) < 0).any()
        ):
            raise _broken(path, f"its 'indptr' does not divide {len(data)} entries into {n_major}")
        make = sparse.csr_array if name == "csr" else sparse.csc_array
        found = make((data, first.astype(np.int64), steps), shape=(rows, columns)).tocsr()
    found.sum_duplicates()
    return found


def _shape(path: Path, shape: Array) -> tuple[int, int]:
    try:
        rows, columns = (operator.index(number) for number in shape.tolist())
    except (TypeError, ValueError):
        rows = columns = -1
    if min(rows, columns) < 0:
        raise _broken(path, f"its 'shape' is {str(shape.tolist())[:60]}, no two whole numbers")
    return rows, columns


def _check_places(path: Path, places: Array, end: int, n_entries: int) -> None:
    if len(places) != n_entries:
        raise _broken(path, f"{n_entries} entries have {len(places)} places")
    if n_entries and not (places.min() >= 0 and places.max() < end):
        raise _broken(path, f"an entry lies outside its {end} rows or columns")


def _broken(path: Path, what: str) -> InputError:
    return InputError(path, f"{what}; save it again, by scipy.sparse.save_npz('x.npz', X.tocsr()).")
