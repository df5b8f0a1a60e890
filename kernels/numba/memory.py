"""Typed loads from raw addresses, so that one compiled loop serves strided and ragged tensors.

numba has no bfloat16 and no float16 arithmetic on CPUs: a *tag*, a scalar whose type names the
storage, selects the widening at compile time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray, types  # type: ignore[attr-defined]
from numba.core.registry import cpu_target
from numba.extending import intrinsic, overload

if TYPE_CHECKING:
    from collections.abc import Callable

TAGS = {
    torch.float64: np.float64(0),
    torch.float32: np.float32(0),
    torch.bfloat16: np.uint16(0),
    torch.float16: np.int16(0),
}


@intrinsic
def _pointer(typing_context: Any, address: Any, tag: Any) -> Any:
    """The address as a pointer to elements of the tag's type."""
    del typing_context
    pointer: Any = types.CPointer(tag)  # type: ignore[no-untyped-call]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(address, tag), generate


@intrinsic
def _extended(typing_context: Any, bits: Any) -> Any:
    """A float16 in float32, by the machine's instruction."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(bits), generate


def _has_instruction(triple: str, cpu: str, features: str) -> bool:
    """Whether the machine widens a float16 itself; LLVM's substitute isn't in numba."""
    del cpu
    return "+f16c" in features or triple.startswith(("aarch64", "arm64"))


def load(address: Any, index: Any, tag: Any) -> Any:
    """Element ``index`` of the row at ``address``, stored as ``tag`` says, in float32 or wider."""
    raise NotImplementedError(f"called by compiled loops only ({address}, {index}, {tag})")


# numba's own types see the typing functions' parameters, not the caller's.
_at: Any = _pointer
_widened: Any = _extended


@overload(load, jit_options={"forceinline": True, "boundscheck": False})  # type: ignore[typeddict-unknown-key]
def _load(address: Any, index: Any, tag: Any) -> Callable[..., Any]:
    del address, index
    if tag == types.uint16:
        return load_bfloat16
    if tag != types.int16:
        return _load_as_stored
    machine = cpu_target.target_context.codegen().magic_tuple()
    return _load_float16 if _has_instruction(*machine) else load_float16_by_bits


def _load_as_stored(address: Any, index: Any, tag: Any) -> Any:
    return carray(_at(address, tag), (1,))[np.uint64(index)]


def _load_float16(address: Any, index: Any, tag: Any) -> Any:
    return _widened(carray(_at(address, tag), (1,))[np.uint64(index)])


def load_bfloat16(address: Any, index: Any, tag: Any) -> Any:
    """A bfloat16 is the upper half of a float32."""
    bits = np.uint32(carray(_at(address, tag), (1,))[np.uint64(index)])
    return np.uint32(bits << np.uint32(16)).view(np.float32)


def load_float16_by_bits(address: Any, index: Any, tag: Any) -> Any:
    """A float16 in float32: its bits, 13 to the left, and the exponent's bias set right.

    The product is exact and turns subnormal numbers into normal ones; infinity and NaN have the
    highest exponent in either format.
    """
    bits = np.uint32(carray(_at(address, tag), (1,))[np.uint64(index)])
    magnitude = np.uint32(bits & np.uint32(0x7FFF))
    moved = np.uint32(magnitude << np.uint32(13))
    scaled = np.float32(moved.view(np.float32) * np.float32(2.0**112))
    special = np.uint32(moved | np.uint32(0x7F800000))
    chosen = scaled.view(np.uint32) if magnitude < np.uint32(0x7C00) else special
    sign = np.uint32((bits & np.uint32(0x8000)) << np.uint32(16))
    return np.uint32(chosen | sign).view(np.float32)
