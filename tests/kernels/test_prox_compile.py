"""The proximal GPU kernels, compiled without a GPU for every chip of the table."""

import pytest

pytest.importorskip("triton")
import triton
import triton.language as tl
from gate import OLDER_COMPILER, compile_for
from prox_table import PARKED_OLDER, PRODUCTION


@pytest.mark.parametrize(
    ("name", "capability"), [(name, c) for name, case in PRODUCTION.items() for c in case.chips]
)
def test_no_spills_and_wide_loads(name, capability):
    case = PRODUCTION[name]
    used = compile_for(
        case.kernel, case.types, case.constants, capability=capability, num_warps=case.warps
    )
    parked = PARKED_OLDER.get((name, capability), 0) if OLDER_COMPILER else 0
    assert (used.stack, used.local) == (parked, 0)
    assert used.registers <= case.registers
    assert used.loads[case.width] >= case.loads
    narrower = sum(count for width, count in used.loads.items() if width < min(case.width, 64))
    assert narrower == 0
    assert used.narrow_products == 0


def test_gate_sees_narrow_loads_and_spills():
    case = PRODUCTION["shrink fp32, groups of 16"]
    narrow = compile_for(
        case.kernel,
        case.types,
        case.constants,
        capability=90,
        num_warps=case.warps,
        unaligned=frozenset({"X"}),
    )
    assert narrow.loads[128] == 0
    case = PRODUCTION["shrink fp64, longest"]
    twice = {name: 2 * case.constants[name] for name in ("SIZE", "P")}
    crowded = {**case.constants, **twice}
    spilled = compile_for(case.kernel, case.types, crowded, capability=90, num_warps=case.warps)
    assert spilled.stack + spilled.local > 0


@triton.jit
def narrow_kernel(X, BLOCK: tl.constexpr):
    tl.store(X + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), 1.0)


def test_gate_sees_offsets_that_overflow():
    used = compile_for(narrow_kernel, {"X": "*fp32"}, {"BLOCK": 128}, capability=90, num_warps=4)
    assert used.narrow_products == 1
