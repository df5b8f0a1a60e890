"""Launch configurations of the proximal kernels: a table, no tuning at run time."""

from __future__ import annotations

from dataclasses import dataclass

# A longer group doesn't fit into the registers of one program.
LONGEST_GROUP = 16384
LONGEST_WALK = 4096
ENTRY_BLOCK = 2048
STEP_BLOCK = 1024
ENTRY_WARPS = 4
# Bytes, in the accumulation dtype, of the pieces in which a step walks groups that don't fit.
LONG_STEP_BLOCK = 4096
LONG_STEP_WARPS = 8
COLUMN_BLOCK = 128
ROW_BLOCK = 32


@dataclass(frozen=True, slots=True)
class TileConfig:
    """How tile kernels are launched: ``rows`` groups of up to ``width`` members in a program."""

    rows: int
    width: int
    warps: int


def longest_step(accumulation: int) -> int:
    """Most members of a group whose operands fit a program, by bytes of the accumulation dtype."""
    return 32768 // accumulation


def tile_config(longest: int, accumulation: int, operands: int = 1) -> TileConfig:
    """Configuration for groups of up to ``longest`` members.

    Parameters
    ----------
    longest : int
    accumulation : int
        Bytes of an entry in the accumulation dtype.
    operands : int
        Tensors of the tile's shape that a program holds at a time.

    Returns
    -------
    TileConfig
        A thread holds 16 entries of float32 of each operand (8 of three or more), as many bytes in
        float64; up to 32 for the longest groups.
    """
    width = max(1, 1 << (max(1, longest) - 1).bit_length())
    per_thread = (64 if operands < 3 else 32) // accumulation
    warps = min(16, max(4, width // (32 * per_thread)))
    return TileConfig(max(1, 32 * warps * per_thread // width), width, warps)


def walk_config(longest: int) -> TileConfig:
    """Configuration of the kernels that walk the groups of whole fibres, ``rows`` at a time.

    One warp for groups of up to 128 members: its barriers are the cheapest, and a row more or less
    in a program doesn't matter when there are hundreds of rows.
    """
    width = max(16, 1 << (max(1, longest) - 1).bit_length())
    warps = min(8, max(1, width // 128))
    return TileConfig(max(1, 128 // width), width, warps)
