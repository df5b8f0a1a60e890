"""Soft threshold on CPUs: one read, one write, no temporary."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .arrays import cpu_floats, paired, scalar
from .extremes import magnitude
from .jit import compiled, inlined
from .lanes import STREAM
from .pool import cuts, run_pieces, shares
from .runs import soft_run, soft_run_past
from .tiles import aligned, softened

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from proxmtl.kernels.prox_args import SoftThresholdArgs

# Partial sums of so many terms stay in the storage precision, longer ones go to float64.
_BLOCK = 1024
# Weights of broadcast rows or columns that are shorter are spread to all entries first.
_SEGMENT = 64


def supports(args: SoftThresholdArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.V)


def run(args: SoftThresholdArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft threshold of every entry, and the weighted sum of magnitudes."""
    pair = paired(args.V, args.out)
    n, kind = pair.x.shape[0], pair.x.dtype.type

    def parts(kernel: Callable[..., float], count: int, *operands: Any) -> float:
        calls = [(pair.x, pair.out, *operands, *cut) for cut in cuts(count, shares(n))]
        return float(sum(run_pieces(kernel, calls)))

    step = args.step
    if args.weights.numel() == 1:
        scale = float(args.weights)
        largest = float(np.finfo(kind).max)
        threshold = kind(min(step * scale, largest))
        value = scale * parts(_soft_entries, n, pair.phase, None, threshold)
        return pair.finish(), scalar(value)
    weights = args.weights.t() if pair.swapped else args.weights
    distinct, length, in_turns = _repeated(weights)
    if length < _SEGMENT:
        held = _held(args.weights, pair.target.dtype)
        value = parts(_soft_entries, n, pair.phase, pair.aligned(held), kind(step))
    else:
        each = _held(distinct, pair.target.dtype).contiguous().numpy()
        # a vector never has entries of two segments
        phase = pair.phase if length % STREAM == 0 and pair.phase == 0 else -1
        kernel = _soft_runs if in_turns else _soft_rows
        value = parts(kernel, n // length, phase, each, kind(step), length)
    return pair.finish(), scalar(value)


def _held(weights: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Weights in another precision, the largest number of which stands for larger ones."""
    if weights.dtype == dtype:
        return weights
    return weights.to(torch.float64).clamp(max=torch.finfo(dtype).max).to(dtype)


def _repeated(weights: torch.Tensor) -> tuple[torch.Tensor, int, bool]:
    """The weights of a broadcast tensor that differ, (n,), and the entries of a segment of it.

    Segments either have these weights each, one an entry, or take them in turns, one for all of a
    segment's entries: then the last is true. Length 0: neither.
    """
    shape = list(weights.shape)
    given = [k for k, step in enumerate(weights.stride()) if step and shape[k] > 1]
    if not weights.numel() or not given or given != list(range(given[0], given[-1] + 1)):
        return weights, 0, False
    first, last = given[0], given[-1] + 1
    distinct = weights[(0,) * first].reshape(*shape[first:last], -1)[..., 0].reshape(-1)
    inner = math.prod(shape[last:])
    if inner > 1:
        return distinct, inner, True
    return distinct, distinct.numel() if math.prod(shape[:first]) > 1 else 0, False


@compiled
def _soft_entries(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    weights: NDArray[Any] | None,
    step: Any,
    first: int,
    last: int,
) -> float:
    """Soft-threshold entries first to last; the sum of the magnitudes, times weights if any.

    ``phase`` is where the result's memory stands, in entries, within a streaming store's
    alignment, or negative to write through the caches.
    """
    return _segment(x, out, phase, weights, first, step, first, last)


@compiled
def _soft_rows(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    weights: NDArray[Any],
    step: Any,
    length: int,
    first: int,
    last: int,
) -> float:
    """`_soft_entries` of segments first to last, each with the same weights."""
    total = 0.0
    for row in range(first, last):
        start = row * length
        total += _segment(x, out, phase, weights, 0, step, start, start + length)
    return total


@compiled
def _soft_runs(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    weights: NDArray[Any],
    step: Any,
    length: int,
    first: int,
    last: int,
) -> float:
    """`_soft_entries` of segments first to last, with one weight each, in turns."""
    total = 0.0
    for row in range(first, last):
        weight, start = weights[row % weights.shape[0]], row * length
        total += weight * _segment(x, out, phase, None, 0, step * weight, start, start + length)
    return total


@inlined
def _segment(
    x: NDArray[Any],
    out: NDArray[Any],
    phase: int,
    weights: NDArray[Any] | None,
    place: int,
    step: Any,
    first: int,
    last: int,
) -> float:
    """Entries first to last, the first one with the weight at ``place``."""
    done = aligned(first, last, phase)
    shift = place - first
    total = _one_by_one(x, out, weights, shift, step, first, done)
    while done + STREAM <= last:
        count = min(_BLOCK, (last - done) // STREAM * STREAM)
        if phase >= 0:
            part = float(soft_run_past(x, out, done, count, weights, done + shift, step))
        else:
            part = float(soft_run(x, out, done, count, weights, done + shift, step))
        if not part < np.inf:
            part = magnitude(out[done:], weights, done + shift, count)
        total += part
        done += count
    return total + _one_by_one(x, out, weights, shift, step, done, last)


@inlined
def _one_by_one(
    x: NDArray[Any],
    out: NDArray[Any],
    weights: NDArray[Any] | None,
    shift: int,
    step: Any,
    first: int,
    last: int,
) -> float:
    total = 0.0
    for i in range(first, last):
        threshold = step if weights is None else step * weights[i + shift]
        shrunk = softened(x[i], threshold)
        out[i] = shrunk
        total += abs(shrunk) if weights is None else weights[i + shift] * abs(shrunk)
    return total
