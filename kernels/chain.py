"""The prox of total variation on one chain, in the plain form that every backend runs.

Dynamic programming on derivatives. Let ``f_k(b)`` be the least cost of the entries up to k, given
that the k-th is b. Its derivative ``d_k`` is piecewise linear and rises; the edge to the next entry
clips it to [-w_k, w_k], the next entry adds ``b - v_{k+1}``. So ``d_k`` is kept as its knots, with
the change of slope and offset at each: every step cuts off knots at both ends and adds one there,
which makes the whole linear in the length.

Johnson, "A dynamic programming algorithm for the fused lasso and L0-segmentation", JCGS 2013.
"""

# ruff: noqa: PLR0917 - also compiled, where loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .ops.chain_prox import ChainArgs

    Floats = NDArray[np.float64]


def run_chains(
    args: ChainArgs, solve: Callable[[Floats, Floats, Floats], None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a solver of rows ``(v, radius, x)`` over the fibres, in float64 on the CPU."""
    moved = args.V.movedim(args.axis, -1)
    n = moved.shape[-1]
    n_rows = moved.shape[:-1].numel()
    rows = moved.reshape(n_rows, n).to("cpu", torch.float64).contiguous()
    weights = args.weights.to("cpu", torch.float64)
    edges = (*moved.shape[:-1], max(n - 1, 0))
    if weights.dim() == args.V.dim():
        weights = weights.movedim(args.axis, -1)
    spread = weights.expand(edges).reshape(n_rows, max(n - 1, 0)).contiguous()
    out = torch.empty_like(rows)
    if rows.numel():
        solve(rows.numpy(), (args.step * spread).numpy(), out.numpy())
    value = (spread * out.diff(dim=1).abs()).sum()
    result = out.to(args.V).reshape(moved.shape).movedim(-1, args.axis)
    return result.contiguous(), value.to(args.device)


def solve_rows(v: Floats, radius: Floats, x: Floats) -> None:
    """Each row of v by `solve_chain`; rows that aren't finite come out NaN."""
    n = v.shape[1]
    low, high = np.empty(n), np.empty(n)
    knots, slopes, offsets = np.empty(2 * n), np.empty(2 * n), np.empty(2 * n)
    for row in range(v.shape[0]):
        if np.isfinite(v[row]).all():
            solve_chain(v[row], radius[row], x[row], low, high, knots, slopes, offsets)
        else:
            x[row, :] = np.nan


def solve_chain(
    v: Floats,
    radius: Floats,
    x: Floats,
    low: Floats,
    high: Floats,
    knots: Floats,
    slopes: Floats,
    offsets: Floats,
) -> None:
    """One row; the last five are scratch, of n and of 2n entries."""
    slope: Any
    offset: Any
    n = v.shape[0]
    first, last = n, n - 1  # no knots yet
    before = 0.0  # radius of the edge to the left
    for k in range(n):
        after = radius[k] if k + 1 < n else 0.0
        slope, offset = 1.0, -before - v[k]
        while first <= last and slope * knots[first] + offset <= -after:
            slope += slopes[first]
            offset += offsets[first]
            first += 1
        low[k] = (-after - offset) / slope
        left_slope, left_offset = slope, offset + after
        slope, offset = 1.0, before - v[k]
        while first <= last and slope * knots[last] + offset >= after:
            slope -= slopes[last]
            offset -= offsets[last]
            last -= 1
        high[k] = max((after - offset) / slope, low[k])
        first -= 1
        last += 1
        knots[first], slopes[first], offsets[first] = low[k], left_slope, left_offset
        knots[last], slopes[last], offsets[last] = high[k], -slope, after - offset
        before = after
    x[n - 1] = low[n - 1]
    for k in range(n - 2, -1, -1):
        x[k] = min(max(x[k + 1], low[k]), high[k])
    # offsets hold sums along the whole chain: the means of the pieces are more accurate
    start, left_level = 0, 0.0
    for stop in range(1, n + 1):
        if stop < n and x[stop] == x[start]:
            continue
        total = 0.0
        for k in range(start, stop):
            total += v[k]
        if start > 0:
            total += radius[start - 1] if left_level > x[start] else -radius[start - 1]
        if stop < n:
            total += radius[stop - 1] if x[stop] > x[start] else -radius[stop - 1]
        left_level = x[start]
        for k in range(start, stop):
            x[k] = total / (stop - start)
        start = stop
