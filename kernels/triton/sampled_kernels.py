# ruff: noqa: ANN001, ANN201, PLR0917 - compiled by Triton, which has its own types
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""GPU kernels of `sampled_product` and `sampled_adjoint`: a program for a group of places.

Sums have a fixed order, without atomics: equal calls give equal bits.
"""

import triton
import triton.language as tl


@triton.jit
def product_kernel(
    X, W, starts, tasks, rows, positions, OUT, width,
    E: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Inner products of a group, E places and D features at a time."""
    group, split = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    start, stop = tl.load(starts + group), tl.load(starts + group + 1)
    w_row = W + tl.load(tasks + group) * width
    step = tl.num_programs(1).to(tl.int64) * E
    for first in range(start + split * E, stop, step):
        place = first + tl.arange(0, E)
        here = place < stop
        row = tl.load(rows + place, mask=here, other=0).to(tl.int64)
        total = tl.zeros([E], X.dtype.element_ty)
        for begin in range(0, width, D):
            col = begin + tl.arange(0, D)
            inside = col < width
            w = tl.load(w_row + col, mask=inside, other=0.0)
            offset = row[:, None] * width + col[None, :]
            x = tl.load(X + offset, mask=here[:, None] & inside[None, :], other=0.0)
            total += tl.sum(x * w[None, :], axis=1)
        position = tl.load(positions + place, mask=here, other=0).to(tl.int64)
        tl.store(OUT + position, total, mask=here)


@triton.jit
def adjoint_kernel(
    X, VALUES, starts, tasks, rows, positions, OUT, width,
    E: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Sum of a group's weighted rows, in D features, E places at a time."""
    group, tile = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    start, stop = tl.load(starts + group), tl.load(starts + group + 1)
    col = tile * D + tl.arange(0, D)
    inside = col < width
    total = tl.zeros([D], X.dtype.element_ty)
    for first in range(start, stop, E):
        place = first + tl.arange(0, E)
        here = place < stop
        row = tl.load(rows + place, mask=here, other=0).to(tl.int64)
        position = tl.load(positions + place, mask=here, other=0).to(tl.int64)
        value = tl.load(VALUES + position, mask=here, other=0.0)
        offset = row[:, None] * width + col[None, :]
        x = tl.load(X + offset, mask=here[:, None] & inside[None, :], other=0.0)
        total += tl.sum(x * value[:, None], axis=0)
    out = OUT + tl.load(tasks + group) * width + col
    tl.store(out, tl.load(out, mask=inside, other=0.0) + total.to(tl.float64), mask=inside)
