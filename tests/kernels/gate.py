"""Compile a kernel for a chip that isn't here, and read what the machine code uses.

A kernel that spills registers, or reads its streams in 32-bit pieces, is slow however right its
results are. Both show in the cubin, so that they are checked on any machine with Triton.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDER_COMPILER = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7)
"""Whether the tables' figures, of Triton 3.7, have exceptions."""

_DUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


@dataclass(frozen=True, slots=True)
class Resources:
    """What one kernel uses on one chip.

    Attributes
    ----------
    registers : int
        Registers of a thread.
    stack, local : int
        Bytes of stack and of local memory of a thread: spills.
    shared : int
        Bytes of shared memory of a program, statically and dynamically allocated.
    loads, stores : Counter
        Global loads (asynchronous copies included) and stores in the code by width in bits.
    narrow_products : int
        Products of 32-bit integers in what Triton was given: an offset made by one overflows on
        tensors of 2³¹ elements.
    """

    registers: int
    stack: int
    local: int
    shared: int
    loads: Counter[int]
    stores: Counter[int]
    narrow_products: int


def compile_for(
    kernel: Any,
    types: Mapping[str, str],
    constants: Mapping[str, Any],
    *,
    capability: int,
    num_warps: int,
    unaligned: frozenset[str] = frozenset(),
) -> Resources:
    """Compile for compute capability ``10 * x + y`` and inspect the cubin.

    Parameters
    ----------
    kernel : JITFunction
    types : mapping of str to str
        Triton type of each argument that isn't a constant, ``"*fp32"`` or ``"i32"`` for example.
    constants : mapping of str to value
        Compile-time arguments.
    capability, num_warps : int
    unaligned : frozenset of str
        Arguments not to be taken as multiples of 16 (bytes for pointers).

    Returns
    -------
    Resources
    """
    names = kernel.arg_names
    source = ASTSource(
        fn=kernel,
        signature={name: types.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={
            (i,): [["tt.divisibility", 16]]
            for i, name in enumerate(names)
            if name in types and name not in unaligned
        },
    )
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options={"num_warps": num_warps})
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        usage, code = _dump("-res-usage", cubin), _dump("-sass", cubin)
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", usage)
    if found is None:
        raise RuntimeError(f"cuobjdump gave no resource usage of {kernel.__name__}: {usage}")
    registers, stack, static, local = map(int, found.groups())
    return Resources(
        registers=registers,
        stack=stack,
        local=local,
        shared=static + int(compiled.metadata.shared),
        loads=_widths(code, r"LDG(?:STS)?"),
        stores=_widths(code, r"STG"),
        narrow_products=len(re.findall(r"arith\.muli .*i32\b", compiled.asm["ttir"])),
    )


def _dump(option: str, cubin: Path) -> str:
    command = [str(_DUMP), option, str(cubin)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def _widths(code: str, instruction: str) -> Counter[int]:
    modifiers = re.findall(rf"\b{instruction}\.E([.\w]*)", code)
    return Counter(next((int(w) for w in (256, 128, 64) if f".{w}" in m), 32) for m in modifiers)
