"""Damage to files: flipped bits, cuts, zeros, bytes too many; and who could have noticed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import tarfile
import tomllib
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy
from PIL import Image

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["DAMAGES", "still_valid"]


def _flip(content: bytes, rng: random.Random) -> bytes:
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _zero(content: bytes, rng: random.Random) -> bytes:
    begin = rng.randrange(len(content))
    end = min(len(content), begin + rng.choice((1, 16, 512, 4096)))
    return content[:begin] + bytes(end - begin) + content[end:]


def _append(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice((b"\0", b"\n", rng.randbytes(rng.randrange(1, 600)), bytes(512)))


def _empty(content: bytes, rng: random.Random) -> bytes:
    return b""


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flip": _flip,
    "cut": _cut,
    "zero": _zero,
    "append": _append,
    "empty": _empty,
}


def still_valid(path: Path) -> bool:
    """Whether a file of the user, damaged, is a whole file of its format that says something else.

    By readers that aren't the program's. What such a file says is taken as said: nothing in it
    tells that it once said something else.
    """
    with contextlib.suppress(Exception):
        return bool(_VALID[path.suffix](path))
    return False


def _npy(path: Path) -> bool:
    with path.open("rb") as stream:
        whole = np.lib.format.read_array(stream, allow_pickle=False)
        return whole.size > 0 and not stream.read(1)


def _npz(path: Path) -> bool:
    with np.load(path, allow_pickle=False) as archive:  # every member has a checksum
        return bool(archive.zip.testzip() is None and dict(archive))


def _table(path: Path) -> bool:
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8")), strict=True))
    return len(rows) > 1 and len({len(row) for row in rows}) == 1


def _parquet(path: Path) -> bool:
    import pyarrow.parquet

    return len(pyarrow.parquet.read_table(path)) > 0


def _image(path: Path) -> bool:
    with Image.open(path) as picture:
        picture.verify()  # checksums, where the format has them
    with Image.open(path) as picture:
        picture.load()
    return True


def _tar(path: Path) -> bool:
    """Whether the archive goes through to its end mark, with images that are whole."""
    with tarfile.open(path, "r:") as archive:
        members = archive.getmembers()
        end = archive.offset
        for member in members:
            stream = archive.extractfile(member)
            with Image.open(io.BytesIO(stream.read())) as picture:
                picture.verify()
    return not any(path.read_bytes()[end:])


_VALID: dict[str, Callable[[Path], object]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": safetensors.numpy.load_file,
    ".parquet": _parquet,
    ".csv": _table,
    ".json": lambda path: json.loads(path.read_bytes().decode("utf-8")),
    ".toml": lambda path: tomllib.loads(path.read_bytes().decode("utf-8")),
    ".png": _image,
    ".jpg": _image,
    ".tar": _tar,
}
