"""Some entries of a product: a task's weights stay in the nearest cache while rows go by."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import cpu_floats
from .jit import compiled
from .pool import run_pieces, shares

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from proxmtl.kernels.ops.sampled_product import SampledProductArgs
    from proxmtl.kernels.sampled import SampledEntries

    Indices = NDArray[Any]
    Entries = tuple[Indices, Indices, Indices, Indices]
    Floats = NDArray[Any]


def supports(args: SampledProductArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.X)


def run(args: SampledProductArgs) -> torch.Tensor:
    """Groups of places on several threads."""
    out = args.X.new_empty(args.entries.n_places)
    given = args.X.numpy(), args.W.numpy(), flat(args.entries), out.numpy()
    run_pieces(_product, [(*given, *piece) for piece in pieces(args.entries, args.X.shape[1])])
    return out


def flat(entries: SampledEntries) -> Entries:
    """Entries as arrays; unsigned indices, since signed ones are tested for their sign."""
    starts, tasks, rows, positions = (each.numpy() for each in entries)
    kind = f"uint{8 * rows.itemsize}"
    return starts, tasks, rows.view(kind), positions.view(kind)


def pieces(entries: SampledEntries, width: int) -> list[tuple[int, int]]:
    """Runs of groups of nearly as many places each, whatever the number of threads."""
    starts = entries.starts.numpy()
    n_groups, count = len(starts) - 1, int(starts[-1])
    wanted = np.arange(1, shares(count * width)) * count // max(1, shares(count * width))
    edges = np.unique([0, *np.searchsorted(starts, wanted), n_groups]).tolist()
    return list(itertools.pairwise(edges))


@compiled
def _product(X: Floats, W: Floats, entries: Entries, out: Floats, first: int, last: int) -> None:
    starts, tasks, rows, positions = entries
    for t in range(first, last):
        w = W[tasks[t]]
        for j in range(starts[t], starts[t + 1]):
            x = X[rows[j]]
            total = X.dtype.type(0)
            for d in range(w.shape[0]):
                total += x[d] * w[d]
            out[positions[j]] = total
