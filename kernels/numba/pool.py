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
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Handing a piece to another thread costs some 30 microseconds: about this many entries' work.
WORTH_A_THREAD = 65_536
# Shares of one call: several for each thread, since a thread may be slower than another. Larger
# tensors have one more for so many entries, for machines with many cores.
_SHARES, _LARGE = 16, 1 << 19

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def _forget_threads() -> None:
    """A child process has none of its parent's threads, nor the one that may hold the lock."""
    global _lock  # noqa: PLW0603 - a lock that was held during the fork can't be released
    _pools.clear()
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_threads)


def pieces(n_entries: int) -> int:
    """Number of threads worth using for that many entries."""
    return max(1, min(torch.get_num_threads(), n_entries // WORTH_A_THREAD))


def shares(n_entries: int) -> int:
    """Number of pieces to cut that many entries into, whatever the number of threads.

    Sums over the pieces then have the same bits for any number.
    """
    return max(1, min(n_entries // WORTH_A_THREAD, max(_SHARES, n_entries // _LARGE)))


def run_pieces(
    kernel: Callable[..., Any], calls: Sequence[tuple[Any, ...]], threads: int | None = None
) -> list[Any]:
    """Run ``kernel(*call)`` for each call, on the calling thread and on others.

    Threads take the next call when they are done with one: none waits for a slower one for long.

    Parameters
    ----------
    kernel : callable
        Compiled, releasing the interpreter lock.
    calls : sequence of tuple
        Arguments of each piece; pieces must not write to the same memory.
    threads : int, optional
        Threads that the work is worth; all of torch's by default.

    Returns
    -------
    list
        Results in the order of the calls.

    Raises
    ------
    BaseException
        What a piece raised, or a signal's handler on the calling thread; no thread is at work on a
        piece any more by then.
    """
    most = torch.get_num_threads()
    n_threads = min(threads or most, most, len(calls))
    if n_threads <= 1:
        return [kernel(*call) for call in calls]
    team = _Team(kernel, calls)
    try:
        # Without another thread (none can be started, or the interpreter ends) this one does all.
        with suppress(RuntimeError):
            for _ in range(n_threads - 1):
                _pool(most - 1).submit(team.help)
        team.work()
    finally:
        team.end()
    return team.outcome()


class _Team:
    """Threads on the pieces of one call."""

    def __init__(self, kernel: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> None:
        self._kernel, self._calls = kernel, calls
        self._waiting = iter(range(len(calls)))
        self._results: list[Any] = [None] * len(calls)
        self._errors: list[BaseException] = []
        self._changed = threading.Condition()
        self._helpers, self._ended = 0, False

    def work(self) -> None:
        """Take pieces until none is left."""
        for k in self._waiting:
            self._results[k] = self._kernel(*self._calls[k])

    def help(self) -> None:
        """`work` on another thread, unless the call is over by the time that one is free."""
        with self._changed:
            if self._ended:
                return
            self._helpers += 1
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - the caller's, see `outcome`
            self._errors.append(error)
        finally:
            with self._changed:
                self._helpers -= 1
                self._changed.notify_all()

    def end(self) -> None:
        """Leave no thread at work; a signal's exception is raised when they are done."""
        interruption: BaseException | None = None
        while True:
            try:
                for _ in self._waiting:  # after an exception: nobody starts what is left
                    pass
                with self._changed:
                    self._ended = True
                    self._changed.wait_for(lambda: not self._helpers)
                break
            except BaseException as error:  # noqa: BLE001 - raised below
                interruption = error
        if interruption is not None:
            raise interruption

    def outcome(self) -> list[Any]:
        """Results in the order of the calls; what another thread's piece raised."""
        if self._errors:
            raise self._errors[0]
        return self._results


def _pool(n_threads: int) -> ThreadPoolExecutor:
    with _lock:
        if n_threads not in _pools:
            _pools[n_threads] = ThreadPoolExecutor(n_threads, thread_name_prefix="proxmtl")
        return _pools[n_threads]


def cuts(n_entries: int, n_pieces: int) -> list[tuple[int, int]]:
    """Cut ``range(n_entries)`` into consecutive pieces of almost equal length."""
    edges = [n_entries * k // n_pieces for k in range(n_pieces + 1)]
    return list(itertools.pairwise(edges))
