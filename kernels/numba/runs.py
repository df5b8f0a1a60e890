"""Vector loops over entries that lie side by side.

The vectors are written out here: the compiler's own vectoriser gives up where result and input may
be one array, and knows no stores past the caches.
"""

# ruff: noqa: PLR0917 - numba passes the arguments of a primitive by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from .lanes import (
    FAST,
    INT64,
    STREAM,
    Typed,
    declared,
    everywhere,
    load,
    store,
    store_past,
    suffix,
    sum_of_lanes,
    variable,
    widened,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# Vectors that are worked on side by side, where there are so many: a sum waits for the one before.
_SIDE_BY_SIDE = 4


def _soft_into(write: Callable[..., None]) -> Any:
    def soft(
        typing: Any,
        source: Any,
        target: Any,
        start: Any,
        count: Any,
        weights: Any,
        first: Any,
        step: Any,
    ) -> Typed:
        """Write the soft-thresholded entries ``start`` to ``start + count``, in whole vectors.

        The threshold is step · weights[first + i], or step where ``weights`` is None. Returns the
        sum of the magnitudes of what is written, in float64, times weights if any.
        """
        del typing, start, count, first, step

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del signature
            vector = ir.VectorType(context.get_data_type(source.dtype), STREAM)
            scale = everywhere(builder, arguments[6], vector)
            fabs = declared(
                builder.module, ir.FunctionType(vector, [vector]), f"llvm.fabs.{suffix(vector)}"
            )

            def shrink(index: Any) -> Any:
                at = builder.add(arguments[2], index)
                entry = load(context, builder, source, (arguments[0], at), vector)
                weight, threshold = None, scale
                if isinstance(weights, types.Array):
                    here = arguments[4], builder.add(arguments[5], index)
                    weight = load(context, builder, weights, here, vector)
                    threshold = builder.fmul(scale, weight)
                below = builder.fneg(threshold)
                # a comparison with NaN is false: it stays
                clipped = builder.select(builder.fcmp_ordered("<", entry, below), below, entry)
                above = builder.fcmp_ordered(">", clipped, threshold)
                shrunk = builder.fsub(entry, builder.select(above, threshold, clipped))
                write(context, builder, target, (arguments[1], at), shrunk)
                magnitude = builder.call(fabs, [shrunk])
                return magnitude if weight is None else builder.fmul(weight, magnitude, flags=FAST)

            return _summed(builder, vector, arguments[3], shrink)

        place = types.int64
        return types.float64(source, target, place, place, weights, place, source.dtype), generate

    return intrinsic(soft)


def _squares(typing: Any, source: Any, start: Any, count: Any) -> Typed:
    """Sum of the squares of ``count`` entries from ``start`` on, whole vectors, in float64."""
    del typing, start, count

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        vector = ir.VectorType(context.get_data_type(source.dtype), STREAM)

        def square(index: Any) -> Any:
            place = arguments[0], builder.add(arguments[1], index)
            entry = load(context, builder, source, place, vector)
            return builder.fmul(entry, entry, flags=FAST)

        return _summed(builder, vector, arguments[2], square)

    return types.float64(source, types.int64, types.int64), generate


def _scale_into(write: Callable[..., None]) -> Any:
    def scale(
        typing: Any, source: Any, target: Any, start: Any, count: Any, factors: Any, ahead: Any
    ) -> Typed:
        """Write entries ``start`` to ``start + count``, whole vectors, times a number or an array.

        Returns the sum of the squares of as many entries from ``ahead`` on, in float64, so that
        memory is read while the products are written; 0 where ``ahead`` is None.
        """
        del typing, start, count

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del signature
            vector = ir.VectorType(context.get_data_type(source.dtype), STREAM)
            each = isinstance(factors, types.Array)
            everyone = None if each else everywhere(builder, arguments[4], vector)

            def multiply(index: Any) -> Any:
                at = builder.add(arguments[2], index)
                entry = load(context, builder, source, (arguments[0], at), vector)
                factor = everyone
                if each:
                    factor = load(context, builder, factors, (arguments[4], index), vector)
                write(context, builder, target, (arguments[1], at), builder.fmul(entry, factor))
                if isinstance(ahead, types.NoneType):
                    return None
                at = builder.add(arguments[5], index)
                entry = load(context, builder, source, (arguments[0], at), vector)
                return builder.fmul(entry, entry, flags=FAST)

            return _summed(builder, vector, arguments[3], multiply)

        return types.float64(source, target, *[types.int64] * 2, factors, ahead), generate

    return intrinsic(scale)


def _summed(builder: Any, vector: Any, count: Any, body: Callable[[Any], Any]) -> Any:
    """Sum, in float64, of the vectors that ``body`` makes of the places 0 to ``count``, if any.

    ``count`` is a multiple of `STREAM`, a vector's entries.
    """
    zeros = ir.Constant(vector, [0.0] * STREAM)
    sums = [variable(builder, zeros) for _ in range(_SIDE_BY_SIDE)]
    step = _SIDE_BY_SIDE * STREAM
    in_steps = builder.and_(count, INT64(-step))
    for start, stop, places in ((INT64(0), in_steps, sums), (in_steps, count, sums[:1])):
        entries = INT64(len(places) * STREAM)
        with cgutils.for_range_slice(builder, start, stop, entries, INT64) as (base, _):
            for k, place in enumerate(places):
                made = body(builder.add(base, INT64(k * STREAM)))
                if made is not None:
                    builder.store(builder.fadd(builder.load(place), made, flags=FAST), place)
    total = builder.load(sums[0])
    for place in sums[1:]:
        total = builder.fadd(total, builder.load(place), flags=FAST)
    return widened(builder, sum_of_lanes(builder, total))


soft_run, soft_run_past = _soft_into(store), _soft_into(store_past)
square_run: Any = intrinsic(_squares)
scale_run, scale_run_past = _scale_into(store), _scale_into(store_past)
