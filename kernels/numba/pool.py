"""Pieces of one call on several threads.

Kernels of this backend release the interpreter lock, so plain threads run them side by side.
Unlike numba's own parallel loops this compiles in a third of the time, is safe when several
Python threads call at once, survives a fork, and follows ``torch.set_num_threads``.
"""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Handing a piece to another thread costs some 30 microseconds: about this many entries' work.
WORTH_A_THREAD = 65_536

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}

# A child process has none of its parent's threads.
os.register_at_fork(after_in_child=_pools.clear)


# Shares of one call, at most: several for each thread, since a thread may be slower than another.
_MOST_SHARES = 16


def pieces(n_entries: int) -> int:
    """Number of threads worth using for that many entries."""
    return max(1, min(torch.get_num_threads(), n_entries // WORTH_A_THREAD))


def shares(n_entries: int) -> int:
    """Number of pieces to cut that many entries into, whatever the number of threads.

    Sums over the pieces then have the same bits for any number.
    """
    return max(1, min(_MOST_SHARES, n_entries // WORTH_A_THREAD))


def run_pieces(kernel: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run ``kernel(*call)`` for each call, on the calling thread and on others.

    Threads take the next call when they are done with one: none waits for a slower one for long.

    Parameters
    ----------
    kernel : callable
        Compiled, releasing the interpreter lock.
    calls : sequence of tuple
        Arguments of each piece; pieces must not write to the same memory.

    Returns
    -------
    list
        Results in the order of the calls.
    """
    n_threads = min(torch.get_num_threads(), len(calls))
    if n_threads <= 1:
        return [kernel(*call) for call in calls]
    results: list[Any] = [None] * len(calls)
    waiting = iter(range(len(calls)))

    def work() -> None:
        for k in waiting:
            results[k] = kernel(*calls[k])

    others = [_pool(n_threads - 1).submit(work) for _ in range(n_threads - 1)]
    work()
    for other in others:
        other.result()
    return results


def _pool(n_threads: int) -> ThreadPoolExecutor:
    with _lock:
        if n_threads not in _pools:
            _pools[n_threads] = ThreadPoolExecutor(n_threads, thread_name_prefix="proxmtl")
        return _pools[n_threads]


def cuts(n_entries: int, n_pieces: int) -> list[tuple[int, int]]:
    """Cut ``range(n_entries)`` into consecutive pieces of almost equal length."""
    edges = [n_entries * k // n_pieces for k in range(n_pieces + 1)]
    return list(itertools.pairwise(edges))
