"""Soft threshold on CPUs: one read, one write, no temporary."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .arrays import cpu_floats, paired, scalar
from .extremes import softened
from .jit import compiled
from .pool import cuts, run_pieces, shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.kernels.ops.soft_threshold import SoftThresholdArgs


def supports(args: SoftThresholdArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.V)


def run(args: SoftThresholdArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft threshold of every entry, and the weighted sum of magnitudes."""
    pair = paired(args.V, args.out)
    n, kind = pair.x.size, pair.x.dtype.type
    largest, weights, scale = float(np.finfo(kind).max), None, 1.0
    if args.weights.numel() == 1:
        scale = float(args.weights)
        step = kind(min(args.step * scale, largest))
    else:
        step = kind(args.step)
        each, dtype = args.weights.t() if pair.swapped else args.weights, pair.target.dtype
        if each.dtype != dtype:  # whose largest number stands for larger ones
            each = each.to(torch.float64).clamp(max=largest).to(dtype)
        weights = each.contiguous().numpy().reshape(-1)
    in_place = args.out is not None and pair.target.data_ptr() == args.V.data_ptr()
    operands = pair.x, None if in_place else pair.out, weights, step
    sums = run_pieces(_shrink, [(*operands, *cut) for cut in cuts(n, shares(n))])
    return pair.finish(), scalar(scale * sum(sums))


@compiled
def _shrink(
    x: NDArray[Any],
    out: NDArray[Any] | None,
    weights: NDArray[Any] | None,
    step: Any,
    first: int,
    last: int,
) -> float:
    """Soft-threshold entries first to last; the sum of the magnitudes, times weights if any.

    No ``out``: in place. Of two arrays the compiler must assume that they may overlap; where they
    do it takes one entry at a time.
    """
    target = x if out is None else out
    total = 0.0
    for i in range(np.uint64(first), np.uint64(last)):
        threshold = step if weights is None else step * weights[i]
        shrunk = softened(x[i], threshold)
        target[i] = shrunk
        size = np.float64(abs(shrunk))
        total += size if weights is None else np.float64(weights[i]) * size
    return total
