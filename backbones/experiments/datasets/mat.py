"""One numeric array of a MATLAB file of version 5, the format of ``save -v6`` and ``save -v7``.

A file is a header of 128 bytes and a sequence of elements, each a tag (type, number of bytes), its
data, and padding to 8 bytes. An element of type 15 is another element, packed by zlib. A variable
is an element of type 14 with further elements in it: flags, dimensions, name, numbers. See
"MAT-File Format", The MathWorks.

Everything that the file says is compared with the bytes that there are before it is used: readers
in C are known to crash on damaged files.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxmtl.limits import advice, limit

__all__ = ["read_mat_array"]

HEADER = 128
MATRIX, PACKED = 14, 15
NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"
}  # fmt: skip
"""Types of elements that hold numbers."""
NUMERIC_CLASSES = range(6, 16)
"""Classes of variables: double, single, and integers of 8 to 64 bits."""
COMPLEX = 0x0800
ALWAYS_ALLOWED = 1 << 26
"""Bytes that an element may unpack to, however small it is packed."""


class _Element(NamedTuple):
    kind: int
    data: bytes


def read_mat_array(path: Path, name: str) -> NDArray[np.float64]:
    """Read a variable that holds real numbers.

    Parameters
    ----------
    path
        The file.
    name
        Of the variable.

    Returns
    -------
    ndarray
        float64, of the dimensions that the file says (at least two).

    Raises
    ------
    ValueError
        If the file is of another format, is damaged, unpacks to more than the limit, or has no
        such array; the sentence doesn't name the file.
    """
    content = path.read_bytes()
    if len(content) < HEADER or content[126:128] not in {b"IM", b"MI"}:
        raise ValueError("no MATLAB file of version 5: save it by save -v7")
    order = "<" if content[126:128] == b"IM" else ">"
    if struct.unpack(f"{order}H", content[124:126])[0] != 0x0100:
        raise ValueError("no MATLAB file of version 5: save it by save -v7")
    names = []
    for element in _elements(content[HEADER:], order):
        found = _unpacked(element, order) if element.kind == PACKED else element
        if found.kind != MATRIX:
            raise ValueError(f"an element of type {found.kind} where a variable is due")
        parts = list(_elements(found.data, order))
        names.append(_name(parts))
        if names[-1] == name:
            return _array(parts, order)
    raise ValueError(f"there is no {name!r} in it, but {', '.join(map(repr, names)) or 'nothing'}")


def _elements(content: bytes, order: str) -> Iterator[_Element]:
    """Cut a sequence of elements; the last byte must be the end of one."""
    place = 0
    while place < len(content):
        if place + 8 > len(content):
            raise ValueError("cut short in a tag")
        kind, size = struct.unpack_from(f"{order}II", content, place)
        begin = place + 8
        if kind >> 16:  # a small one: its data lies in the second half of the tag
            kind, size, begin = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        if begin + size > len(content):
            raise ValueError(
                f"an element of {size} bytes, of which {len(content) - begin} are there"
            )
        yield _Element(kind, content[begin : begin + size])
        place = begin + size
        if kind != PACKED:
            place = min(len(content), place + -place % 8)


def _unpacked(element: _Element, order: str) -> _Element:
    most = max(ALWAYS_ALLOWED, limit("expansion") * len(element.data))
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(element.data, most)
    except zlib.error as error:
        raise ValueError(f"a packed variable is damaged ({error})") from error
    if unpacker.unconsumed_tail:
        raise ValueError(f"unpacks to more than {most} bytes; {advice('expansion', 10_000)}")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("a packed variable is cut short, or longer than it says")
    found = list(_elements(content, order))
    if len(found) != 1:
        raise ValueError(f"{len(found)} elements packed where one is due")
    return found[0]


def _name(parts: list[_Element]) -> str:
    if len(parts) < 3 or len(parts[0].data) != 8 or parts[2].kind != 1:
        raise ValueError("a variable without flags, dimensions and name")
    return parts[2].data.decode("ascii", errors="replace")


def _array(parts: list[_Element], order: str) -> NDArray[np.float64]:
    flags = struct.unpack_from(f"{order}I", parts[0].data)[0]
    if flags & 0xFF not in NUMERIC_CLASSES or flags & COMPLEX or len(parts) != 4:
        raise ValueError("it is no array of real numbers")
    if parts[1].kind != 5 or len(parts[1].data) % 4 or len(parts[1].data) < 8:
        raise ValueError("an array without dimensions")
    shape = tuple(map(int, np.frombuffer(parts[1].data, f"{order}i4")))
    kind = NUMBERS.get(parts[3].kind)
    data = parts[3].data
    if kind is None or min(shape) < 0 or math.prod(shape) * int(kind[1]) != len(data):
        raise ValueError(f"an array {shape} with {len(data)} bytes of type {parts[3].kind}")
    numbers = np.frombuffer(data, f"{order}{kind}").astype(np.float64)
    return numbers.reshape(shape, order="F")
