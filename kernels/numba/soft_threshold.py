"""Soft threshold on CPUs: one read, one write, no temporary."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .arrays import cpu_floats, paired, scalar
from .jit import compiled, inlined
from .lanes import STREAM
from .pool import cuts, run_pieces, shares
from .runs import soft_run, soft_run_past
from .tiles import aligned, softened

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
    n, kind = pair.x.shape[0], pair.x.dtype.type
    weights, step, scale = None, args.step, 1.0
    if args.weights.numel() == 1:
        scale = float(args.weights)
        step *= scale
    else:
        weights = pair.aligned(args.weights)
    operands = pair.x, pair.out, pair.phase, weights, kind(step)
    parts = run_pieces(_soft_entries, [(*operands, *cut) for cut in cuts(n, shares(n))])
    return pair.finish(), scalar(scale * sum(parts))


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
    done = aligned(first, last, phase)
    total = _one_by_one(x, out, weights, step, first, done)
    while done + STREAM <= last:
        count = min(_BLOCK, (last - done) // STREAM * STREAM)
        if phase >= 0:
            total += soft_run_past(x, out, done, count, weights, step)
        else:
            total += soft_run(x, out, done, count, weights, step)
        done += count
    return total + _one_by_one(x, out, weights, step, done, last)


@inlined
def _one_by_one(
    x: NDArray[Any],
    out: NDArray[Any],
    weights: NDArray[Any] | None,
    step: Any,
    first: int,
    last: int,
) -> float:
    total = 0.0
    for i in range(first, last):
        threshold = step if weights is None else step * weights[i]
        shrunk = softened(x[i], threshold)
        out[i] = shrunk
        total += abs(shrunk) if weights is None else weights[i] * abs(shrunk)
    return total
