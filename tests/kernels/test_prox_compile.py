"""The proximal GPU kernels, compiled without a GPU for every chip of the table."""

import pytest

pytest.importorskip("triton")
from proxmtl.kernels.triton.gate import compile_for
from proxmtl.kernels.triton.prox_table import PRODUCTION


@pytest.mark.parametrize("name", PRODUCTION)
@pytest.mark.parametrize("capability", [80, 90, 100])
def test_no_spills_and_wide_loads(name, capability):
    case = PRODUCTION[name]
    used = compile_for(
        case.kernel, case.types, case.constants, capability=capability, num_warps=case.warps
    )
    assert (used.stack, used.local) == (0, 0)
    assert used.registers <= case.registers
    assert used.loads[case.width] >= case.loads
    narrower = sum(count for width, count in used.loads.items() if width < min(case.width, 64))
    assert narrower == 0


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
    crowded = {**case.constants, "R": 2048}
    spilled = compile_for(case.kernel, case.types, crowded, capability=90, num_warps=4)
    assert spilled.stack + spilled.local > 0
