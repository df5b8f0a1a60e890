"""The GPU kernels of the hinge, compiled for chips that aren't here: no spills, wide loads."""

import pytest

pytest.importorskip("triton")

from gate import OLDER_COMPILER, compile_for

from proxmtl.kernels.triton import hinge_kernels
from proxmtl.kernels.triton.hinge_config import REGISTERS, REGISTERS_OLDER, rows_config

SIZES = {"fp32": 4, "bf16": 2, "fp16": 2, "fp64": 8}
SHARED_KIB = {80: 163, 90: 227, 100: 227}
OTHER_CHIPS = [(c, s, 4096) for c in (80, 100) for s in ("fp32", "bf16")]
LOSSES = {"squared_hinge": 0, "logistic": 1, "squared": 2}
# Storage, dtype of the sums, features, loss, and what differs: nearest to the registers' end.
NARROW = [
    ("fp64", "fp64", 4096, "logistic", {"atomic": True}),
    ("fp64", "fp64", 2048, "logistic", {}),
    ("fp32", "fp64", 4096, "logistic", {}),
    ("fp16", "fp32", 4096, "logistic", {"atomic": True}),
    ("fp64", "fp64", 128, "logistic", {"vector": 1}),
    ("fp32", "fp32", 256, "squared_hinge", {"vector": 1}),
    ("fp32", "fp32", 20000, "squared", {"atomic": True}),
]


@pytest.fixture(autouse=True)
def compiler():
    from triton import knobs

    if knobs.runtime.interpret:
        pytest.skip("the interpreter replaces the compiler in this process")


def rows_case(
    capability, storage, n_features, *, wide=None, vector=None, loss="squared_hinge", atomic=False
):
    wide = wide or ("fp64" if storage == "fp64" else "fp32")
    sizes = SIZES[storage], SIZES[wide]
    config = rows_config(n_features, *sizes, capability, logistic=loss == "logistic")
    pointers = ("W", "bias", "labels", "weights", "scores", "grad")
    types = {"X": f"*{storage}", "items": "*i64", "totals": "*fp64", "D": "i32"}
    types |= dict.fromkeys(pointers, f"*{wide}")
    constants = {
        "LOSS": LOSSES[loss],
        "HAS_BIAS": True,
        "HAS_WEIGHTS": True,
        "WRITE_SCORES": True,
        "ATOMIC": atomic,
        "VECTOR": 16 // SIZES[storage] if vector is None else vector,
        "R": config.rows,
        "BLOCK_D": config.block,
        "STAGES": config.stages,
    }
    kernel = hinge_kernels.wide_kernel if config.wide else hinge_kernels.rows_kernel
    used = compile_for(kernel, types, constants, capability=capability, num_warps=config.warps)
    return config, used


def most_registers(storage, n_features):
    older = REGISTERS_OLDER.get((storage, n_features)) if OLDER_COMPILER else None
    return older or REGISTERS[storage, n_features]


def most_narrow_loads(config):
    """Up to Triton 3.6 each thread reads label and weight of each row: one transaction a warp.

    They stand in the loop once, and ahead of it once for each row block in flight.
    """
    return 8 + 2 * config.rows * (config.stages + 1) if OLDER_COMPILER else 16


@pytest.mark.parametrize(
    ("capability", "storage", "n_features"), [*((90, *key) for key in REGISTERS), *OTHER_CHIPS]
)
def test_rows_kernels(capability, storage, n_features):
    config, used = rows_case(capability, storage, n_features)
    assert (used.stack, used.local) == (0, 0)
    assert used.registers <= most_registers(storage, n_features)
    assert used.registers * 32 * config.warps * config.programs <= 65536
    assert config.programs * used.shared <= SHARED_KIB[capability] * 1024
    # Each thread reads its part of a row block, and of w, in 128-bit pieces; what is narrower is
    # the chunk's description, the labels and the sample weights.
    per_block = config.rows * config.block * SIZES[storage] // (32 * config.warps * 16)
    assert used.loads[128] >= per_block * max(1, config.stages - 1)
    assert used.loads[32] + used.loads[64] <= most_narrow_loads(config)
    assert used.narrow_products == 0


@pytest.mark.parametrize(("storage", "wide", "n_features", "loss", "options"), NARROW)
def test_configurations_short_of_registers(storage, wide, n_features, loss, options):
    config, used = rows_case(90, storage, n_features, wide=wide, loss=loss, **options)
    assert (used.stack, used.local) == (0, 0)
    assert used.registers * 32 * config.warps * config.programs <= 65536


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_other_losses_cost_no_spills(loss):
    _, used = rows_case(90, "fp32", 4096, loss=loss)
    assert (used.stack, used.local) == (0, 0)
    assert used.registers <= REGISTERS["fp32", 4096] + 8


def test_the_gate_sees_narrow_loads():
    """Rows that may start anywhere can't be read in wide pieces: the counts have to show it."""
    config, used = rows_case(90, "fp32", 4096, vector=1)
    assert used.loads[32] >= config.rows * config.block // (32 * config.warps)


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("wide", ["fp32", "fp64"])
def test_reduction_and_epilogue(capability, wide):
    if wide == "fp64" and capability != 90:
        pytest.skip("one chip is enough for the rarer dtype")
    reduction = compile_for(
        hinge_kernels.reduce_kernel,
        {
            "chunks": "*i64",
            "partial": f"*{wide}",
            "partial_totals": "*fp64",
            "grad": f"*{wide}",
            "value": "*fp64",
            "grad_bias": f"*{wide}",
            "D": "i32",
            "blocks": "i32",
        },
        {"BLOCK_D": 512},
        capability=capability,
        num_warps=4,
        unaligned=frozenset({"blocks"}),
    )
    pointers = ("scores", "bias", "labels", "weights")
    strides = ("label_row", "weight_row")
    epilogue = compile_for(
        hinge_kernels.epilogue_kernel,
        {
            **dict.fromkeys(pointers, f"*{wide}"),
            "partial_totals": "*fp64",
            "N": "i32",
            "blocks": "i32",
            **dict.fromkeys(strides, "i32"),
        },
        {
            "label_col": 1,
            "weight_col": 1,
            "LOSS": 0,
            "HAS_BIAS": True,
            "HAS_WEIGHTS": True,
            "BLOCK_N": 1024,
        },
        capability=capability,
        num_warps=4,
        unaligned=frozenset({"blocks"}),
    )
    for used in (reduction, epilogue):
        assert (used.stack, used.local) == (0, 0)
        assert used.registers <= 64
        assert used.loads[128] >= 1
        assert used.narrow_products == 0
    assert epilogue.stores[128] >= 1
