"""Cut the rows of all tasks into chunks: the unit of work, and of summation, of the row kernels."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch


class Chunks(NamedTuple):
    """Chunks in the order of their tasks.

    Attributes
    ----------
    items : Tensor, shape (n_chunks, 4), int64
        Task, first row in the task, number of rows, first sample in the packed labels.
    first : Tensor, shape (M + 1,), int64
        Chunks ``first[m]`` to ``first[m + 1]`` belong to task m.
    """

    items: torch.Tensor
    first: torch.Tensor


@lru_cache(maxsize=256)
def split(rows: tuple[int, ...], length: int) -> Chunks:
    """Chunks of nearly equal size, a multiple of four and about ``length`` rows; none is empty."""
    items: list[tuple[int, int, int, int]] = []
    first, packed = [0], 0
    for m, n in enumerate(rows):
        parts = max(1, -(-n // length))
        step = max(4, 4 * -(-n // (4 * parts)))
        items += [(m, i, min(step, n - i), packed + i) for i in range(0, n, step)]
        packed += n
        first.append(len(items))
    return Chunks(
        torch.tensor(items, dtype=torch.int64).reshape(-1, 4),
        torch.tensor(first, dtype=torch.int64),
    )


@lru_cache(maxsize=256)
def balanced_length(rows: tuple[int, ...], slots: int, overhead: int) -> int:
    """Chunk length that finishes first when ``slots`` chunks run at a time.

    A chunk costs its rows plus ``overhead`` rows for writing and summing its partial gradient.
    One to four full waves are compared.
    """
    total, longest = sum(rows), max(rows, default=0)
    if total == 0:
        return 4
    best, best_cost = longest, float("inf")
    for waves in range(1, 5):
        low, high = 4, max(4, longest)
        while low < high:  # the shortest length whose chunks fit into this many waves
            middle = (low + high) // 2
            fits = sum(-(-n // middle) for n in rows) <= waves * slots
            low, high = (low, middle) if fits else (middle + 1, high)
        used = -(-sum(-(-n // low) for n in rows) // slots)
        cost = used * (low + overhead)
        if cost < best_cost:
            best, best_cost = low, cost
    return best
