"""Production configurations of the proximal kernels, and what each may use: the gate's table.

Registers are what Triton 3.7 gives on the chips of the entry, whichever is most, and a margin of
about 10 %, within which 3.6 stays. The stream of entries must come in ``loads`` loads of ``width``
bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proxmtl.kernels.triton.overlap_kernels import smooth_kernel, sweep_kernel
from proxmtl.kernels.triton.prox_config import (
    ENTRY_BLOCK,
    ENTRY_WARPS,
    LONGEST_WALK,
    SMOOTH_BLOCK,
    across_config,
    longest_tile,
    tile_config,
    walk_config,
)
from proxmtl.kernels.triton.prox_kernels import shrink_across_kernel, shrink_kernel, soft_kernel

_ALL = (80, 90, 100)
_BYTES = {"fp64": 8, "fp32": 4, "bf16": 4, "fp16": 4}  # of the accumulation dtype
_ENTRIES = {"X", "OUT", "GRAD", "DUAL"}
_TABLES = {"indptr", "indices", "owners"}
_SUMS = {"partial", "GAP", "PENALTY", "weights"}
_NUMBERS = {"step", "l1", "smoothness", "tolerance"}
_LONG = {"count", "n_pairs"}
_Limits = tuple[int, int, int]
_Sizes = int | tuple[int, str]


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
    chips: tuple[int, ...]

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


def _tiles(storage: str, sizes: _Sizes, limits: _Limits, *chips: int) -> Production:
    """Tiles for groups of one size (a number), or of up to a size: ragged, or gathered."""
    size, kind = sizes if isinstance(sizes, tuple) else (sizes, "uniform")
    longest = longest_tile(_BYTES[storage], uniform=kind == "uniform")
    config = tile_config(size or longest, _BYTES[storage])
    constants = {
        "SHARED": False,
        "SPARSE": True,
        "SIZE": (size or longest) if kind == "uniform" else 0,
        "TILED": kind != "gathered",
        "R": config.rows,
        "P": config.width,
    }
    return Production(shrink_kernel, storage, constants, config.warps, *limits, chips or _ALL)


def _walk(kernel: Any, storage: str, longest: int, limits: _Limits, *chips: int) -> Production:
    config = walk_config(longest)
    constants = {"SHARED": False, "R": config.rows, "P": config.width}
    if kernel is smooth_kernel:
        constants["BLOCK"] = min(config.width, SMOOTH_BLOCK)
    return Production(kernel, storage, constants, config.warps, *limits, chips or _ALL)


def _entries(storage: str, each: bool, limits: _Limits, *chips: int) -> Production:
    constants = {"EACH": each, "BLOCK": ENTRY_BLOCK}
    return Production(soft_kernel, storage, constants, ENTRY_WARPS, *limits, chips or _ALL)


def _across(
    storage: str, once: bool, tiled: bool, limits: _Limits, *chips: int, inner: int = 2048
) -> Production:
    config = across_config(inner, _BYTES[storage])
    constants = {
        "SHARED": False,
        "SPARSE": True,
        "TILED": tiled,
        "ONCE": once,
        "BLOCK_N": config.rows,
        "BLOCK_C": config.width,
    }
    if inner == 1:
        constants |= {"inner": 1, "fibre_blocks": 1}  # as Triton takes them
    return Production(
        shrink_across_kernel, storage, constants, config.warps, *limits, chips or _ALL
    )


_LONGEST = 0
# Name: configuration, (registers, width, loads). Groups whose size isn't a multiple of 16 bytes
# start anywhere, and ragged and gathered ones at any entry: their loads are as wide as that allows.
PRODUCTION = {
    "soft fp32": _entries("fp32", False, (36, 128, 4)),
    "soft bf16": _entries("bf16", False, (36, 128, 2)),
    "soft fp32, each its weight": _entries("fp32", True, (40, 128, 12), 90),
    "soft fp16, each its weight": _entries("fp16", True, (36, 128, 10), 90),
    "shrink fp32, groups of 16": _tiles("fp32", 16, (52, 128, 4)),
    "shrink bf16, groups of 16": _tiles("bf16", 16, (44, 128, 2)),
    "shrink fp32, groups of 10": _tiles("fp32", 10, (72, 64, 8)),
    "shrink fp32, ragged to 11": _tiles("fp32", (11, "ragged"), (104, 32, 16)),
    "shrink fp32, gathered to 11": _tiles("fp32", (11, "gathered"), (108, 32, 16), 90),
    "shrink fp32, rows of 2048": _tiles("fp32", 2048, (44, 128, 4)),
    "shrink fp32, longest": _tiles("fp32", _LONGEST, (72, 128, 8)),
    "shrink fp64, longest": _tiles("fp64", _LONGEST, (84, 128, 8)),
    "shrink fp32, longest ragged": _tiles("fp32", (_LONGEST, "ragged"), (96, 32, 16), 90),
    "shrink fp32, longest gathered": _tiles("fp32", (_LONGEST, "gathered"), (92, 32, 16), 90),
    "shrink fp64, longest gathered": _tiles("fp64", (_LONGEST, "gathered"), (84, 64, 8), 90),
    "shrink fp16, longest gathered": _tiles("fp16", (_LONGEST, "gathered"), (92, 32, 16), 90),
    "shrink fp32, beyond a program": _across("fp32", False, True, (84, 32, 32), 90, inner=1),
    "shrink fp64, beyond a program, gathered": _across(
        "fp64", False, False, (88, 64, 16), 90, inner=1
    ),
    "shrink across fp32, once": _across("fp32", True, True, (96, 128, 8)),
    "shrink across fp32, twice": _across("fp32", False, True, (108, 128, 16)),
    "shrink across fp64, once, gathered": _across("fp64", True, False, (204, 128, 16), 90),
    "shrink across fp64, twice, gathered": _across("fp64", False, False, (240, 128, 32), 90),
    "sweep fp32, to 11": _walk(sweep_kernel, "fp32", 11, (120, 32, 24)),
    "sweep fp64, longest": _walk(sweep_kernel, "fp64", LONGEST_WALK, (164, 64, 96)),
    "smooth fp32, to 11": _walk(smooth_kernel, "fp32", 11, (72, 32, 8)),
    "smooth fp32, longest": _walk(smooth_kernel, "fp32", LONGEST_WALK, (140, 32, 24)),
    "smooth fp64, longest": _walk(smooth_kernel, "fp64", LONGEST_WALK, (108, 64, 24), 90),
}
PARKED_OLDER = {("sweep fp32, to 11", 100): 16}
"""Bytes of stack that Triton 3.6 uses though registers are free (96 of 255)."""
