"""Files for every target: valid ones, damaged ones, and those that once were read wrongly."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from tests.faults.damage import DAMAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.targets import Target

__all__ = ["REGRESSIONS", "damaged"]


def damaged(target: Target, count: int, seed: int = 0) -> Iterator[bytes]:
    """Give that many files, each a valid one with some damage."""
    rng, valid = random.Random(seed), target.files()
    kinds = [how for name, how in DAMAGES.items() if name != "empty"]
    for _ in range(count):
        content = rng.choice(valid)
        for _ in range(rng.choice((1, 1, 2, 4))):
            content = rng.choice(kinds)(content, rng) or b"0"
        yield content


def _npz(change: bytes, by: bytes, **how: object) -> bytes:
    """Give an archive in which some bytes of its directory are others."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **how) as archive:
        archive.writestr("a.npy", _npy())
    return stream.getvalue().replace(change, by)


def _npy(header: str | None = None) -> bytes:
    if header is None:
        stream = io.BytesIO()
        np.save(stream, np.ones((4, 3), np.float32))
        return stream.getvalue()
    text = header.encode("latin1").ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(48)


def _mat(element: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + element


LOCAL, CENTRAL = b"PK\x03\x04\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x00\x00"
DEEP = 100_000

REGRESSIONS: dict[str, tuple[bytes, ...]] = {
    "labels": (
        b"a\n1\n" + b"\0" * 5000,
        b"a,b\n1," + b"x" * 200_000 + b"\n",
        b'a,b\n1,"' + b"0\n" * 1000,
        b"",
        b"\xef\xbb\xbf",
        b"id\n",
        b"\n\n\n",
    ),
    "groups-json": (
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b'{"groups": {"c": ["black"]}, "weights": {"c": ' + b"9" * 400 + b"}}",
        b'{"groups": {"c": ["black"]}, "weights": {"c": NaN}}',
        b'{"groups": {"c": ["black"]}, "weights": {"c": ' + b"9" * 5000 + b"}}",
        b'{"c": [["black"]]}',
        b'{"c": 1}',
        b"null",
        b'"groups"',
        b"",
    ),
    "groups-toml": (
        b"a = " + b"[" * DEEP,
        b"a." * 2000 + b"b = 1",
        b'[groups]\nc = ["black"]\n[weights]\nc = ' + b"9" * 5000,
        b'[groups]\nc = ["black"]\n[weights]\nc = inf',
        b'[groups]\nc = ["black"]\n[weights]\nc = 1979-05-27',
        b"\xff\xfe",
    ),
    "groups-csv": (
        b"group,attribute\np,spots\n" + b"\0" * 5000,
        b"group,attribute\np," + b"x" * 200_000,
        b'group,attribute\n"p,spots',
    ),
    "npy": (
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3"),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, -3)}"),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999)}"),
        _npy("{'descr': '|O', 'fortran_order': False, 'shape': (4, 3)}"),
        _npy("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (4, 1)}"),
        _npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4, 3)}"),
        _npy("{'descr': '<f4', 'fortran_order': 7, 'shape': (4, 3)}"),
        _npy("[" * 110),
        _npy()[:40],
    ),
    "npz": (
        _npz(LOCAL, b"PK\x03\x04\x6d\x00\x00\x00").replace(
            CENTRAL, b"PK\x01\x02\x14\x03\x6d\x00\x00\x00"
        ),
        _npz(LOCAL + b"\x00\x00", LOCAL + b"\x2a\x00").replace(
            CENTRAL + b"\x00\x00", CENTRAL + b"\x2a\x00"
        ),
        _npz(LOCAL, b"PK\x03\x04\x14\x00\x01\x00").replace(
            CENTRAL, b"PK\x01\x02\x14\x03\x14\x00\x01\x00"
        ),
        _npz(b"NUMPY", b"numpy"),
    ),
    "npz-member": (b"", b"not an array", _npy("{'descr': '<f4', 'shape': (4, 3"), bytes(2000)),
    "safetensors": (
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", DEEP) + b"[" * DEEP,
        struct.pack("<Q", 2) + b"{}",
        b"",
    ),
    "model": (b"[" * DEEP, b"{}", b"null", b'{"format": "proxmtl model", "format_version": 1}'),
    "checkpoint-pickle": (b"", b".", b"\x80\x02.", b"\x80\x02}q\x00X", b"\x80\x02ccollections\n"),
    "trials-settings": (
        b"",
        b"3",
        b"[]",
        b"null",
        b"\xff",
        b"{",
        b'{"norm": "x"}',
        b'{"norm": 1e999}',
        b"[" * DEEP,
    ),
    "partial-record": (b"\xff" * 5000, b"[" * DEEP, b"{}", b"null", b'{"done": 1, "bad": 2}'),
    "partial-plan": (b"\xff" * 5000, b"[" * DEEP, b"{}", b"null", b'{"format": 1, "identity": 2}'),
    "network-graph": (b"[" * DEEP, b"{}", b"null", b"[1]", b'[{"op": "ADD", "in": 3, "out": []}]'),
    "mat": (
        _mat(struct.pack("<II", 14, 2**31)),
        _mat(struct.pack("<II", 14, 8) + struct.pack("<II", 14, 2**31)),
        _mat(struct.pack("<II", 15, 4) + b"junk"),
        _mat(struct.pack("<II", 15, 11) + zlib.compress(bytes(5))[:11]),
        _mat(b""),
    ),
    "celeba": (
        b"\xff\xfe",
        b"2\x1f\na b\n1.jpg 1 1\n",
        "²\na b\n1.jpg 1 1\n".encode(),
        b"9" * 5000 + b"\na\nb 1\n",
    ),
    "wbcatt": (b"\xff\xfe", b"label,path,split\n" + b"x" * 200_000, b""),
    "awa-attribute-groups-9": (
        b"{}",
        b"[" * DEEP,
        json.dumps({"c": [{"index0": "x", "name": "black"}]}).encode(),
        b'{"c": [{"index0": 1e999, "name": "black"}]}',
        b'{"c": [{"index0": [], "name": "black"}]}',
    ),
}
"""Bytes that a parser once met with something else than a sentence, or well might, by target."""
