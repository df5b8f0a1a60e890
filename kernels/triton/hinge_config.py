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


def rows_config(n_features: int, storage: int, accumulation: int, capability: int) -> RowsConfig:
    """Configuration for D features of ``storage`` bytes, on compute capability ``10 * x + y``.

    A thread holds 16 features of w and of g, and 64 elements of the row block (half of that in
    float64): that is below 200 registers, see the compile gate. Copies in flight fill what the chip
    has of shared memory, up to four blocks.
    """
    block = max(128, 1 << (max(1, n_features) - 1).bit_length())
    shared = 1024 * _SHARED_KIB.get(capability, 48)
    if block * accumulation > _WIDEST_ROW:
        return RowsConfig(wide=True, block=2048, rows=4, warps=8, stages=1, programs=2)
    per_thread = 64 // accumulation  # features of one row in one thread
    warps = min(16, max(4, block // (32 * per_thread)))
    tile = 32 * warps * (256 // accumulation)  # elements of a row block
    if warps == 16:
        tile //= 2  # 512 threads leave 128 registers to each
    rows = min(32, max(1, tile // block))
    stages = min(4, shared // (rows * block * storage + 1024))
    if stages < 2:
        stages = 1
    return RowsConfig(
        wide=False,
        block=block,
        rows=rows,
        warps=warps,
        stages=stages,
        programs=1 if warps >= 8 else 2,
    )
