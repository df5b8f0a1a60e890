"""Factors of groups, spread over their members in whole vectors, wherever groups end.

One bit for each entry tells whether a group ends with it, and a table turns the bits of a vector
into the places of its factors.
"""

# ruff: noqa: PLR0917 - numba passes the arguments of a primitive by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

from .lanes import INT32, INT64, Typed, alignment, declared, lanes, load, store, store_past

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Bytes of a vector.
VECTOR = 32
# Vectors whose bits come with one load, of eight bytes.
RUN = 4
ONE, FOUR = lanes(1), lanes(RUN)


def codes(itemsize: int) -> NDArray[np.uint8]:
    """For each pattern of ends in a vector, the places of its lanes' factors.

    A lane's factor is as many places on as groups have ended before it. Places are those of 32-bit
    words, eight to a pattern, as the permuting instruction takes them.
    """
    words, lanes = itemsize // 4, VECTOR // itemsize
    patterns = np.arange(1 << lanes)[:, None]
    ends = patterns >> np.arange(lanes) & 1
    before = ends.cumsum(1) - ends
    table = words * np.repeat(before, words, axis=1) + np.arange(8) % words
    return table.astype(np.uint8).reshape(-1)


def _multiply(
    typing: Any,
    source: Any,
    start: Any,
    target: Any,
    to: Any,
    factors: Any,
    place: Any,
    bits: Any,
    bit: Any,
    table: Any,
    vectors: Any,
) -> Typed:
    """Write vectors of ``source`` times their groups' factors to ``target``.

    ``factors[place]`` is the factor of the first entry; bit ``bit + k`` tells whether a group ends
    with entry k. As many vectors as the tuple ``vectors`` is long, `RUN` at most. Returns how many
    groups end in them.
    """
    del typing, start, to, place, bit
    return _product(source, target, factors, bits, table, vectors, past_caches=False)


def _multiply_past(
    typing: Any,
    source: Any,
    start: Any,
    target: Any,
    to: Any,
    factors: Any,
    place: Any,
    bits: Any,
    bit: Any,
    table: Any,
    vectors: Any,
) -> Typed:
    """`multiply`, past the caches; the target must be aligned to a vector."""
    del typing, start, to, place, bit
    return _product(source, target, factors, bits, table, vectors, past_caches=True)


def _product(
    source: Any,
    target: Any,
    factors: Any,
    bits: Any,
    table: Any,
    vectors: Any,
    *,
    past_caches: bool,
) -> Typed:
    write = store_past if past_caches else store

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = signature.args
        spread, ended = _spread_factors(context, builder, given[4:], arguments[4:])
        for k, factor in enumerate(spread):
            start, to = (builder.add(arguments[i], INT64(k * factor.type.count)) for i in (1, 3))
            loaded = load(context, builder, given[0], (arguments[0], start), factor.type)
            product = builder.fmul(loaded, factor)
            write(context, builder, given[2], (arguments[2], to), product)
        return ended

    place = types.int64
    return types.int64(
        source, place, target, place, factors, place, bits, place, table, vectors
    ), generate


def _spread_factors(
    context: Any, builder: Any, given: Any, arguments: Any
) -> tuple[list[Any], Any]:
    """Factors of the vectors' lanes, and how many groups end in them."""
    factors, place, bits, bit, table, _ = arguments
    element = context.get_data_type(given[0].dtype)
    vector = ir.VectorType(element, VECTOR // alignment(element))
    count = declared(builder.module, ir.FunctionType(INT64, [INT64]), "llvm.ctpop.i64")
    codes = context.make_array(given[4])(context, builder, value=table).data
    spread, here = [], place
    for pattern in _patterns(context, builder, given[2], bits, bit, (vector.count, len(given[5]))):
        row = builder.gep(codes, [builder.shl(pattern, INT64(3))], inbounds=True)
        spread.append(_permuted(context, builder, given[0], (factors, here), row, vector))
        here = builder.add(here, builder.call(count, [pattern]))
    return spread, builder.sub(here, place)


def _permuted(
    context: Any, builder: Any, array_type: Any, place: Any, codes: Any, vector: Any
) -> Any:
    """Factors of one vector's lanes; its row of the table is at ``codes``."""
    if "+avx2" not in context.codegen().magic_tuple()[2]:
        return _gathered(context, builder, array_type, place, codes, vector)
    words, floats = ir.VectorType(INT32, 8), ir.VectorType(ir.FloatType(), 8)
    row = ir.VectorType(ir.IntType(8), 8)
    places = builder.load(builder.bitcast(codes, row.as_pointer()), align=8)
    window = load(context, builder, array_type, place, vector)
    permute = declared(
        builder.module, ir.FunctionType(floats, [floats, words]), "llvm.x86.avx2.permps"
    )
    permuted = builder.call(permute, [builder.bitcast(window, floats), builder.zext(places, words)])
    return builder.bitcast(permuted, vector)


def _patterns(
    context: Any, builder: Any, array_type: Any, bits: Any, bit: Any, shape: tuple[int, int]
) -> list[Any]:
    """Bits of an array of bytes from ``bit`` on, so many a vector, as integers; one load."""
    count, n_vectors = shape
    array = context.make_array(array_type)(context, builder, value=bits).data
    byte = builder.gep(array, [builder.lshr(bit, INT64(3))], inbounds=True)
    word = builder.load(builder.bitcast(byte, INT64.as_pointer()), align=1)
    shifted = builder.lshr(word, builder.and_(bit, INT64(7)))
    return [
        builder.and_(builder.lshr(shifted, INT64(k * count)), INT64((1 << count) - 1))
        for k in range(n_vectors)
    ]


def _gathered(
    context: Any, builder: Any, array_type: Any, place: Any, codes: Any, vector: Any
) -> Any:
    """Factors of a vector's lanes one by one, on processors without the permuting instruction."""
    words = alignment(vector.element) // 4
    array = context.make_array(array_type)(context, builder, value=place[0]).data
    factor = ir.Constant(vector, ir.Undefined)
    for lane in range(vector.count):
        code = builder.load(builder.gep(codes, [INT64(lane * words)], inbounds=True))
        distance = builder.udiv(builder.zext(code, INT64), INT64(words))
        index = builder.add(place[1], distance)
        value = builder.load(builder.gep(array, [index], inbounds=True))
        factor = builder.insert_element(factor, value, INT32(lane))
    return factor


multiply: Any = intrinsic(_multiply)
multiply_past: Any = intrinsic(_multiply_past)
