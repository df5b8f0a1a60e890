"""Hashes of objects and samples, to recognise a saved computation and a model's training rows."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from proxmtl.io.array_files import read_npy
from proxmtl.io.atomic import atomic_path
from proxmtl.io.errors import InputError
from proxmtl.io.seal import read_manifest
from proxmtl.naming import name_key

__all__ = [
    "fingerprint",
    "fitted_rows",
    "name_fingerprints",
    "recognised",
    "recognised_among",
    "row_fingerprints",
    "write_fitted_rows",
]

FITTED_ROWS_FILE = "fitted_rows.npy"
PROJECTIONS = 8
KEPT = np.dtype([("mark", "<u8"), ("sketch", "<f4", (1 + PROJECTIONS,))])
"""A hash of a sample, or of its name with a sketch of the sample (NaN for a sample's hash)."""
ENTRY = np.dtype([("column", "<i8"), ("value", "<f8")])
"""An entry of a sparse sample."""
SAME = 0.05
"""Maximum difference of sketches of the same sample, over its norm, e.g. if made in bfloat16."""


def fingerprint(thing: Any) -> str:
    """SHA-256 of the full contents of an object: dataclass fields, arrays, estimator parameters.

    Unlike ``repr``, it omits nothing (members of groups, the middle of long arrays).
    """
    digest = hashlib.sha256()
    for piece in _pieces(thing):
        digest.update(piece)
        digest.update(b"|")
    return digest.hexdigest()


def _arrays_of(thing: Any) -> list[NDArray[Any]] | None:
    """Arrays that make up an array or a sparse matrix of numbers; None for other objects."""
    if isinstance(thing, Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        return [thing]
    if sparse.issparse(thing):
        table = thing.tocsr()
        return [np.array(table.shape), table.indptr, table.indices, table.data]
    return None


def _pieces(thing: Any) -> Iterator[bytes | memoryview]:
    arrays = _arrays_of(thing)
    if arrays is not None:
        for array in arrays:
            yield f"{array.dtype} {array.shape}".encode()
            yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data  # no copy
    elif hasattr(thing, "get_params") and not isinstance(thing, type):
        # a scikit-learn estimator counts by its parameters, not by its fitted attributes
        yield type(thing).__qualname__.encode()
        yield from _pieces(thing.get_params(deep=False))
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        yield type(thing).__qualname__.encode()
        for field in dataclasses.fields(thing):
            if field.init:
                yield field.name.encode()
                yield from _pieces(getattr(thing, field.name))
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield repr(key).encode()
            yield from _pieces(value)
    elif isinstance(thing, (list, tuple)):
        yield f"{type(thing).__name__} {len(thing)}".encode()
        for value in thing:
            yield from _pieces(value)
    elif _is_known_by_parts(thing):
        yield type(thing).__qualname__.encode()
        yield from _pieces(vars(thing))
    else:
        yield repr(thing).encode()


def _is_known_by_parts(thing: Any) -> bool:
    """Whether the repr of an object is its address, or a summary (`proxmtl.shown.Shown`)."""
    kind = type(thing)
    summed = hasattr(kind, "_SHOWN") or getattr(kind, "__repr__", None) is object.__repr__
    return summed and hasattr(thing, "__dict__")


def _rows(samples: Any) -> Iterator[NDArray[Any]]:
    """Yield the samples; those of a sparse matrix as records of their non-zero entries."""
    if not sparse.issparse(samples):
        yield from samples
        return
    table = samples.tocsr().sorted_indices()
    for start, end in itertools.pairwise(table.indptr.tolist()):
        row = np.empty(end - start, ENTRY)
        row["column"], row["value"] = table.indices[start:end], table.data[start:end]
        yield row[row["value"] != 0]


def row_fingerprints(samples: Any) -> NDArray[np.uint64]:
    """64-bit hash of each sample (row), to recognise those on which a model was fitted.

    Floating-point numbers count by value: float32 and float64 numbers of the same value are equal,
    as are both zeros. Features recomputed from the same image may differ in the last digits, for
    instance with another batch size; use `name_fingerprints` for these. ``samples`` is a sparse
    matrix, whose hashes differ from those of dense rows, or an iterable of samples.
    """
    rows = (
        row.astype(np.float64) + 0.0 if row.dtype.kind == "f" else row for row in _rows(samples)
    )
    digests = (
        hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=8).digest() for row in rows
    )
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def name_fingerprints(names: Iterable[str]) -> NDArray[np.uint64]:
    """64-bit hash of each sample's name, in the normal form in which names are compared."""
    texts = (f"name {name_key(name)}".encode(errors="surrogateescape") for name in names)
    return row_fingerprints(np.frombuffer(text, np.uint8) for text in texts)


def write_fitted_rows(folder: Path, samples: Any, names: Sequence[str] | None = None) -> None:
    """Write the fingerprints of a model's training samples into its run folder.

    Parameters
    ----------
    folder
        The run folder.
    samples
        N samples, as for `row_fingerprints`.
    names
        The N names of the samples, if they have any.
    """
    n_features = samples.shape[1] if sparse.issparse(samples) else None
    marks: list[NDArray[np.uint64]] = []
    sketches = []
    for row in _rows(samples):  # one by one: the samples may be larger than memory
        marks.append(row_fingerprints([row]))
        if names is not None:
            sketches.append(_sketch(row, n_features))
    named = name_fingerprints(names or ())
    kept = np.zeros(len(marks) + len(named), KEPT)
    kept["mark"], kept["sketch"] = np.concatenate([*marks, named]), np.nan
    if names is not None:
        kept["sketch"][len(marks) :] = sketches
    with atomic_path(folder / FITTED_ROWS_FILE) as temporary:
        np.save(temporary, kept, allow_pickle=False)


def recognised(folder: Path, samples: Any, names: Sequence[str] | None = None) -> NDArray[np.bool_]:
    """Mask of the samples, of N, on which the model of a run folder was fitted.

    A sample is recognised by its content, or by its name if its content is similar, too, since
    other images may have the same names.

    Raises
    ------
    InputError
        As `fitted_rows` does.
    """
    return recognised_among(fitted_rows(folder), samples, names)


def recognised_among(
    kept: NDArray[Any], samples: Any, names: Sequence[str] | None = None
) -> NDArray[np.bool_]:
    """Mask of the samples that are among those of :func:`fitted_rows`, as `recognised`."""
    n_features = samples.shape[1] if sparse.issparse(samples) else None
    rows = list(_rows(samples)) if n_features is not None else samples
    found: NDArray[np.bool_] = np.isin(row_fingerprints(rows), kept["mark"])
    place = {mark: i for i, mark in enumerate(kept["mark"].tolist())}
    for i, mark in enumerate(name_fingerprints(names or ()).tolist()):
        if mark in place and not found[i]:
            sketch = kept["sketch"][place[mark]].astype(np.float64)
            far = np.abs(_sketch(rows[i], n_features) - sketch).max() > SAME * sketch[0]
            found[i] = not far  # without a sketch (NaN) the name decides
    return found


def _sketch(sample: NDArray[Any], n_features: int | None = None) -> NDArray[np.float64]:
    """Sketch of a sample: its norm, and its products with fixed vectors of random signs.

    ``n_features`` is required for a sample given as records of its entries.
    """
    if n_features is not None:
        x = sample["value"]
        return np.concatenate([[np.linalg.norm(x)], x @ _signs(n_features)[sample["column"]]])
    x = sample.astype(np.float64).ravel()
    return np.concatenate([[np.linalg.norm(x)], x @ _signs(len(x))])


@functools.lru_cache(maxsize=1)  # samples of one table have one size
def _signs(n: int) -> NDArray[np.float64]:
    """Return the vectors of signs for samples of n numbers, (n, PROJECTIONS), read-only."""
    bits = np.frombuffer(hashlib.shake_256(b"signs").digest(n), np.uint8)
    signs = 2 * np.unpackbits(bits).astype(np.float64).reshape(n, PROJECTIONS) - 1
    signs.flags.writeable = False
    return signs


def fitted_rows(folder: Path) -> NDArray[Any]:
    """Read the fingerprints of `write_fitted_rows` as an array of `KEPT`; empty if there are none.

    Raises
    ------
    InputError
        If the file is damaged, or the folder's manifest is.
    """
    manifest = read_manifest(folder)
    if FITTED_ROWS_FILE not in manifest.entries:
        return np.zeros(0, KEPT)
    content = io.BytesIO(manifest.read(FITTED_ROWS_FILE))
    found = read_npy(folder / FITTED_ROWS_FILE, content, KEPT)
    if found.ndim != 1 or found.dtype != KEPT:
        raise InputError(
            folder / FITTED_ROWS_FILE,
            "holds something else than fingerprints; fit the model again.",
        )
    return found
