# ruff: noqa: ANN001, ANN201, ANN202, PLR0917 - compiled by Triton, which has its own types
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""GPU kernels of `soft_threshold` and `group_shrink`.

Every program writes its share of the penalty to a place of its own: equal calls give equal bits.
Numbers that scale thresholds are float64 arguments, which a Python float would not be by itself.
"""

import triton
import triton.language as tl

from .prox_math import (
    group_weight,
    is_lost,
    member_offsets,
    norms_along,
    shrink_factor,
    soft,
    unit_of,
    wide,
)


@triton.jit
def soft_kernel(
    X, OUT, weights, partial, count, step: tl.float64,
    EACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Soft threshold of a block of consecutive entries."""
    program = tl.program_id(0).to(tl.int64)
    offset = program * BLOCK + tl.arange(0, BLOCK)
    here = offset < count
    x = tl.load(X + offset, mask=here, other=0.0)
    acc = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    if EACH:
        weight = tl.load(weights + offset, mask=here, other=0.0).to(acc)
        x = soft(x.to(acc), weight * wide(step).to(acc))
        tl.store(partial + program, tl.sum(tl.abs(x) * weight, axis=0).to(tl.float64))
    else:
        weight = tl.load(weights).to(tl.float64)
        x = soft(x.to(acc), (weight * step).to(acc))
        tl.store(partial + program, tl.sum(tl.abs(x), axis=0).to(tl.float64) * weight)
    tl.store(OUT + offset, x, mask=here)


@triton.jit
def shrink_kernel(
    X, OUT, indptr, indices, weights, partial, n_pairs, n_groups, weighted, n,
    step: tl.float64, l1: tl.float64,
    SHARED: tl.constexpr, SPARSE: tl.constexpr, SIZE: tl.constexpr, TILED: tl.constexpr,
    R: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """R groups of up to P members, along contiguous fibres."""
    program = tl.program_id(0).to(tl.int64)
    pairs = program * R + tl.arange(0, R)
    here = pairs < n_pairs
    cols = tl.arange(0, P)
    offset, inside = member_offsets(pairs, here, cols, indptr, indices, n_groups, n, SIZE, TILED)
    acc = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    x = tl.load(X + offset, mask=inside, other=0.0).to(acc)
    if SPARSE:
        x = soft(x, (wide(step) * l1).to(acc))
    weight = group_weight(weights, pairs % n_groups, weighted, SHARED)
    norm = norms_along(x, 1)
    factor = shrink_factor(norm, (step * weight).to(acc))
    x = x * factor[:, None]
    tl.store(OUT + offset, x, mask=inside)
    value = tl.sum(tl.where(here, weight * (factor * norm).to(tl.float64), 0.0), axis=0)
    if SPARSE:
        value += l1 * tl.sum(tl.sum(tl.abs(x), axis=1).to(tl.float64), axis=0)
    tl.store(partial + program, value)


@triton.jit
def shrink_across_kernel(
    X, OUT, indptr, indices, weights, partial, fibre_blocks, n_groups, weighted, n, inner,
    step: tl.float64, l1: tl.float64,
    SHARED: tl.constexpr, SPARSE: tl.constexpr, TILED: tl.constexpr, ONCE: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One group of BLOCK_C neighbouring fibres that run across memory (outer, n, inner).

    ONCE: the group has at most BLOCK_N members and stays in registers; otherwise it is read twice.
    Groups along memory that no registers hold come here too, with inner and BLOCK_C of 1.
    """
    # One axis: a grid's others end at 65535.
    program = tl.program_id(0).to(tl.int64)
    pair = program // fibre_blocks
    fibre_block = program % fibre_blocks
    group = pair % n_groups
    base = (pair // n_groups) * n * inner
    start = tl.load(indptr + group)
    stop = tl.load(indptr + group + 1)
    cols = fibre_block * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    threshold = (wide(step) * l1).to(acc)
    weight = group_weight(weights, group, weighted, SHARED)
    magnitude = tl.zeros([BLOCK_C], acc)
    rows = tl.arange(0, BLOCK_N)
    if ONCE:
        x, offset, inside = _entries(
            X, start + rows, stop, base, inner, cols, indices, threshold, TILED, SPARSE
        )
        norm = norms_along(x, 0)
        factor = shrink_factor(norm, (step * weight).to(acc))
        x = x * factor[None, :]
        tl.store(OUT + offset, x, mask=inside)
        magnitude = tl.sum(tl.abs(x), axis=0)
    else:
        square = tl.zeros([BLOCK_C], acc)
        for first in range(start, stop, BLOCK_N):
            x, offset, inside = _entries(
                X, first + rows, stop, base, inner, cols, indices, threshold, TILED, SPARSE
            )
            square += tl.sum(x * x, axis=0)
        norm = tl.sqrt(square)
        if is_lost(norm, (step * weight).to(acc)):
            unit = unit_of(norm)
            square = tl.zeros([BLOCK_C], acc)
            for first in range(start, stop, BLOCK_N):
                x, offset, inside = _entries(
                    X, first + rows, stop, base, inner, cols, indices, threshold, TILED, SPARSE
                )
                x = x * unit[None, :]
                square += tl.sum(x * x, axis=0)
            norm = tl.sqrt(square) / unit
        factor = shrink_factor(norm, (step * weight).to(acc))
        for first in range(start, stop, BLOCK_N):
            x, offset, inside = _entries(
                X, first + rows, stop, base, inner, cols, indices, threshold, TILED, SPARSE
            )
            x = x * factor[None, :]
            tl.store(OUT + offset, x, mask=inside)
            magnitude += tl.sum(tl.abs(x), axis=0)
    value = weight * tl.sum((factor * norm).to(tl.float64), axis=0)
    if SPARSE:
        value += l1 * tl.sum(magnitude.to(tl.float64), axis=0)
    tl.store(partial + program, value)


@triton.jit
def _entries(
    X, member, stop, base, inner, cols, indices, threshold, TILED: tl.constexpr,
    SPARSE: tl.constexpr,
):  # fmt: skip
    """Entries of some members in a block of fibres, soft-thresholded if SPARSE; their offsets."""
    item = member
    if not TILED:
        item = tl.load(indices + member, mask=member < stop, other=0)
    inside = (member < stop)[:, None] & (cols < inner)[None, :]
    offset = base + item[:, None] * inner + cols[None, :]
    x = tl.load(X + offset, mask=inside, other=0.0).to(threshold.dtype)
    if SPARSE:
        x = soft(x, threshold)
    return x, offset, inside
