"""The adjoint of some entries of a product: a task's sum stays in the nearest cache."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import cpu_floats
from .jit import compiled
from .pool import run_pieces
from .sampled_product import flat, pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.kernels.ops.sampled_adjoint import SampledAdjointArgs

    from .sampled_product import Entries

    Floats = NDArray[Any]


def supports(args: SampledAdjointArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.X)


def run(args: SampledAdjointArgs) -> None:
    """Groups of places on several threads: no two threads have the same task."""
    given = args.X.numpy(), args.values.numpy(), flat(args.entries), args.out.numpy()
    run_pieces(_adjoint, [(*given, *piece) for piece in pieces(args.entries, args.X.shape[1])])


@compiled
def _adjoint(
    X: Floats, values: Floats, entries: Entries, out: Floats, first: int, last: int
) -> None:
    starts, tasks, rows, positions = entries
    width = X.shape[1]
    total = np.empty(width, X.dtype)
    for t in range(first, last):
        start, stop = starts[t], starts[t + 1]
        total[:] = 0
        for j in range(start, stop - 1, 2):  # two rows for each read and write of the sum
            one, other = X[rows[j]], X[rows[j + 1]]
            a, b = values[positions[j]], values[positions[j + 1]]
            for d in range(width):
                total[d] += a * one[d] + b * other[d]
        if (stop - start) % 2:
            one, a = X[rows[stop - 1]], values[positions[stop - 1]]
            for d in range(width):
                total[d] += a * one[d]
        whole = out[tasks[t]]
        for d in range(width):
            whole[d] += total[d]
