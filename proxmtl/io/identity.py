"""What an object is made of, as one short hash: to tell whether a saved computation is the same."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["fingerprint"]


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
