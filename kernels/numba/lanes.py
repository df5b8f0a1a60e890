"""Vector instructions for groups that are shorter than a loop is worth.

A group of ten numbers is too short for the compiler's own vectoriser: a loop of unknown length
costs more in branches than in arithmetic. These primitives work on a number of lanes that is known
when the loop is compiled. The masked ones hide what lies beyond the group, so that a group of any
size up to their lanes takes no branch at all. How many lanes is told by a tuple's length, which is
part of its type: ``(0,) * 16``.
"""

# ruff: noqa: PLR0917 - numba passes the arguments of a primitive by position

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Typed = tuple[Any, "Callable[..., Any]"]
FAST = ("reassoc", "contract")
INT32, INT64 = ir.IntType(32), ir.IntType(64)
declared: Any = cgutils.get_or_insert_function
variable: Any = cgutils.alloca_once_value

# Entries of one streaming store, in every dtype that the kernels serve.
STREAM = 8
# Bytes of a cache line.
_LINE = 64
# Groups that are added up side by side.
ROW = 8
# Longest group that the masks serve. Their table, of int64, holds as many ones, then zeros; a
# window over its middle hides the lanes beyond a group with one load.
BLOCK = 2048
# Most groups of a block; a multiple of `ROW`.
BLOCK_GROUPS = 512
# Most lanes of a masked primitive.
WIDEST = 64


def lanes(count: int) -> tuple[int, ...]:
    """Tell a primitive how many lanes to use."""
    return (0,) * count


def masks() -> NDArray[np.int64]:
    """Table of masks that `group_sums` and `rest_sum` slide their window over."""
    return np.repeat(np.array([-1, 0]), [BLOCK, WIDEST])


def _group_sums(
    typing: Any,
    source: Any,
    shift: Any,
    bounds: Any,
    group: Any,
    table: Any,
    totals: Any,
    to: Any,
    tag: Any,
) -> Typed:
    """Sums of squares of the first lanes of `ROW` groups, from ``group`` on, to ``totals[to:]``.

    Their members are ``source[bounds[g] + shift:]``.
    """
    del typing, shift, group, to

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = signature.args
        edges = context.make_array(given[2])(context, builder, value=arguments[2]).data
        edges = builder.gep(edges, [arguments[3]], inbounds=True)
        stop, rows = _edge(builder, edges, 0), []
        for k in range(ROW):
            first, stop = stop, _edge(builder, edges, k + 1)
            place = arguments[0], builder.add(first, arguments[1])
            window = arguments[4], builder.sub(first, stop)
            rows.append(_masked_squares(context, builder, (given[0], given[4]), place, window, tag))
        store(context, builder, given[5], arguments[5:7], _added_up(builder, rows))
        return context.get_dummy_value()

    where = types.int64, bounds, types.int64
    return types.void(source, *where, table, totals, types.int64, tag), generate


def _rest_sum(typing: Any, source: Any, start: Any, table: Any, left: Any, tag: Any) -> Typed:
    """Sum of the squares of ``left`` entries from ``start`` on, of as many as there are lanes."""
    del typing, start, left

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = signature.args
        window = arguments[2], builder.neg(arguments[3])
        squares = _masked_squares(
            context, builder, (given[0], given[2]), arguments[:2], window, tag
        )
        return sum_of_lanes(builder, squares)

    return source.dtype(source, types.int64, table, types.int64, tag), generate


def _shrink_factors(
    typing: Any, totals: Any, count: Any, table: Any, factors: Any, to: Any
) -> Typed:
    """Factors of ``count`` groups with these sums of squares, to ``factors[to:]``.

    ``table`` holds the groups' weights, and their thresholds in its second half; all are worked on
    in whole rows, `ROW` groups each. Returns the weighted norms of the results, added up, but not
    where the weight is negative, `tiles.NO_GROUP`. Not finite where a norm must be taken again, as
    `extremes.is_lost` tells: `extremes.group_factors` does.
    """
    del typing, count, to

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = signature.args
        vector = ir.VectorType(context.get_data_type(given[0].dtype), ROW)
        low = 2.0**-50 if alignment(vector.element) == 4 else 2.0**-450
        zeros, ones, lows, nans = (
            ir.Constant(vector, [number] * ROW) for number in (0.0, 1.0, low, math.nan)
        )
        sqrt = declared(
            builder.module, ir.FunctionType(vector, [vector]), f"llvm.sqrt.{suffix(vector)}"
        )
        # groups beyond the last have norm 0
        store(context, builder, given[0], arguments[:2], zeros)
        value = variable(builder, zeros)
        rows = builder.lshr(builder.add(arguments[1], INT64(ROW - 1)), INT64(3))
        with cgutils.for_range(builder, rows) as loop:
            at = builder.shl(loop.index, INT64(3))

            def of(index: int, place: Any) -> Any:
                return load(context, builder, given[index], (arguments[index], place), vector)

            weights, thresholds = of(2, at), of(2, builder.add(at, INT64(BLOCK_GROUPS)))
            norm = builder.call(sqrt, [of(0, at)])
            factor = builder.fsub(ones, builder.fdiv(thresholds, norm))
            # a comparison with NaN is false: it stays
            factor = builder.select(builder.fcmp_ordered(">", zeros, factor), zeros, factor)
            factor = builder.select(builder.fcmp_ordered("==", thresholds, zeros), ones, factor)
            store(context, builder, given[3], (arguments[3], builder.add(arguments[4], at)), factor)
            weighted = builder.fmul(weights, builder.fmul(factor, norm), flags=FAST)
            tiny = builder.and_(
                builder.fcmp_ordered("<", norm, lows), builder.fcmp_ordered("<", thresholds, lows)
            )
            lost = builder.and_(tiny, builder.fcmp_ordered(">", weights, zeros))
            weighted = builder.select(lost, nans, weighted)
            # items in no group add nothing, whatever they are
            weighted = builder.select(builder.fcmp_ordered("<", weights, zeros), zeros, weighted)
            builder.store(builder.fadd(builder.load(value), weighted, flags=FAST), value)
        return widened(builder, sum_of_lanes(builder, builder.load(value)))

    place = types.int64
    return types.float64(totals, place, table, factors, place), generate


def _fetch_ahead(typing: Any, source: Any, start: Any, tag: Any) -> Typed:
    """Have memory read that `group_sums` of so many lanes will want, at ``start`` and on.

    As many cache lines as `ROW` groups take that fill half of the lanes. What the processor fetches
    ahead by itself ends with each page of memory.
    """
    del typing, start

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = signature.args
        byte = ir.IntType(8).as_pointer()
        first = context.make_array(given[0])(context, builder, value=arguments[0]).data
        size = alignment(first.type.pointee)
        first = builder.bitcast(builder.gep(first, [arguments[1]]), byte)
        fetch = declared(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32]),
            "llvm.prefetch.p0i8",
        )
        to_read, keep, data = INT32(0), INT32(3), INT32(1)
        for line in range(0, ROW * len(tag) * size // 2, _LINE):
            place = builder.gep(first, [INT64(line)])
            builder.call(fetch, [place, to_read, keep, data])
        return context.get_dummy_value()

    return types.void(source, types.int64, tag), generate


def _stream(typing: Any, source: Any, start: Any, target: Any, to: Any) -> Typed:
    """Copy `STREAM` entries past the caches; the target must be aligned to that many."""
    del typing, start, to

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_data_type(signature.args[0].dtype)
        vector = ir.VectorType(element, STREAM)
        loaded = load(context, builder, signature.args[0], arguments[:2], vector)
        store_past(context, builder, signature.args[2], arguments[2:4], loaded)
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), generate


def _edge(builder: Any, edges: Any, index: int) -> Any:
    loaded = builder.load(builder.gep(edges, [INT64(index)], inbounds=True))
    return loaded if loaded.type == INT64 else builder.sext(loaded, INT64)


def _masked_squares(
    context: Any, builder: Any, given: Any, place: Any, window: Any, tag: Any
) -> Any:
    """Squares of the entries that a mask from the sliding table leaves, folded to `ROW` lanes.

    ``window`` is the table and minus the number of entries to leave: a difference of two bounds as
    it comes takes two instructions less a group than its negative.
    """
    element = context.get_data_type(given[0].dtype)
    size = alignment(element)
    vector = ir.VectorType(element, min(ROW, len(tag)))
    bits = ir.VectorType(ir.IntType(8 * size), vector.count)
    table = context.make_array(given[1])(context, builder, value=window[0]).data
    edge = INT64(BLOCK * (8 // size))
    entries = builder.gep(builder.bitcast(table, bits.element.as_pointer()), [edge], inbounds=True)
    entries = builder.gep(entries, [window[1]], inbounds=True)
    total = None
    for done in range(0, len(tag), vector.count):
        shifted = place[0], builder.add(place[1], INT64(done))
        loaded = builder.bitcast(load(context, builder, given[0], shifted, vector), bits)
        pointer = builder.gep(entries, [INT64(done)], inbounds=True)
        mask = builder.load(builder.bitcast(pointer, bits.as_pointer()), align=size)
        kept = builder.bitcast(builder.and_(loaded, mask), vector)
        squares = builder.fmul(kept, kept, flags=FAST)
        total = squares if total is None else builder.fadd(total, squares, flags=FAST)
    return total


def _added_up(builder: Any, rows: list[Any]) -> Any:
    """Vector of the sums of as many rows as these have lanes.

    The rows are added up pairwise while they are transposed: 21 instructions for eight rows of
    eight, where one row alone takes seven.
    """
    count = len(rows)
    half = count // 2
    while half:
        # Lanes whose bit ``half`` is clear come from the first of a pair, the others from the
        # second: partial sums of row k end up in the lanes that agree with k's lower bits.
        kept = [lane if not lane & half else count + lane for lane in range(count)]
        moved = [lane + half if not lane & half else count + lane - half for lane in range(count)]
        rows = [
            builder.fadd(
                builder.shuffle_vector(a, b, _places(kept)),
                builder.shuffle_vector(a, b, _places(moved)),
            )
            for a, b in zip(rows[: len(rows) // 2], rows[len(rows) // 2 :], strict=True)
        ]
        half //= 2
    return rows[0]


def _places(lanes: list[int]) -> Any:
    return ir.Constant(ir.VectorType(INT32, len(lanes)), lanes)


def _pointer(context: Any, builder: Any, array_type: Any, place: Any, vector: Any) -> Any:
    array = context.make_array(array_type)(context, builder, value=place[0])
    first = builder.gep(array.data, [place[1]], inbounds=True)
    return builder.bitcast(first, vector.as_pointer())


def load(context: Any, builder: Any, array_type: Any, place: Any, vector: Any) -> Any:
    """A vector from ``place``, an array and an index into it."""
    pointer = _pointer(context, builder, array_type, place, vector)
    return builder.load(pointer, align=alignment(vector.element))


def store(context: Any, builder: Any, array_type: Any, place: Any, value: Any) -> None:
    """Write a vector to ``place``, an array and an index into it."""
    pointer = _pointer(context, builder, array_type, place, value.type)
    builder.store(value, pointer, align=alignment(value.type.element))


def store_past(context: Any, builder: Any, array_type: Any, place: Any, value: Any) -> None:
    """Write a vector past the caches; its place must be aligned to it."""
    pointer = _pointer(context, builder, array_type, place, value.type)
    vector = value.type
    store = builder.store(value, pointer, align=vector.count * alignment(vector.element))
    store.set_metadata("nontemporal", builder.module.add_metadata([INT32(1)]))


def sum_of_lanes(builder: Any, values: Any) -> Any:
    """Sum of a vector's lanes, in any order."""
    element = values.type.element
    reduce_add = declared(
        builder.module,
        ir.FunctionType(element, [element, values.type]),
        f"llvm.vector.reduce.fadd.{suffix(values.type)}",
    )
    return builder.call(reduce_add, [ir.Constant(element, 0.0), values], fastmath=FAST)


def suffix(vector: Any) -> str:
    """How LLVM spells a type in the names of its intrinsic functions."""
    return f"v{vector.count}{'f32' if isinstance(vector.element, ir.FloatType) else 'f64'}"


def widened(builder: Any, number: Any) -> Any:
    """A number in float64."""
    return number if number.type == ir.DoubleType() else builder.fpext(number, ir.DoubleType())


def everywhere(builder: Any, value: Any, vector: Any) -> Any:
    """A vector with the same number in all lanes."""
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, value, INT32(0))
    zeros = ir.Constant(ir.VectorType(INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(single, undefined, zeros)


def alignment(element: Any) -> int:
    """Bytes of an entry."""
    return 4 if isinstance(element, ir.FloatType) else 8


group_sums: Any = intrinsic(_group_sums)
rest_sum: Any = intrinsic(_rest_sum)
shrink_factors: Any = intrinsic(_shrink_factors)
fetch_ahead: Any = intrinsic(_fetch_ahead)
stream: Any = intrinsic(_stream)
