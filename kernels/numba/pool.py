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


def pieces(n_entries: int) -> int:
    """Number of threads worth using for that many entries."""
    return max(1, min(torch.get_num_threads(), n_entries // WORTH_A_THREAD))


def run_pieces(kernel: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run ``kernel(*call)`` for each call, the last one on the calling thread.

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
    if len(calls) == 1:
        return [kernel(*calls[0])]
    pool = _pool(len(calls) - 1)
    others = [pool.submit(kernel, *call) for call in calls[:-1]]
    mine = kernel(*calls[-1])
    return [*(other.result() for other in others), mine]


def _pool(n_threads: int) -> ThreadPoolExecutor:
    with _lock:
        if n_threads not in _pools:
            _pools[n_threads] = ThreadPoolExecutor(n_threads, thread_name_prefix="proxmtl")
        return _pools[n_threads]


def cuts(n_entries: int, n_pieces: int) -> list[tuple[int, int]]:
    """Cut ``range(n_entries)`` into consecutive pieces of almost equal length."""
    edges = [n_entries * k // n_pieces for k in range(n_pieces + 1)]
    return list(itertools.pairwise(edges))
