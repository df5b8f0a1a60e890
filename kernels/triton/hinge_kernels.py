# ruff: noqa: ANN001, ANN201, ANN202, PLR0917 - compiled by Triton, which has its own types
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""GPU kernels of `hinge_value_and_grad`.

A program owns a chunk of the rows of one task: ``items[program]`` holds (task, offset of its first
row, row stride, number of rows, first packed sample), all int64, offsets in elements from ``X``.
Partial gradients and totals of the chunks are summed by `reduce_kernel` in a fixed order.
"""

import triton
import triton.language as tl

from .hinge_loss import sample


@triton.jit
def _chunk(items, program, VECTOR: tl.constexpr):
    """Task, offset of the first row, row stride, number of rows and first sample of a chunk."""
    item = items + 5 * program
    offset = tl.multiple_of(tl.load(item + 1), VECTOR)
    stride = tl.multiple_of(tl.load(item + 2), VECTOR)
    return tl.load(item), offset, stride, tl.load(item + 3).to(tl.int32), tl.load(item + 4)


@triton.jit
def _labels(labels, weights, p_y, p_c, here, acc: tl.constexpr, HAS_WEIGHTS: tl.constexpr):
    """Labels, and their weights: 1 unless given, 0 outside."""
    y = tl.load(labels + p_y, mask=here, other=0.0)
    c = tl.where(here, 1.0, 0.0).to(acc)
    if HAS_WEIGHTS:
        c = tl.load(weights + p_c, mask=here, other=0.0)
    return y, c


@triton.jit
def _add_totals(totals, task, program, value, total, ATOMIC: tl.constexpr):
    """Sums of losses and residuals: to those of the task, or to a place of the program's own."""
    if ATOMIC:
        tl.atomic_add(totals + 2 * task, tl.sum(value, axis=0))
        tl.atomic_add(totals + 2 * task + 1, tl.sum(total, axis=0))
    else:
        tl.store(totals + 2 * program, tl.sum(value, axis=0))
        tl.store(totals + 2 * program + 1, tl.sum(total, axis=0))


@triton.jit
def rows_kernel(
    X, items, W, bias, labels, weights, scores, grad, totals, D,
    LOSS: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_WEIGHTS: tl.constexpr,
    WRITE_SCORES: tl.constexpr, ATOMIC: tl.constexpr, VECTOR: tl.constexpr,
    R: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """One pass: R rows of D <= BLOCK_D features stay in registers from score to update."""
    program = tl.program_id(0).to(tl.int64)
    task, offset, stride, n_rows, first = _chunk(items, program, VECTOR)
    acc = W.dtype.element_ty
    cols = tl.arange(0, BLOCK_D)
    inside = cols < D
    rows = tl.arange(0, R)
    w = tl.load(W + task * D + cols, mask=inside, other=0.0)
    b = tl.load(bias + task) if HAS_BIAS else 0.0
    g = tl.zeros([BLOCK_D], acc)
    value = tl.zeros([R], tl.float64)
    total = tl.zeros([R], tl.float64)
    for i in tl.range(0, n_rows, R, num_stages=STAGES):
        here = i + rows < n_rows
        p_x = X + offset + (i + rows)[:, None] * stride + cols[None, :]
        x = tl.load(p_x, mask=here[:, None] & inside[None, :], other=0.0).to(acc)
        y, c = _labels(labels, weights, first + i + rows, first + i + rows, here, acc, HAS_WEIGHTS)
        z = tl.sum(x * w[None, :], axis=1) + b
        v, r = sample(z, y, c, LOSS)
        g += tl.sum(x * r[:, None], axis=0)
        value += v.to(tl.float64)
        total += r.to(tl.float64)
        if WRITE_SCORES:
            tl.store(scores + first + i + rows, z, mask=here)
    if ATOMIC:
        tl.atomic_add(grad + task * D + cols, g, mask=inside)
    else:
        tl.store(grad + program * D + cols, g, mask=inside)
    _add_totals(totals, task, program, value, total, ATOMIC)


@triton.jit
def wide_kernel(
    X, items, W, bias, labels, weights, scores, grad, totals, D,
    LOSS: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_WEIGHTS: tl.constexpr,
    WRITE_SCORES: tl.constexpr, ATOMIC: tl.constexpr, VECTOR: tl.constexpr,
    R: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """D beyond the registers: the second read of R rows comes from the last-level cache.

    ``grad`` is zero on entry; a program adds to its own row of it, so nothing is atomic there.
    """
    program = tl.program_id(0).to(tl.int64)
    task, offset, stride, n_rows, first = _chunk(items, program, VECTOR)
    acc = W.dtype.element_ty
    rows = tl.arange(0, R)
    b = tl.load(bias + task) if HAS_BIAS else 0.0
    value = tl.zeros([R], tl.float64)
    total = tl.zeros([R], tl.float64)
    for i in range(0, n_rows, R):
        here = i + rows < n_rows
        p_rows = X + offset + (i + rows)[:, None] * stride
        z = tl.zeros([R, BLOCK_D], acc)
        for start in tl.range(0, D, BLOCK_D, num_stages=STAGES):
            cols = start + tl.arange(0, BLOCK_D)
            inside = cols < D
            w = tl.load(W + task * D + cols, mask=inside, other=0.0)
            mask = here[:, None] & inside[None, :]
            x = tl.load(p_rows + cols[None, :], mask=mask, other=0.0, eviction_policy="evict_last")
            z += x.to(acc) * w[None, :]
        y, c = _labels(labels, weights, first + i + rows, first + i + rows, here, acc, HAS_WEIGHTS)
        score = tl.sum(z, axis=1) + b
        v, r = sample(score, y, c, LOSS)
        value += v.to(tl.float64)
        total += r.to(tl.float64)
        if WRITE_SCORES:
            tl.store(scores + first + i + rows, score, mask=here)
        for start in tl.range(0, D, BLOCK_D, num_stages=STAGES):
            cols = start + tl.arange(0, BLOCK_D)
            inside = cols < D
            mask = here[:, None] & inside[None, :]
            x = tl.load(p_rows + cols[None, :], mask=mask, other=0.0, eviction_policy="evict_first")
            g = tl.sum(x.to(acc) * r[:, None], axis=0)
            if ATOMIC:
                tl.atomic_add(grad + task * D + cols, g, mask=inside)
            else:
                p_grad = grad + program * D + cols
                tl.store(p_grad, g + tl.load(p_grad, mask=inside, other=0.0), mask=inside)
        # The next rows may be added to an element by another thread than these.
        tl.debug_barrier()
    _add_totals(totals, task, program, value, total, ATOMIC)


@triton.jit
def reduce_kernel(
    chunks, partial, partial_totals, grad, value, grad_bias, D, blocks, BLOCK_D: tl.constexpr
):  # fmt: skip
    """Second stage: sum the chunks ``chunks[m]`` to ``chunks[m + 1]`` of task m in their order."""
    # One axis: a grid's others end at 65535.
    program = tl.program_id(0).to(tl.int64)
    task = program // blocks
    block = program % blocks
    start = tl.load(chunks + task)
    stop = tl.load(chunks + task + 1)
    cols = block * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = cols < D
    g = tl.zeros([BLOCK_D], grad.dtype.element_ty)
    for k in range(start, stop):
        g += tl.load(partial + k * D + cols, mask=inside, other=0.0)
    tl.store(grad + task * D + cols, g, mask=inside)
    if block == 0:
        v = tl.zeros([1], tl.float64)
        t = tl.zeros([1], tl.float64)
        one = tl.arange(0, 1)
        for k in range(start, stop):
            v += tl.load(partial_totals + 2 * k + one)
            t += tl.load(partial_totals + 2 * k + 1 + one)
        tl.store(value + task + one, v)
        tl.store(grad_bias + task + one, t.to(grad_bias.dtype.element_ty))


@triton.jit
def epilogue_kernel(
    scores, bias, labels, weights, partial_totals, N, blocks, label_row, label_col, weight_row,
    weight_col, LOSS: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_WEIGHTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Turn scores (M, N) into residuals in place; totals of each block of samples."""
    program = tl.program_id(0).to(tl.int64)
    task = program // blocks
    block = program % blocks
    i = block * BLOCK_N + tl.arange(0, BLOCK_N)
    here = i < N
    p_scores = scores + task * N + i
    z = tl.load(p_scores, mask=here, other=0.0)
    if HAS_BIAS:
        z += tl.load(bias + task)
    p_y, p_c = task * label_row + i * label_col, task * weight_row + i * weight_col
    y, c = _labels(labels, weights, p_y, p_c, here, z.dtype, HAS_WEIGHTS)
    v, r = sample(z, y, c, LOSS)
    tl.store(p_scores, r, mask=here)
    _add_totals(partial_totals, task, program, v.to(tl.float64), r.to(tl.float64), ATOMIC=False)
