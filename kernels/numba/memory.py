"""Typed loads from raw addresses, so that one compiled loop serves strided and ragged tensors.

numba has no bfloat16 and no float16 arithmetic on CPUs: a *tag*, a scalar whose type names the
storage, selects the widening at compile time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

TAGS = {
    torch.float64: np.float64(0),
    torch.float32: np.float32(0),
    torch.bfloat16: np.uint16(0),
    torch.float16: np.int16(0),
}

_STORED = {
    types.float64: ir.DoubleType(),
    types.float32: ir.FloatType(),
    types.uint16: ir.IntType(16),
    types.int16: ir.HalfType(),
}


@intrinsic
def _load(typing_context: Any, address: Any, index: Any, tag: Any) -> Any:
    """Element ``index`` of the row at ``address``, stored as ``tag`` says, in float32 or wider."""
    del typing_context
    if tag not in _STORED:
        return None
    loaded = tag if tag in {types.float32, types.float64} else types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        pointer = builder.inttoptr(arguments[0], _STORED[tag].as_pointer())
        value = builder.load(builder.gep(pointer, [arguments[1]]))
        if tag == types.uint16:  # a bfloat16 is the upper half of a float32
            word = ir.IntType(32)
            shifted = builder.shl(builder.zext(value, word), ir.Constant(word, 16))
            return builder.bitcast(shifted, ir.FloatType())
        if tag != types.int16:
            return value
        if _widens_half(*context.codegen().magic_tuple()):
            return builder.fpext(value, ir.FloatType())
        return _widened_by_bits(builder, value)

    return loaded(address, index, tag), generate


def _widens_half(triple: str, cpu: str, features: str) -> bool:
    """Whether the machine has an instruction for float16; LLVM's substitute isn't in numba."""
    del cpu
    return "+f16c" in features or triple.startswith(("aarch64", "arm64"))


def _widened_by_bits(builder: Any, value: Any) -> Any:
    """A float16 in float32: the same bits, 13 to the left, and the exponent's bias set right.

    The product is exact and turns subnormal numbers into normal ones; infinity and NaN have the
    highest exponent in either format.
    """
    word, single = ir.IntType(32), ir.FloatType()
    bits = builder.zext(builder.bitcast(value, ir.IntType(16)), word)
    magnitude = builder.and_(bits, ir.Constant(word, 0x7FFF))
    sign = builder.shl(builder.and_(bits, ir.Constant(word, 0x8000)), ir.Constant(word, 16))
    moved = builder.shl(magnitude, ir.Constant(word, 13))
    scaled = builder.fmul(builder.bitcast(moved, single), ir.Constant(single, 2.0**112))
    special = builder.or_(moved, ir.Constant(word, 0x7F800000))
    finite = builder.icmp_unsigned("<", magnitude, ir.Constant(word, 0x7C00))
    chosen = builder.select(finite, builder.bitcast(scaled, word), special)
    return builder.bitcast(builder.or_(chosen, sign), single)


# numba's own types see the typing function's parameters, not the caller's.
load: Any = _load
