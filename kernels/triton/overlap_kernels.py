# ruff: noqa: ANN001, ANN201, ANN202, PLR0917 - compiled by Triton, which has its own types
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""GPU kernels for overlapping groups: a program owns R whole fibres and walks their groups.

The walk is sequential by nature (each group reads what the last one wrote), so that the fibres are
the parallelism: hundreds of rows fill a GPU, a single long vector doesn't.
"""

import triton
import triton.language as tl

from .prox_math import group_weight, is_lost, norms_along, wide


@triton.jit
def _members(indptr, indices, group, cols, fibres):
    """Members of a group and their items, and which of them are read in which fibres."""
    member = tl.load(indptr + group) + cols
    there = member < tl.load(indptr + group + 1)
    item = tl.load(indices + member, mask=there, other=0)
    return member, item, fibres[:, None] & there[None, :]


@triton.jit
def sweep_kernel(
    X, DUAL, GAP, PENALTY, indptr, indices, weights, n_fibres, n_groups, n, n_members, sweeps,
    step: tl.float64, tolerance: tl.float64,
    SHARED: tl.constexpr, R: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """Sweep R fibres in place until each has its gap or its number of sweeps."""
    fibre = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    here = fibre < n_fibres
    cols = tl.arange(0, P)
    acc = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    gap, penalty = _gap(
        X, DUAL, indptr, indices, weights, fibre, here, cols, n_groups, n, n_members, step, SHARED
    )
    active = here
    done = 0
    while (done < sweeps) & (tl.max(active.to(tl.int32), axis=0) > 0):
        for group in range(n_groups):
            member, item, inside = _members(indptr, indices, group, cols, active)
            p_x = X + (fibre * n)[:, None] + item[None, :]
            p_dual = DUAL + (fibre * n_members)[:, None] + member[None, :]
            target = tl.load(p_x, mask=inside, other=0.0).to(acc)
            target += tl.load(p_dual, mask=inside, other=0.0).to(acc)
            radius = (wide(step) * group_weight(weights, group, n_groups, SHARED)).to(acc)
            norm = tl.sqrt(tl.sum(target * target, axis=1))
            if is_lost(norm, radius):
                # read again: the first look needs all registers
                again = tl.load(p_x, mask=inside, other=0.0).to(acc)
                again += tl.load(p_dual, mask=inside, other=0.0).to(acc)
                norm = norms_along(again, 1)
            factor = tl.where(norm <= radius, 1.0, radius / tl.where(norm == 0.0, 1.0, norm))
            kept = target * factor[:, None]
            # Another thread may read next what this one writes.
            tl.debug_barrier()
            tl.store(p_dual, kept, mask=inside)
            tl.store(p_x, target - kept, mask=inside)
            tl.debug_barrier()
        new_gap, new_penalty = _gap(
            X, DUAL, indptr, indices, weights, fibre, here, cols, n_groups, n, n_members, step,
            SHARED,
        )  # fmt: skip
        gap = tl.where(active, new_gap, gap)
        penalty = tl.where(active, new_penalty, penalty)
        active = active & ~(gap <= tolerance)
        done += 1
    tl.store(GAP + fibre, gap, mask=here)
    tl.store(PENALTY + fibre, penalty, mask=here)


@triton.jit
def _gap(
    X, DUAL, indptr, indices, weights, fibre, here, cols, n_groups, n, n_members, step,
    SHARED: tl.constexpr,
):  # fmt: skip
    gap = tl.zeros_like(fibre).to(tl.float64)
    penalty = tl.zeros_like(fibre).to(tl.float64)
    for group in range(n_groups):
        member, item, inside = _members(indptr, indices, group, cols, here)
        p_x = X + (fibre * n)[:, None] + item[None, :]
        p_dual = DUAL + (fibre * n_members)[:, None] + member[None, :]
        x = tl.load(p_x, mask=inside, other=0.0).to(tl.float64)
        dual = tl.load(p_dual, mask=inside, other=0.0).to(tl.float64)
        norm = group_weight(weights, group, n_groups, SHARED) * norms_along(x, 1)
        penalty += norm
        gap += wide(step) * norm - tl.sum(x * dual, axis=1)
    return gap, penalty


@triton.jit
def smooth_kernel(
    X, GRAD, SLOPE, partial, indptr, indices, owners, weights, n_fibres, n_groups, n, overlap,
    smoothness: tl.float64,
    SHARED: tl.constexpr, R: tl.constexpr, P: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Slope of each group of R fibres, then each entry times the slopes of the groups it is in.

    ``owners`` (overlap, n) lists the groups of each item, -1 where it has fewer.
    """
    program = tl.program_id(0).to(tl.int64)
    fibre = program * R + tl.arange(0, R)
    here = fibre < n_fibres
    cols = tl.arange(0, P)
    acc = tl.float64 if X.dtype.element_ty == tl.float64 else tl.float32
    value = tl.zeros([R], tl.float64)
    penalty = tl.zeros([R], tl.float64)
    squares = tl.zeros([R], tl.float64)
    for group in range(n_groups):
        _, item, inside = _members(indptr, indices, group, cols, here)
        x = tl.load(X + (fibre * n)[:, None] + item[None, :], mask=inside, other=0.0).to(acc)
        weight = group_weight(weights, group, n_groups, SHARED)
        length = weight * norms_along(x, 1).to(tl.float64)
        within = length <= smoothness  # false for NaN
        reach = tl.where(within, wide(smoothness), length)
        tl.store(SLOPE + fibre * n_groups + group, (weight * (weight / reach)).to(acc), mask=here)
        penalty += length
        ratio = length / smoothness
        value += tl.where(within, length * ratio / 2.0, length - wide(smoothness) / 2.0)
        squares += tl.where(within, ratio * ratio, 1.0)
    tl.store(partial + 3 * program, tl.sum(value, axis=0))
    tl.store(partial + 3 * program + 1, tl.sum(penalty, axis=0))
    tl.store(partial + 3 * program + 2, tl.sum(squares, axis=0))
    # Another thread may read a slope that this one wrote.
    tl.debug_barrier()
    entry = tl.arange(0, BLOCK)
    for first in range(0, n, BLOCK):
        item = first + entry
        inside = here[:, None] & (item < n)[None, :]
        offset = (fibre * n)[:, None] + item[None, :]
        multiplier = tl.zeros([R, BLOCK], acc)
        turn_owners = owners
        for _ in range(overlap):
            owner = tl.load(turn_owners + item, mask=item < n, other=-1)
            turn_owners += n
            p_slope = SLOPE + (fibre * n_groups)[:, None] + owner[None, :]
            multiplier += tl.load(p_slope, mask=inside & (owner >= 0)[None, :], other=0.0)
        x = tl.load(X + offset, mask=inside, other=0.0).to(acc)
        tl.store(GRAD + offset, x * multiplier, mask=inside)
