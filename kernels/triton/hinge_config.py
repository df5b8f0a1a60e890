"""Launch configurations of the row kernels, by chip and shape: a table, no tuning at run time."""

from __future__ import annotations

from dataclasses import dataclass

# Shared memory a program may use, in KiB, by compute capability (CUDA programming guide).
_SHARED_KIB = {80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 110: 227, 120: 99}

# Rows stay in registers up to this many bytes of one row in the accumulation dtype.
_WIDEST_ROW = 32768


@dataclass(frozen=True, slots=True)
class RowsConfig:
    """How `rows_kernel` or `wide_kernel` is launched.

    Attributes
    ----------
    wide : bool
        Whether the features are walked in blocks (`wide_kernel`).
    block : int
        Features held at a time, a power of two.
    rows : int
        Rows R held at a time, a power of two.
    warps, stages : int
        Warps of a program; row blocks in flight (1: no asynchronous copies).
    programs : int
        Programs that fit on one multiprocessor.
    """

    wide: bool
    block: int
    rows: int
    warps: int
    stages: int
    programs: int


def rows_config(
    n_features: int, storage: int, accumulation: int, capability: int, *, logistic: bool = False
) -> RowsConfig:
    """Configuration for D features of ``storage`` bytes, on compute capability ``10 * x + y``.

    A thread holds 16 features of w and of g and 64 elements of the row block (half of that in
    float64), which compiles to fewer than 256 registers without spills: see `REGISTERS`. Row blocks
    are copied asynchronously, one being computed on while up to 128 KiB are in flight. The logistic
    loss takes registers of its own for each row: in float64, one row where there are none left.
    """
    block = max(128, 1 << (max(1, n_features) - 1).bit_length())
    if block * accumulation > _WIDEST_ROW:
        return RowsConfig(
            wide=True, block=8192 // accumulation, rows=4, warps=8, stages=1, programs=2
        )
    per_thread = 64 // accumulation  # features of one row in one thread
    warps = min(16, max(4, block // (32 * per_thread)))
    tile = 32 * warps * (256 // accumulation)  # elements of a row block
    if warps == 16 or (warps == 4 and accumulation == 8):
        tile //= 2  # 512 threads leave 128 registers to each; three small programs leave 168
    # Each row has registers for its sums: twice as many short rows spill where they are unaligned.
    rows = min(64 // accumulation, max(1, tile // block))
    if logistic and accumulation == 8 and warps == 16:
        rows //= 2
    programs = 1 if warps >= 8 else 2
    available = 1024 * _SHARED_KIB.get(capability, 48) // programs - 2048
    in_flight = min(available, 131072 // programs) // (rows * block * storage)
    return RowsConfig(
        wide=False,
        block=block,
        rows=rows,
        warps=warps,
        stages=1 + min(3, in_flight),
        programs=programs,
    )


# Most registers of a thread that the compile gate accepts, by (storage, features): what Triton 3.7
# gives, and a margin of about 8 %. 65536 / (32 warps programs) is what the chip offers.
REGISTERS = {
    ("fp32", 512): 255,
    ("fp32", 2048): 176,
    ("fp32", 4096): 192,
    ("fp32", 8192): 128,
    ("fp32", 20000): 96,
    ("bf16", 512): 184,
    ("bf16", 2048): 184,
    ("bf16", 4096): 192,
    ("bf16", 8192): 128,
    ("bf16", 20000): 96,
    ("fp64", 2048): 192,
    ("fp64", 4096): 128,
    ("fp64", 20000): 128,
}
REGISTERS_OLDER = {("bf16", 512): 212}
"""Where Triton 3.6 takes more; two programs fit on a multiprocessor up to 255."""
