"""Production configurations of the proximal kernels, and what each may use: the gate's table.

Registers are what Triton 3.7 gives on compute capability 8.0, 9.0 and 10.0, whichever is most, and
a margin of about 10 %. The stream of entries must come in ``loads`` loads of ``width`` bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .apg_kernels import entry_step_kernel, group_step_kernel, long_step_kernel
from .overlap_kernels import smooth_kernel, sweep_kernel
from .prox_config import (
    COLUMN_BLOCK,
    ENTRY_BLOCK,
    ENTRY_WARPS,
    LONG_STEP_BLOCK,
    LONG_STEP_WARPS,
    LONGEST_GROUP,
    LONGEST_WALK,
    ROW_BLOCK,
    STEP_BLOCK,
    longest_step,
    tile_config,
    walk_config,
)
from .prox_kernels import shrink_across_kernel, shrink_kernel, soft_kernel

_BYTES = {"fp64": 8, "fp32": 4, "bf16": 4, "fp16": 4}  # of the accumulation dtype
_ENTRIES = {"X", "OUT", "Z", "GRAD", "NEW", "NEXT", "DUAL"}
_TABLES = {"indptr", "indices", "owners"}
_SUMS = {"partial", "GAP", "PENALTY", "weights"}
_NUMBERS = {"step", "l1", "momentum", "ridge", "smoothness", "tolerance"}
_LONG = {"count", "n_pairs"}


@dataclass(frozen=True, slots=True)
class Production:
    """One kernel as it is launched, and the registers and loads it must keep to."""

    kernel: Any
    storage: str
    constants: dict[str, Any]
    warps: int
    registers: int
    width: int
    loads: int

    @property
    def types(self) -> dict[str, str]:
        """Triton type of each argument that isn't a constant."""
        slope = "fp64" if self.storage == "fp64" else "fp32"
        names = [name for name in self.kernel.arg_names if name not in self.constants]
        return {name: _type(name, self.storage, slope) for name in names}


def _type(name: str, storage: str, slope: str) -> str:
    if name in _ENTRIES:
        return f"*{storage}"
    if name == "SLOPE":
        return f"*{slope}"
    if name in _TABLES:
        return "*i64"
    if name in _SUMS:
        return "*fp64"
    if name in _NUMBERS:
        return "fp64"
    return "i64" if name in _LONG else "i32"


def _tiles(
    kernel: Any, storage: str, size: int, longest: int, limits: tuple[int, int, int]
) -> Production:
    operands = 3 if kernel is group_step_kernel else 1
    config = tile_config(longest, _BYTES[storage], operands)
    constants = {
        "SHARED": False,
        "SPARSE": operands == 3,
        "SIZE": size,
        "TILED": True,
        "R": config.rows,
        "P": config.width,
    }
    return Production(kernel, storage, constants, config.warps, *limits)


def _walk(kernel: Any, storage: str, longest: int, limits: tuple[int, int, int]) -> Production:
    config = walk_config(longest)
    constants = {"SHARED": False, "R": config.rows, "P": config.width}
    if kernel is smooth_kernel:
        constants["BLOCK"] = config.width
    return Production(kernel, storage, constants, config.warps, *limits)


def _entries(storage: str, limits: tuple[int, int, int]) -> Production:
    constants = {"EACH": False, "BLOCK": ENTRY_BLOCK}
    return Production(soft_kernel, storage, constants, ENTRY_WARPS, *limits)


def _entry_step(storage: str, limits: tuple[int, int, int]) -> Production:
    constants = {"SPARSE": True, "BLOCK": STEP_BLOCK}
    return Production(entry_step_kernel, storage, constants, ENTRY_WARPS, *limits)


def _long_step(storage: str, limits: tuple[int, int, int]) -> Production:
    block = LONG_STEP_BLOCK // _BYTES[storage]
    constants = {"SHARED": False, "SPARSE": True, "TILED": True, "BLOCK": block}
    return Production(long_step_kernel, storage, constants, LONG_STEP_WARPS, *limits)


def _across(storage: str, once: bool, limits: tuple[int, int, int]) -> Production:
    constants = {
        "SHARED": False,
        "SPARSE": False,
        "ONCE": once,
        "BLOCK_N": ROW_BLOCK,
        "BLOCK_C": COLUMN_BLOCK,
    }
    return Production(shrink_across_kernel, storage, constants, 4, *limits)


# Name: configuration, (registers, width, loads). Groups whose size isn't a multiple of 16 bytes
# start anywhere, and ragged ones at any entry: their loads are as wide as that allows.
PRODUCTION = {
    "soft fp32": _entries("fp32", (40, 128, 4)),
    "soft bf16": _entries("bf16", (40, 128, 2)),
    "shrink fp32, groups of 16": _tiles(shrink_kernel, "fp32", 16, 16, (48, 128, 4)),
    "shrink bf16, groups of 16": _tiles(shrink_kernel, "bf16", 16, 16, (48, 128, 2)),
    "shrink fp32, groups of 10": _tiles(shrink_kernel, "fp32", 10, 10, (64, 64, 8)),
    "shrink fp32, ragged to 11": _tiles(shrink_kernel, "fp32", 0, 11, (104, 32, 16)),
    "shrink fp32, rows of 2048": _tiles(shrink_kernel, "fp32", 2048, 2048, (40, 128, 4)),
    "shrink fp32, longest": _tiles(
        shrink_kernel, "fp32", LONGEST_GROUP, LONGEST_GROUP, (64, 128, 8)
    ),
    "shrink fp64, longest": _tiles(
        shrink_kernel, "fp64", LONGEST_GROUP, LONGEST_GROUP, (124, 128, 16)
    ),
    "shrink across fp32, once": _across("fp32", True, (88, 128, 8)),
    "shrink across fp32, twice": _across("fp32", False, (88, 128, 16)),
    "step fp32": _entry_step("fp32", (64, 128, 6)),
    "step bf16": _entry_step("bf16", (64, 128, 3)),
    "step fp32, groups of 16": _tiles(group_step_kernel, "fp32", 16, 16, (76, 128, 6)),
    "step fp32, ragged to 11": _tiles(group_step_kernel, "fp32", 0, 11, (148, 32, 24)),
    "step fp64, longest": _tiles(
        group_step_kernel, "fp64", longest_step(8), longest_step(8), (128, 128, 12)
    ),
    "step fp32, beyond a program": _long_step("fp32", (128, 32, 20)),
    "step fp64, beyond a program": _long_step("fp64", (128, 64, 10)),
    "sweep fp32, to 11": _walk(sweep_kernel, "fp32", 11, (120, 32, 24)),
    "sweep fp64, longest": _walk(sweep_kernel, "fp64", LONGEST_WALK, (166, 64, 96)),
    "smooth fp32, to 11": _walk(smooth_kernel, "fp32", 11, (68, 32, 8)),
    "smooth fp32, longest": _walk(smooth_kernel, "fp32", LONGEST_WALK, (128, 32, 32)),
}
