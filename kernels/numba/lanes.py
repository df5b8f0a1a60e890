"""Vector instructions for groups that are shorter than a loop is worth.

A group of ten numbers is too short for the compiler's own vectoriser: a loop of unknown length
costs more in branches than in arithmetic. These primitives work on a number of lanes that is known
when the loop is compiled. The masked ones hide what lies beyond the group, so that a group of any
size up to their lanes takes no branch at all. How many lanes is told by a tuple's length, which is
part of its type: ``(0,) * 16``.
"""

# ruff: noqa: PLR0917 - numba passes the arguments of a primitive by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

_Typed = tuple[Any, "Callable[..., Any]"]
_FAST = ("reassoc", "contract")
_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_declared: Any = cgutils.get_or_insert_function

# Entries of one streaming store, in every dtype that the kernels serve.
STREAM = 8
# Partial sums that are kept of each group while longer ones are added up.
ROW = 8
# Entries of the table of masks, int64: ones, then zeros. A window over its middle hides the lanes
# beyond a group with one load.
MASKS = 64


def lanes(count: int) -> tuple[int, ...]:
    """Tell a primitive how many lanes to use."""
    return (0,) * count


def _squares(
    typing: Any, source: Any, start: Any, masks: Any, left: Any, sums: Any, row: Any, tag: Any
) -> _Typed:
    """Row ``row`` of ``sums``, `ROW` entries: what the squares of ``left`` entries sum up to."""
    del typing, start, left, row

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        squares = _masked_squares(context, builder, signature.args, arguments, tag)
        place = _row(builder, arguments[4:6])
        _store(context, builder, signature.args[4], place, squares)
        return context.get_dummy_value()

    return types.void(source, types.int64, masks, types.int64, sums, types.int64, tag), generate


def _more_squares(
    typing: Any, source: Any, start: Any, masks: Any, left: Any, sums: Any, row: Any, tag: Any
) -> _Typed:
    """Like `squares`, added to the row."""
    del typing, start, left, row

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        squares = _masked_squares(context, builder, signature.args, arguments, tag)
        place = _row(builder, arguments[4:6])
        before = _load(context, builder, signature.args[4], place, squares.type)
        _store(context, builder, signature.args[4], place, builder.fadd(before, squares))
        return context.get_dummy_value()

    return types.void(source, types.int64, masks, types.int64, sums, types.int64, tag), generate


def _row_totals(typing: Any, sums: Any, row: Any, totals: Any) -> _Typed:
    """Entries ``row`` to ``row + ROW`` of ``totals``: the sums of as many rows of ``sums``.

    The rows are added up pairwise while they are transposed: 21 instructions for eight rows of
    eight, where one row alone takes seven.
    """
    del typing, row

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(context.get_data_type(signature.args[0].dtype), ROW)
        count = vector.count
        rows = []
        for k in range(count):
            row = builder.add(arguments[1], _INT64(k))
            place = _row(builder, (arguments[0], row))
            rows.append(_load(context, builder, signature.args[0], place, vector))
        half = count // 2
        while half:
            # Lanes whose bit ``half`` is clear come from the first of a pair, the others from the
            # second: partial sums of row k end up in the lanes that agree with k's lower bits.
            kept = [lane if not lane & half else count + lane for lane in range(count)]
            moved = [
                lane + half if not lane & half else count + lane - half for lane in range(count)
            ]
            rows = [
                builder.fadd(
                    builder.shuffle_vector(a, b, _places(kept)),
                    builder.shuffle_vector(a, b, _places(moved)),
                )
                for a, b in zip(rows[: len(rows) // 2], rows[len(rows) // 2 :], strict=True)
            ]
            half //= 2
        _store(context, builder, signature.args[2], (arguments[2], arguments[1]), rows[0])
        return context.get_dummy_value()

    return types.void(sums, types.int64, totals), generate


def _square_sum(typing: Any, array: Any, start: Any, tag: Any) -> _Typed:
    """Sum of squares of the lanes from ``start`` on."""
    del typing, start

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(context, signature.args[0], tag)
        loaded = _load(context, builder, signature.args[0], arguments[:2], vector)
        return _square_total(builder, loaded, vector)

    return array.dtype(array, types.int64, tag), generate


def _paint(typing: Any, array: Any, start: Any, value: Any, tag: Any) -> _Typed:
    """Write one value to the lanes from ``start`` on."""
    del typing, start, value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(context, signature.args[0], tag)
        filled = _everywhere(builder, arguments[2], vector)
        _store(context, builder, signature.args[0], arguments[:2], filled)
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype, tag), generate


def _scaled(
    typing: Any, source: Any, start: Any, target: Any, to: Any, factor: Any, tag: Any
) -> _Typed:
    """Write the lanes of ``source``, times a factor, to ``target``."""
    del typing, start, to, factor

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(context, signature.args[0], tag)
        loaded = _load(context, builder, signature.args[0], arguments[:2], vector)
        product = builder.fmul(loaded, _everywhere(builder, arguments[4], vector))
        _store(context, builder, signature.args[2], arguments[2:4], product)
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64, source.dtype, tag), generate


def _stream(typing: Any, source: Any, start: Any, target: Any, to: Any) -> _Typed:
    """Copy `STREAM` entries past the caches; the target must be aligned to that many."""
    del typing, start, to

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_data_type(signature.args[0].dtype)
        vector = ir.VectorType(element, STREAM)
        loaded = _load(context, builder, signature.args[0], arguments[:2], vector)
        pointer = _pointer(context, builder, signature.args[2], arguments[2:4], vector)
        store = builder.store(loaded, pointer, align=STREAM * _alignment(element))
        store.set_metadata("nontemporal", builder.module.add_metadata([_INT32(1)]))
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), generate


def _masked_squares(context: Any, builder: Any, given: Any, arguments: Any, tag: Any) -> Any:
    """Squares of the entries that a mask from the sliding table leaves, folded to `ROW` lanes."""
    vector = _vector(context, given[0], tag)
    loaded = _load(context, builder, given[0], arguments[:2], vector)
    size = _alignment(vector.element)
    bits = ir.VectorType(ir.IntType(8 * size), vector.count)
    table = context.make_array(given[2])(context, builder, value=arguments[2]).data
    entries = builder.bitcast(table, bits.element.as_pointer())
    edge = _INT64(MASKS // 2 * (8 // size))
    pointer = builder.gep(entries, [builder.sub(edge, arguments[3])], inbounds=True)
    mask = builder.load(builder.bitcast(pointer, bits.as_pointer()), align=size)
    kept = builder.bitcast(builder.and_(builder.bitcast(loaded, bits), mask), vector)
    products = builder.fmul(kept, kept, flags=_FAST)
    while products.type.count > ROW:
        half = products.type.count // 2
        lower, upper = (_places(list(range(at, at + half))) for at in (0, half))
        undefined = ir.Constant(products.type, ir.Undefined)
        products = builder.fadd(
            builder.shuffle_vector(products, undefined, lower),
            builder.shuffle_vector(products, undefined, upper),
            flags=_FAST,
        )
    return products


def _row(builder: Any, place: Any) -> tuple[Any, Any]:
    return place[0], builder.mul(place[1], _INT64(ROW))


def _places(lanes: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_INT32, len(lanes)), lanes)


def _vector(context: Any, array_type: Any, tag: Any) -> Any:
    return ir.VectorType(context.get_data_type(array_type.dtype), len(tag))


def _pointer(context: Any, builder: Any, array_type: Any, place: Any, vector: Any) -> Any:
    array = context.make_array(array_type)(context, builder, value=place[0])
    first = builder.gep(array.data, [place[1]], inbounds=True)
    return builder.bitcast(first, vector.as_pointer())


def _load(context: Any, builder: Any, array_type: Any, place: Any, vector: Any) -> Any:
    pointer = _pointer(context, builder, array_type, place, vector)
    return builder.load(pointer, align=_alignment(vector.element))


def _store(context: Any, builder: Any, array_type: Any, place: Any, value: Any) -> None:
    pointer = _pointer(context, builder, array_type, place, value.type)
    builder.store(value, pointer, align=_alignment(value.type.element))


def _square_total(builder: Any, values: Any, vector: Any) -> Any:
    element = vector.element
    squares = builder.fmul(values, values, flags=_FAST)
    suffix = "f32" if isinstance(element, ir.FloatType) else "f64"
    reduce_add = _declared(
        builder.module,
        ir.FunctionType(element, [element, vector]),
        f"llvm.vector.reduce.fadd.v{vector.count}{suffix}",
    )
    return builder.call(reduce_add, [ir.Constant(element, 0.0), squares], fastmath=_FAST)


def _everywhere(builder: Any, value: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, value, _INT32(0))
    zeros = ir.Constant(ir.VectorType(_INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(single, undefined, zeros)


def _alignment(element: Any) -> int:
    return 4 if isinstance(element, ir.FloatType) else 8


squares: Any = intrinsic(_squares)
more_squares: Any = intrinsic(_more_squares)
row_totals: Any = intrinsic(_row_totals)
square_sum: Any = intrinsic(_square_sum)
paint: Any = intrinsic(_paint)
scaled: Any = intrinsic(_scaled)
stream: Any = intrinsic(_stream)
