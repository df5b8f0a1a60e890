"""Prefetching by threads: images are decoded and augmented while the networks run."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["ahead"]

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(
    make: Callable[[Given], Made], items: Iterable[Given], workers: int = 0
) -> Iterator[Made]:
    """Results of a function, in the order of its arguments; threads make some of them ahead.

    Threads, not processes: NumPy and Pillow let others run while they work on pixels, which are
    then neither copied nor pickled, and no process is forked where torch has started threads.

    Parameters
    ----------
    make
        Called once with each item; its error is raised in the place of its result.
    items
        Read from this thread.
    workers
        Number of threads; with 0 this thread makes each result when it is asked for.
    """
    if not workers:
        yield from map(make, items)
        return
    pending: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(workers, "proxmtl-images") as pool:
        try:
            for item in items:
                pending.append(pool.submit(make, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
