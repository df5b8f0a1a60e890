"""Launch configurations of the proximal kernels: a table, no tuning at run time."""

from __future__ import annotations

from dataclasses import dataclass

# A longer group doesn't fit into the registers of a program that walks whole fibres.
LONGEST_WALK = 4096
# Most entries that the second pass of `smooth_kernel` takes at a time.
SMOOTH_BLOCK = 2048
ENTRY_BLOCK = 2048
ENTRY_WARPS = 4
# Bytes, in the accumulation dtype, of the pieces in which groups are walked that don't fit.
LONG_SHRINK_BLOCK = 16384
LONG_WARPS = 8


@dataclass(frozen=True, slots=True)
class TileConfig:
    """How tile kernels are launched: ``rows`` groups of up to ``width`` members in a program."""

    rows: int
    width: int
    warps: int


def longest_tile(accumulation: int, *, uniform: bool) -> int:
    """Most members of a group that a program holds between its norm and its scaling.

    Parameters
    ----------
    accumulation : int
        Bytes of an entry in the accumulation dtype.
    uniform : bool
        Whether all groups have one size and tile the fibres. Otherwise the place of each entry
        takes registers too, as many as the entry or more.

    Returns
    -------
    int
        64 KiB of entries, half of that where not uniform.
    """
    return 65536 // accumulation // (1 if uniform else 2)


def tile_config(longest: int, accumulation: int) -> TileConfig:
    """Configuration for groups of up to ``longest`` members.

    Parameters
    ----------
    longest : int
    accumulation : int
        Bytes of an entry in the accumulation dtype.

    Returns
    -------
    TileConfig
        A thread holds 16 entries of float32, as many bytes in float64; twice that for the longest
        groups, where they are uniform.
    """
    width = max(1, 1 << (max(1, longest) - 1).bit_length())
    per_thread = 64 // accumulation
    warps = min(16, max(4, width // (32 * per_thread)))
    return TileConfig(max(1, 32 * warps * per_thread // width), width, warps)


def across_config(inner: int, accumulation: int) -> TileConfig:
    """Configuration for groups across memory: ``rows`` members of ``width`` neighbouring fibres.

    A group of more members is walked in pieces, twice. Groups along memory (inner 1) that are too
    long for a tile are walked as fibres across it that have no neighbours.
    """
    if inner > 1:
        return TileConfig(32, 128, 4)
    return TileConfig(LONG_SHRINK_BLOCK // accumulation, 1, LONG_WARPS)


def walk_config(longest: int) -> TileConfig:
    """Configuration of the kernels that walk the groups of whole fibres, ``rows`` at a time.

    One warp for groups of up to 128 members: its barriers are the cheapest, and a row more or less
    in a program doesn't matter when there are hundreds of rows.
    """
    width = max(16, 1 << (max(1, longest) - 1).bit_length())
    warps = min(8, max(1, width // 128))
    return TileConfig(max(1, 128 // width), width, warps)
