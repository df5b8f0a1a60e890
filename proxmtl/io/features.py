"""Feature matrices from npy, npz, safetensors and parquet files."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from scipy import sparse

from proxmtl.io.array_files import read_npy, read_npz
from proxmtl.io.beside import check_features, ids_beside, ids_sidecar
from proxmtl.io.errors import InputError
from proxmtl.io.parquet import read_parquet
from proxmtl.io.row_files import pick
from proxmtl.io.rows import Rows
from proxmtl.io.seal import Entry
from proxmtl.io.shards import open_shards
from proxmtl.io.sparse_files import as_csr, sparse_members
from proxmtl.io.suffixes import FEATURE_SUFFIXES, check_features_path
from proxmtl.naming import NameIndex
from proxmtl.row_sources import MEMORY, FeatureRows, MappedRows
from proxmtl.sources import note_source, open_source
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FEATURE_SUFFIXES", "Features", "load_features", "read_features"]

Array = NDArray[Any]


class Features(NamedTuple):
    """A feature matrix, with row identifiers and feature names if the file has them."""

    values: Any
    """Features of shape (N, D): an array of float32 or float64, a sparse CSR array of SciPy, or
    `proxmtl.io.Shards`, which are read when they are used."""
    ids: tuple[str, ...] | None
    """Row identifiers of length N, from an index or column of a parquet file or from the file
    `ids_sidecar`; None if there are none."""
    names: tuple[str, ...] | None
    """Feature names of length D (parquet only); None if the file has none."""

    def rows(self, source: Path) -> Rows:
        """Describe the rows for `proxmtl.io.join_rows`."""
        return Rows(source, "features", self.values.shape[0], self.ids)

    def in_order(self, names: Sequence[str], source: Path) -> Features:
        """Return the features with their columns in the order of `names`.

        Features without names are returned as they are; their position identifies them.

        Raises
        ------
        InputError
            If a name has no column, or a column is not among the names.
        """
        if self.names is None or self.names == tuple(names):
            return self
        index = NameIndex(names)
        column: dict[int, int] = {}
        unknown = []
        for number, name in enumerate(self.names):
            place = index.place(name)
            if place is None or place in column:
                unknown.append(name)
            else:
                column[place] = number
        missing = [name for place, name in enumerate(names) if place not in column]
        if missing:
            other = f", and {unknown[0]!r} is none of them" if unknown else ""
            raise InputError(
                source,
                f"no column for {len(missing)} of the model's {counted(len(names), 'feature')}, "
                f"the first is {missing[0]!r}{other}; give the columns that the model was fitted "
                f"on, or {NameIndex(unknown).advice(missing[0])}",
            )
        if unknown:
            raise InputError(
                source,
                f"{len(unknown)} of its {counted(len(self.names), 'column')} "
                f"{agree(len(unknown), 'is no feature', 'are no features')} of the model, the "
                f"first is {unknown[0]!r}; leave out of the file what the model was not fitted on.",
            )
        order = [column[place] for place in range(len(names))]
        return Features(_columns(self.values, order), self.ids, tuple(names))


def _columns(values: Any, order: list[int]) -> Any:
    """Columns of features in another order; those of rows that are not read yet, when they are."""
    if isinstance(values, FeatureRows):
        return MappedRows(values, partial(np.take, indices=order, axis=1), dtype=values.dtype)
    return values[:, order]


def read_features(path: str | Path, key: str | None = None) -> Any:
    """Read a feature matrix.

    Parameters
    ----------
    path
        A ``.npy``, ``.npz``, ``.safetensors`` or ``.parquet`` file. An ``.npz`` file may hold a
        sparse matrix, written by ``scipy.sparse.save_npz``.
    key
        Name of the array, for a file that holds several (npz, safetensors).

    Returns
    -------
    numpy.ndarray or scipy.sparse.csr_array
        Features of shape (N, D), sparse if those of the file are. float32 and float64 are kept;
        float16 and bfloat16 become float32, integers of more than 8 bits the float type that
        represents them exactly.

    Raises
    ------
    InputError
        If the file is missing, unreadable, holds several arrays and `key` is not given, or if the
        array is not a finite floating-point matrix.
    """
    return load_features(path, key).values


def load_features(
    path: str | Path,
    key: str | None = None,
    *,
    id_column: str | None = None,
    id_column_required: bool = True,
    memory: int | None = None,
) -> Features:
    """Read a feature matrix with its row identifiers and feature names, if the file has them.

    Parameters
    ----------
    path, key
        As for `read_features`; or a folder of shards, which is opened by `open_shards` and read
        when it is used.
    id_column
        For a parquet file: the column, or the name of the index, of row identifiers. Default: see
        `proxmtl.io.parquet.read_parquet`.
    id_column_required
        Whether to raise if there is no such column. False if it may be a column of the labels.
    memory
        Bytes that a pass may take for features. A file is then opened as a folder of one shard;
        without it a file is read into memory, and a folder is given 256 MiB.

    Returns
    -------
    Features
        Blank and repeated identifiers are allowed; they raise if rows are matched by them.

    Raises
    ------
    InputError
        As for `read_features`.
    """
    path = Path(path)
    check_features_path(path)
    suffix = path.suffix.lower()
    if path.is_dir() or (memory is not None and path.is_file()):
        shards = open_shards(
            path,
            key=key,
            id_column=id_column,
            id_column_required=id_column_required,
            memory=MEMORY if memory is None else memory,
        )
        note_source(shards.fingerprint())
        return Features(shards, shards.ids, shards.names)
    if suffix in {".npy", ".parquet"} and key is not None:
        raise InputError(path, f"a {path.suffix} file holds one table; leave out the key {key!r}.")
    if suffix != ".parquet" and id_column is not None and id_column_required:
        raise InputError(
            path,
            f"a {suffix} file has no columns of names; leave out --id-column (in Python "
            f"id_column=). Identifiers of its rows may lie in {ids_sidecar(path).name} beside it.",
        )
    with open_source(path) as (stream, source):
        check_features(path, Entry(source.bytes, source.sha256))
        if suffix == ".parquet":
            table = read_parquet(path, stream, id_column, required=id_column_required)
            found = Features(*table)
        else:
            found = _READERS[suffix](path, stream, key)
    values = _as_matrix(path, found.values)
    ids = ids_beside(path, values.shape[0]) if found.ids is None else found.ids
    return found._replace(values=values, ids=ids)


def _as_matrix(path: Path, values: Any) -> Any:
    if values.ndim == 3:
        raise InputError(
            path,
            f"the array has shape {values.shape}: features of {values.shape[0]} networks, as of a "
            "training run? Here one matrix is taken; save that of one network, for example "
            "numpy.save('one.npy', numpy.load('all.npy')[0]).",
        )
    if values.ndim != 2:
        raise InputError(
            path,
            f"features are a matrix of one row per sample, and the array has shape {values.shape}; "
            "reshape it to (samples, features).",
        )
    if 0 in values.shape:
        raise InputError(path, f"the feature matrix is empty: its shape is {values.shape}.")
    if sparse.issparse(values):
        values.data = _as_float(path, values.data)
        bad = np.flatnonzero(~np.isfinite(values.data))
        if len(bad):
            row = int(np.searchsorted(values.indptr, bad[0], side="right")) - 1
            raise _not_finite(path, len(bad), values, (row, int(values.indices[bad[0]])))
        return values
    matrix = _as_float(path, values)
    finite = np.isfinite(matrix)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        raise _not_finite(path, int((~finite).sum()), matrix, (row, column))
    return np.ascontiguousarray(matrix)


def _not_finite(path: Path, bad: int, matrix: Any, place: tuple[int, int]) -> InputError:
    (n, d), (row, column) = matrix.shape, place
    return InputError(
        path,
        f"{bad} of {n * d} features {agree(bad, 'is', 'are')} not finite, the first is "
        f"{matrix[row, column]} in row {row}, column {column} (counted from 0); "
        "fill these in or leave the rows out.",
    )


def _as_float(path: Path, values: Array) -> Array:
    kind, width = values.dtype.kind, values.dtype.itemsize
    if kind == "f" and width in {4, 8}:
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    if kind == "f" and width == 2:
        return values.astype(np.float32)
    if kind in "iu" and width == 1:
        raise InputError(
            path,
            f"the features are {values.dtype}, which usually means that they were quantised and a "
            "scale belongs to them; multiply by that scale and save float32, for example "
            "numpy.save('features.npy', codes.astype('float32') * scale).",
        )
    if kind == "b":
        return values.astype(np.float32)
    if kind in "iu":
        return values.astype(np.float32 if width == 2 else np.float64)
    raise InputError(
        path,
        f"features are numbers and the array has dtype {values.dtype}; "
        "save float16, float32 or float64.",
    )


def _read_npy(path: Path, stream: BinaryIO, key: str | None) -> Features:
    del key
    return Features(read_npy(path, stream), None, None)


def _read_npz(path: Path, stream: BinaryIO, key: str | None) -> Features:
    def choose(shapes: Mapping[str, object]) -> list[str]:
        members = None if key is not None else sparse_members(shapes)
        return [pick(path, shapes, key)] if members is None else members

    arrays = read_npz(path, stream, choose)
    if len(arrays) == 1:
        (values,) = arrays.values()
        return Features(values, None, None)
    return Features(as_csr(path, arrays, stream.seek(0, os.SEEK_END)), None, None)


def _read_safetensors(path: Path, stream: BinaryIO, key: str | None) -> Features:
    del stream  # the reader of safetensors opens the file itself
    try:
        # The torch reader rather than numpy's: numpy has no bfloat16.
        with safe_open(path, framework="pt") as archive:
            shapes = {name: tuple(archive.get_slice(name).get_shape()) for name in archive.keys()}  # noqa: SIM118 (not a dict)
            tensor: torch.Tensor = archive.get_tensor(pick(path, shapes, key))
            if tensor.dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2):
                tensor = tensor.to(torch.float32)
            values = tensor.numpy()
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        raise InputError(
            path, f"not a readable safetensors file of numbers ({error}); save it again."
        ) from error
    return Features(values, None, None)


_READERS: Mapping[str, Callable[[Path, BinaryIO, str | None], Features]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
