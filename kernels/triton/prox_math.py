# ruff: noqa: ANN001, ANN201, PLR0917 - compiled by Triton, which has its own types
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Pieces of the proximal GPU kernels."""

import triton
import triton.language as tl


@triton.jit
def wide(number):
    """A float64 argument as a tensor: Triton's interpreter passes it as a Python float."""
    return tl.full([], number, tl.float64)


@triton.jit
def soft(v, threshold):
    """What clipping to [-threshold, threshold] takes away; NaN stays NaN."""
    return v - tl.minimum(tl.maximum(v, -threshold), threshold)


@triton.jit
def norms_along(x, AXIS: tl.constexpr):
    """Euclidean norms along an axis of a tile, scaled where squares would leave the range."""
    low, high, up, down = range_of(x)
    largest = tl.max(tl.abs(x), axis=AXIS)
    unit = tl.where(largest < low, up, tl.where(largest > high, down, 1.0)).to(x.dtype)
    x = x * tl.expand_dims(unit, AXIS)
    return tl.sqrt(tl.sum(x * x, axis=AXIS)) / unit


@triton.jit
def unit_of(norm):
    """What entries are to be multiplied by whose plain norm this is: 1 where it is in the range.

    For groups that are walked, or fill the registers: a look at their largest entry costs more than
    a second sum where it is needed, as `is_lost` tells.
    """
    low, high, up, down = range_of(norm)
    return tl.where(norm < low, up, tl.where(norm > high, down, 1.0)).to(norm.dtype)


@triton.jit
def is_lost(norm, threshold):
    """Whether any plain norm has lost squares, and the threshold doesn't make it zero anyway."""
    low, high, _, _ = range_of(norm)
    small = tl.zeros_like(norm) + threshold < low  # the interpreter passes Python floats
    lost = (norm > high) | ((norm < low) & small)
    return tl.max(lost.to(tl.int32), axis=0) > 0


@triton.jit
def range_of(x):
    """Norms that keep their digits, and powers of two beyond: see `proxmtl.kernels.ranges`."""
    if x.dtype == tl.float64:
        low, high, up, down = 2.0**-450, 2.0**450, 2.0**700, 2.0**-700
    else:
        low, high, up, down = 2.0**-50, 2.0**50, 2.0**90, 2.0**-90
    return low, high, up, down


@triton.jit
def shrink_factor(norm, threshold):
    """max(0, 1 - threshold / norm), 1 for threshold 0; comparisons with NaN are false: it stays."""
    factor = 1.0 - threshold / tl.where(norm == 0.0, 1.0, norm)
    factor = tl.where((factor < 0.0) | (norm == 0.0), 0.0, factor)
    return tl.where(threshold == 0.0, 1.0, factor)


@triton.jit
def group_weight(weights, group, weighted, SHARED: tl.constexpr):
    """Weight of each group in float64; 0 for the groups that only fill gaps."""
    place = group * 0 if SHARED else group
    return tl.load(weights + place, mask=group < weighted, other=0.0).to(tl.float64)


@triton.jit
def member_offsets(
    pairs, here, cols, indptr, indices, n_groups, n, SIZE: tl.constexpr, TILED: tl.constexpr
):
    """Offsets and mask of the members of (fibre, group) pairs, one pair per row of the tile."""
    if SIZE > 0:
        # Groups of one size that tile the fibres: memory is one sequence of them.
        inside = here[:, None] & (cols < SIZE)[None, :]
        return pairs[:, None] * SIZE + cols[None, :], inside
    fibre = pairs // n_groups
    group = pairs % n_groups
    start = tl.load(indptr + group, mask=here, other=0)
    size = tl.load(indptr + group + 1, mask=here, other=0) - start
    inside = here[:, None] & (cols[None, :] < size[:, None])
    member = start[:, None] + cols[None, :]
    if not TILED:
        member = tl.load(indices + member, mask=inside, other=0)
    return (fibre * n)[:, None] + member, inside
