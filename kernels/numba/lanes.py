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
_INT32 = ir.IntType(32)
_declared: Any = cgutils.get_or_insert_function

# Entries of one streaming store, in every dtype that the kernels serve.
STREAM = 8


def lanes(count: int) -> tuple[int, ...]:
    """Tell a primitive how many lanes to use."""
    return (0,) * count


def _masked_square_sum(typing: Any, array: Any, start: Any, size: Any, tag: Any) -> _Typed:
    """Sum of squares of the first ``size`` of the lanes from ``start`` on; reads all lanes."""
    del typing, start, size

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(context, signature.args[0], tag)
        loaded = _load(context, builder, signature.args[0], arguments[:2], vector)
        index = ir.VectorType(_INT32, vector.count)
        length = _everywhere(builder, builder.trunc(arguments[2], _INT32), index)
        inside = builder.icmp_signed("<", ir.Constant(index, list(range(vector.count))), length)
        kept = builder.select(inside, loaded, ir.Constant(vector, [0.0] * vector.count))
        return _square_total(builder, kept, vector)

    return array.dtype(array, types.int64, types.int64, tag), generate


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


masked_square_sum: Any = intrinsic(_masked_square_sum)
square_sum: Any = intrinsic(_square_sum)
paint: Any = intrinsic(_paint)
scaled: Any = intrinsic(_scaled)
stream: Any = intrinsic(_stream)
