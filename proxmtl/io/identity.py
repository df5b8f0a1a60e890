"""What an object is made of, as one short hash: to tell whether a saved computation is the same."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from proxmtl.io.atomic import atomic_path
from proxmtl.io.errors import InputError

__all__ = [
    "fingerprint",
    "fitted_rows",
    "name_fingerprints",
    "row_fingerprints",
    "write_fitted_rows",
]

FITTED_ROWS_FILE = "fitted_rows.npy"


def fingerprint(thing: Any) -> str:
    """SHA-256 of everything in an object: fields of dataclasses, arrays, parameters of estimators.

    ``repr`` leaves things out (members of groups, the middle of long arrays); this does not.
    """
    digest = hashlib.sha256()
    for piece in _pieces(thing):
        digest.update(piece + b"|")
    return digest.hexdigest()


def _pieces(thing: Any) -> Iterator[bytes]:
    if isinstance(thing, Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        yield f"{thing.dtype} {thing.shape}".encode()
        yield np.ascontiguousarray(thing).tobytes()
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
    elif hasattr(thing, "get_params"):  # an estimator of scikit-learn
        yield type(thing).__qualname__.encode()
        yield from _pieces(thing.get_params(deep=False))
    else:
        yield repr(thing).encode()


def row_fingerprints(samples: Iterable[NDArray[Any]]) -> NDArray[np.uint64]:
    """64 bits of a hash of each sample (row): to recognise those that a model was fitted on.

    Floating-point numbers count by their value: float32 and float64 of one value are the same, and
    both zeros. Features made again of the same image differ in their last digits, with another
    size of batches for example: `name_fingerprints` recognise them.
    """
    rows = (row.astype(np.float64) + 0.0 if row.dtype.kind == "f" else row for row in samples)
    digests = (
        hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=8).digest() for row in rows
    )
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def name_fingerprints(names: Iterable[str]) -> NDArray[np.uint64]:
    """64 bits of a hash of each sample's name."""
    return row_fingerprints(
        np.frombuffer(f"name {name}".encode(errors="surrogateescape"), np.uint8) for name in names
    )


def write_fitted_rows(
    folder: Path, samples: Iterable[NDArray[Any]], names: Sequence[str] | None = None
) -> None:
    """Keep the fingerprints of the samples that a model was fitted on, in its run folder.

    Parameters
    ----------
    folder
        The run folder.
    samples
        N samples.
    names
        Their N names, where they have some.
    """
    kept = np.concatenate([row_fingerprints(samples), name_fingerprints(names or ())])
    with atomic_path(folder / FITTED_ROWS_FILE) as temporary:
        np.save(temporary, kept, allow_pickle=False)


def fitted_rows(folder: Path) -> NDArray[np.uint64]:
    """Read what `write_fitted_rows` kept, of contents and names; a bare model has none.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = folder / FITTED_ROWS_FILE
    if not path.is_file():
        return np.zeros(0, dtype=np.uint64)
    try:
        found: NDArray[np.uint64] = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(path, f"can't be read ({error}); fit the model again.") from error
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype != np.uint64:
        raise InputError(path, "holds something else than fingerprints; fit the model again.")
    return found
