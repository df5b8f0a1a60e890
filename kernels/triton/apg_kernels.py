# ruff: noqa: ANN001, ANN201, ANN202, PLR0917 - compiled by Triton, which has its own types
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""GPU kernels of `apg_step`: each operand is read once and each result written once.

A program writes its five sums to a row of ``partial``.
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
def entry_step_kernel(
    Z, GRAD, X, NEW, NEXT, partial, count,
    step: tl.float64, momentum: tl.float64, l1: tl.float64, ridge: tl.float64,
    SPARSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Without groups: a block of consecutive entries."""
    program = tl.program_id(0).to(tl.int64)
    offset = program * BLOCK + tl.arange(0, BLOCK)
    here = offset < count
    acc = tl.float64 if Z.dtype.element_ty == tl.float64 else tl.float32
    z = tl.load(Z + offset, mask=here, other=0.0).to(acc)
    grad = tl.load(GRAD + offset, mask=here, other=0.0).to(acc)
    last = tl.load(X + offset, mask=here, other=0.0).to(acc)
    new = z - wide(step).to(acc) * grad
    if SPARSE:
        new = soft(new, (wide(step) * l1).to(acc))
    new = new * (1.0 / (1.0 + 2.0 * wide(step) * ridge)).to(acc)
    penalty = wide(l1).to(acc) * tl.abs(new) + wide(ridge).to(acc) * new * new
    moved = new - last
    from_z = new - z
    tl.store(NEW + offset, new, mask=here)
    tl.store(NEXT + offset, new + wide(momentum).to(acc) * moved, mask=here)
    p_sum = partial + 5 * program
    tl.store(p_sum, tl.sum(penalty, axis=0).to(tl.float64))
    tl.store(p_sum + 1, -tl.sum(from_z * moved, axis=0).to(tl.float64))
    tl.store(p_sum + 2, tl.sum(moved * moved, axis=0).to(tl.float64))
    tl.store(p_sum + 3, tl.sum(grad * from_z, axis=0).to(tl.float64))
    tl.store(p_sum + 4, tl.sum(from_z * from_z, axis=0).to(tl.float64))


@triton.jit
def group_step_kernel(
    Z, GRAD, X, NEW, NEXT, indptr, indices, weights, partial, n_pairs, n_groups, weighted, n,
    step: tl.float64, momentum: tl.float64, l1: tl.float64, ridge: tl.float64,
    SHARED: tl.constexpr, SPARSE: tl.constexpr, SIZE: tl.constexpr, TILED: tl.constexpr,
    R: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """R groups of up to P members, along contiguous fibres."""
    program = tl.program_id(0).to(tl.int64)
    pairs = program * R + tl.arange(0, R)
    here = pairs < n_pairs
    cols = tl.arange(0, P)
    offset, inside = member_offsets(pairs, here, cols, indptr, indices, n_groups, n, SIZE, TILED)
    acc = tl.float64 if Z.dtype.element_ty == tl.float64 else tl.float32
    z = tl.load(Z + offset, mask=inside, other=0.0).to(acc)
    grad = tl.load(GRAD + offset, mask=inside, other=0.0).to(acc)
    last = tl.load(X + offset, mask=inside, other=0.0).to(acc)
    new = z - wide(step).to(acc) * grad
    if SPARSE:
        new = soft(new, (wide(step) * l1).to(acc))
    weight = group_weight(weights, pairs % n_groups, weighted, SHARED)
    norm = norms_along(new, 1)
    factor = shrink_factor(norm, (wide(step) * weight).to(acc))
    factor = factor * (1.0 / (1.0 + 2.0 * wide(step) * ridge)).to(acc)
    new = new * factor[:, None]
    norms = tl.where(here, weight * (factor * norm).to(tl.float64), 0.0)
    entries = wide(l1).to(acc) * tl.abs(new) + wide(ridge).to(acc) * new * new
    penalty = tl.sum(norms, axis=0) + _total(entries)
    moved = new - last
    from_z = new - z
    tl.store(NEW + offset, new, mask=inside)
    tl.store(NEXT + offset, new + wide(momentum).to(acc) * moved, mask=inside)
    p_sum = partial + 5 * program
    tl.store(p_sum, penalty)
    tl.store(p_sum + 1, -_total(from_z * moved))
    tl.store(p_sum + 2, _total(moved * moved))
    tl.store(p_sum + 3, _total(grad * from_z))
    tl.store(p_sum + 4, _total(from_z * from_z))


@triton.jit
def long_step_kernel(
    Z, GRAD, X, NEW, NEXT, indptr, indices, weights, partial, n_groups, weighted, n,
    step: tl.float64, momentum: tl.float64, l1: tl.float64, ridge: tl.float64,
    SHARED: tl.constexpr, SPARSE: tl.constexpr, TILED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One group of any length, walked twice in blocks: for its norm, then for the step."""
    pair = tl.program_id(0).to(tl.int64)
    group = pair % n_groups
    base = (pair // n_groups) * n
    start = tl.load(indptr + group)
    stop = tl.load(indptr + group + 1)
    cols = tl.arange(0, BLOCK)
    acc = tl.float64 if Z.dtype.element_ty == tl.float64 else tl.float32
    square = tl.zeros([BLOCK], acc)
    for first in range(start, stop, BLOCK):
        offset, inside = _members(first + cols, stop, base, indices, TILED)
        z = tl.load(Z + offset, mask=inside, other=0.0).to(acc)
        grad = tl.load(GRAD + offset, mask=inside, other=0.0).to(acc)
        new = z - wide(step).to(acc) * grad
        if SPARSE:
            new = soft(new, (wide(step) * l1).to(acc))
        square += new * new
    weight = group_weight(weights, group, weighted, SHARED)
    norm = tl.sqrt(tl.sum(square, axis=0))
    if is_lost(norm[None], (wide(step) * weight).to(acc)):
        unit = unit_of(norm)
        square = tl.zeros([BLOCK], acc)
        for first in range(start, stop, BLOCK):
            offset, inside = _members(first + cols, stop, base, indices, TILED)
            z = tl.load(Z + offset, mask=inside, other=0.0).to(acc)
            grad = tl.load(GRAD + offset, mask=inside, other=0.0).to(acc)
            new = z - wide(step).to(acc) * grad
            if SPARSE:
                new = soft(new, (wide(step) * l1).to(acc))
            square += (new * unit) * (new * unit)
        norm = tl.sqrt(tl.sum(square, axis=0)) / unit
    factor = shrink_factor(norm, (wide(step) * weight).to(acc))
    factor = factor * (1.0 / (1.0 + 2.0 * wide(step) * ridge)).to(acc)
    penalty = tl.zeros([BLOCK], acc)
    restart = tl.zeros([BLOCK], acc)
    change = tl.zeros([BLOCK], acc)
    descent = tl.zeros([BLOCK], acc)
    distance = tl.zeros([BLOCK], acc)
    for first in range(start, stop, BLOCK):
        offset, inside = _members(first + cols, stop, base, indices, TILED)
        z = tl.load(Z + offset, mask=inside, other=0.0).to(acc)
        grad = tl.load(GRAD + offset, mask=inside, other=0.0).to(acc)
        last = tl.load(X + offset, mask=inside, other=0.0).to(acc)
        new = z - wide(step).to(acc) * grad
        if SPARSE:
            new = soft(new, (wide(step) * l1).to(acc))
        new = new * factor
        moved = new - last
        from_z = new - z
        tl.store(NEW + offset, new, mask=inside)
        tl.store(NEXT + offset, new + wide(momentum).to(acc) * moved, mask=inside)
        # Beyond the group the factor may be NaN, and 0 times NaN isn't 0.
        new = tl.where(inside, new, 0.0)
        penalty += wide(l1).to(acc) * tl.abs(new) + wide(ridge).to(acc) * new * new
        restart -= tl.where(inside, from_z * moved, 0.0)
        change += tl.where(inside, moved * moved, 0.0)
        descent += tl.where(inside, grad * from_z, 0.0)
        distance += tl.where(inside, from_z * from_z, 0.0)
    p_sum = partial + 5 * pair
    tl.store(p_sum, weight * (factor * norm).to(tl.float64) + _sum(penalty))
    tl.store(p_sum + 1, _sum(restart))
    tl.store(p_sum + 2, _sum(change))
    tl.store(p_sum + 3, _sum(descent))
    tl.store(p_sum + 4, _sum(distance))


@triton.jit
def _members(member, stop, base, indices, TILED: tl.constexpr):
    inside = member < stop
    if not TILED:
        member = tl.load(indices + member, mask=inside, other=0)
    return base + member, inside


@triton.jit
def _sum(values):
    return tl.sum(values, axis=0).to(tl.float64)


@triton.jit
def _total(tile):
    return tl.sum(tl.sum(tile, axis=1), axis=0).to(tl.float64)
