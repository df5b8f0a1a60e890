"""Soft threshold on CPUs: one read, one write, no temporary."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import cpu_floats, paired, scalar
from .jit import compiled
from .pool import cuts, run_pieces, shares
from .tiles import copy_out

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from proxmtl.kernels.prox_args import SoftThresholdArgs

# Partial sums of so many terms stay in the storage precision, longer ones go to float64.
_BLOCK = 1024


def supports(args: SoftThresholdArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.V)


def run(args: SoftThresholdArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft threshold of every entry, and the weighted sum of magnitudes."""
    pair = paired(args.V, 0, args.out)
    n = pair.x.shape[0]
    parts = cuts(n, shares(n))
    kind = pair.x.dtype.type
    zero = kind(0)
    if args.weights.numel() == 1:
        weight = float(args.weights)
        threshold = kind(args.step * weight)
        sums = run_pieces(
            _one_threshold, [(pair.x, pair.out, pair.same, threshold, zero, *cut) for cut in parts]
        )
        value = weight * sum(sums)
    else:
        weights = pair.aligned(args.weights)
        step = kind(args.step)
        sums = run_pieces(
            _each_threshold,
            [(pair.x, pair.out, pair.same, weights, step, zero, *cut) for cut in parts],
        )
        value = sum(sums)
    return pair.finish(), scalar(value)


@compiled
def _one_threshold(
    x: NDArray[Any],
    out: NDArray[Any],
    same: bool,
    threshold: Any,
    zero: Any,
    first: int,
    last: int,
) -> float:
    total = 0.0
    buffer = np.empty(_BLOCK, x.dtype)
    for start in range(first, last, _BLOCK):
        stop = min(start + _BLOCK, last)
        if same:
            total += _clip_away(x[start:stop], buffer, threshold, zero)
            copy_out(buffer, out, start, stop - start, -1)
        else:
            total += _clip_away(x[start:stop], out[start:stop], threshold, zero)
    return total


@compiled
def _clip_away(source: NDArray[Any], target: NDArray[Any], threshold: Any, zero: Any) -> float:
    """Write what clipping to [-threshold, threshold] takes away; the sum of its magnitudes."""
    partial = zero
    for i in range(source.shape[0]):
        shrunk = source[i] - min(max(source[i], -threshold), threshold)
        target[i] = shrunk
        partial += abs(shrunk)
    return float(partial)


@compiled
def _each_threshold(
    x: NDArray[Any],
    out: NDArray[Any],
    same: bool,
    weights: NDArray[Any],
    step: Any,
    zero: Any,
    first: int,
    last: int,
) -> float:
    total = 0.0
    buffer = np.empty(_BLOCK, x.dtype)
    for start in range(first, last, _BLOCK):
        stop = min(start + _BLOCK, last)
        if same:
            total += _clip_each_away(x[start:stop], buffer, weights[start:stop], step, zero)
            copy_out(buffer, out, start, stop - start, -1)
        else:
            total += _clip_each_away(
                x[start:stop], out[start:stop], weights[start:stop], step, zero
            )
    return total


@compiled
def _clip_each_away(
    source: NDArray[Any], target: NDArray[Any], weight: NDArray[Any], step: Any, zero: Any
) -> float:
    partial = zero
    for i in range(source.shape[0]):
        threshold = step * weight[i]
        shrunk = source[i] - min(max(source[i], -threshold), threshold)
        target[i] = shrunk
        partial += weight[i] * abs(shrunk)
    return float(partial)
