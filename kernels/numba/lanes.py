"""Vector instructions for groups that are shorter than a loop is worth.

A group of ten numbers is too short for the compiler's own vectoriser: a loop of unknown length
costs more in branches than in arithmetic. These two primitives always work on `LANES` numbers and
mask what lies beyond the group, so that a group of up to `LANES` members takes no branch at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

LANES = 16

_declared: Any = cgutils.get_or_insert_function

_INT32 = ir.IntType(32)
_LANE_INDEX = ir.VectorType(_INT32, LANES)


def _masked_square_sum(
    typing_context: Any, array: Any, start: Any, size: Any
) -> tuple[Any, Callable[..., Any]]:
    """Sum of squares of ``array[start : start + min(size, LANES)]``; reads `LANES` entries."""
    del typing_context, start, size

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, vector = _vector_pointer(context, builder, signature.args[0], arguments)
        element = vector.element
        loaded = builder.load(pointer, align=_alignment(element))
        length = _everywhere(builder, builder.trunc(arguments[2], _INT32), _LANE_INDEX)
        inside = builder.icmp_signed("<", ir.Constant(_LANE_INDEX, list(range(LANES))), length)
        kept = builder.select(inside, loaded, ir.Constant(vector, [0.0] * LANES))
        squares = builder.fmul(kept, kept, flags=("reassoc", "contract"))
        suffix = "f32" if isinstance(element, ir.FloatType) else "f64"
        reduce_add = _declared(
            builder.module,
            ir.FunctionType(element, [element, vector]),
            f"llvm.vector.reduce.fadd.v{LANES}{suffix}",
        )
        zero = ir.Constant(element, 0.0)
        return builder.call(reduce_add, [zero, squares], fastmath=("reassoc", "contract"))

    return array.dtype(array, types.int64, types.int64), generate


def _paint(
    typing_context: Any, array: Any, start: Any, value: Any
) -> tuple[Any, Callable[..., Any]]:
    """Write one value to ``array[start : start + LANES]``."""
    del typing_context, start, value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, vector = _vector_pointer(context, builder, signature.args[0], arguments)
        filled = _everywhere(builder, arguments[2], vector)
        builder.store(filled, pointer, align=_alignment(vector.element))
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), generate


def _vector_pointer(context: Any, builder: Any, array_type: Any, arguments: Any) -> tuple[Any, Any]:
    array = context.make_array(array_type)(context, builder, value=arguments[0])
    vector = ir.VectorType(context.get_data_type(array_type.dtype), LANES)
    first = builder.gep(array.data, [arguments[1]], inbounds=True)
    return builder.bitcast(first, vector.as_pointer()), vector


def _everywhere(builder: Any, value: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, value, _INT32(0))
    return builder.shuffle_vector(single, undefined, ir.Constant(_LANE_INDEX, [0] * LANES))


def _alignment(element: Any) -> int:
    return 4 if isinstance(element, ir.FloatType) else 8


masked_square_sum: Any = intrinsic(_masked_square_sum)
paint: Any = intrinsic(_paint)
