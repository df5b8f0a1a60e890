"""Rows of matrices that need not fit into memory, read in blocks ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from proxmtl.row_sources import RowSource, as_rows

__all__ = ["RowBlocks"]

DEPTH = 8
"""Buffers of a read: one is in use, and the others are full or being read into, so that a disk
whose speed changes from moment to moment goes on reading."""
LEAST = 4
"""Buffers of a read where blocks are as large as the memory permits."""
COPIES = LEAST + 1
"""Such blocks that a read may take: its buffers, and what a source makes of the rows asked for."""
BLOCK = 4 << 20
"""Bytes of a block at most. A block that was just read is still in a shared cache when it is
computed with, and is long enough that starting its read takes no time beside it."""
AHEAD = 2
"""Blocks on a GPU that may wait to be computed with, beside the one that is copied."""
CPU = torch.device("cpu")
DTYPES = {name: getattr(torch, name) for name in ("float16", "float32", "float64")}


class RowBlocks:
    """Rows of several matrices, end to end, in blocks that a thread reads ahead of their use.

    Parameters
    ----------
    parts : RowSource or sequence of RowSource
        Matrices (N_i, D) of one type, float16, float32 or float64.
    memory : int
        Bytes that a read may take, on the host.
    device : torch.device
        Where blocks are given. To a GPU they are copied from pinned memory on a stream of their
        own, while the one before is computed with; three are there at a time.

    Raises
    ------
    ValueError
        If the matrices are empty or differ in type or width, or ``memory`` has no room for a row.

    Attributes
    ----------
    source : FeatureRows
        All rows together.
    shape : tuple of int
        (N, D) of all rows together.
    dtype : torch.dtype
        Type of the rows.
    rows : int
        Rows of a block of :meth:`opened`; the last one may have fewer.
    """

    def __init__(
        self,
        parts: RowSource | Sequence[RowSource],
        memory: int,
        device: torch.device = CPU,
    ) -> None:
        self.source = as_rows(parts)
        width, kind = self.source.shape[1], self.source.dtype
        if not kind.isnative or kind.name not in DTYPES:
            raise ValueError(f"X: has type {kind}; give float16, float32 or float64.")
        self.memory = memory
        self.shape = self.source.shape
        if not self.shape[0]:
            raise ValueError("X: no rows; give at least one (to each rank).")
        self.dtype: torch.dtype = DTYPES[kind.name]
        a_row = width * kind.itemsize
        self.most_rows = memory // (COPIES * a_row)
        if self.most_rows < 1:
            raise ValueError(
                f"memory: got {memory:,} bytes; a row takes {COPIES * a_row:,} with its copies."
            )
        self.rows = min(self.most_rows, max(1, BLOCK // a_row), self.shape[0])
        self.device = device
        self._spare: list[list[Tensor]] = []

    @contextmanager
    def opened(
        self, *, rows: int | None = None, order: Sequence[int] | None = None
    ) -> Iterator[Iterator[tuple[slice, Tensor]]]:
        """Context in which to go over the blocks: places of rows, and the rows (n, D) themselves.

        A block is overwritten after the next one was asked for. Errors of the thread are raised
        where its block is asked for; at the end of the context no read is under way.

        Parameters
        ----------
        rows : int, optional
            Rows of a block, at most :attr:`most_rows`; default :attr:`rows`.
        order : sequence of int, optional
            Numbers of the blocks in the order in which to read them; default ascending.
        """
        size = self.rows if rows is None else rows
        numbers = range(-(-self.shape[0] // size)) if order is None else order
        buffers = self._buffers(size)
        reader = ThreadPoolExecutor(1, thread_name_prefix="rows")
        try:
            blocks = self._read(reader, buffers, numbers, size)
            yield blocks if self.device.type == "cpu" else _copied(blocks, self.device)
        finally:
            # a read that was begun must end before its buffer may be used again
            reader.shutdown(wait=True, cancel_futures=True)
            if size == self.rows and not self._spare:
                self._spare.append(buffers)

    def _buffers(self, rows: int) -> list[Tensor]:
        """Buffers of an earlier read, whose memory the system need not find anew, or new ones."""
        if rows == self.rows and self._spare:
            return self._spare.pop()
        shape, pinned = (rows, self.shape[1]), self.device.type == "cuda"
        block = rows * shape[1] * self.dtype.itemsize
        depth = min(DEPTH, max(LEAST, self.memory // (2 * block)))
        return [torch.empty(shape, dtype=self.dtype, pin_memory=pinned) for _ in range(depth)]

    def _read(
        self,
        reader: ThreadPoolExecutor,
        buffers: list[Tensor],
        numbers: Sequence[int],
        size: int,
    ) -> Iterator[tuple[slice, Tensor]]:
        def read(turn: int, number: int) -> tuple[slice, Tensor]:
            place = slice(number * size, min((number + 1) * size, self.shape[0]))
            block = buffers[turn % len(buffers)][: place.stop - place.start]
            self.source.read_into(place.start, block.numpy())
            return place, block

        ahead: deque[Future[tuple[slice, Tensor]]] = deque()
        turns = iter(enumerate(numbers))
        while True:
            while len(ahead) < len(buffers) and (turn := next(turns, None)) is not None:
                ahead.append(reader.submit(read, *turn))
            if not ahead:
                return
            yield ahead.popleft().result()


def _copied(
    blocks: Iterator[tuple[slice, Tensor]], device: torch.device
) -> Iterator[tuple[slice, Tensor]]:
    """Copies of blocks on a GPU, each made while the one before is computed with."""
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    begun: deque[torch.cuda.Event] = deque()
    for place, block in blocks:
        computing = torch.cuda.current_stream(device)
        begun.append(computing.record_event())
        if len(begun) > AHEAD:  # the host queues faster than the device computes
            begun.popleft().synchronize()
        with torch.cuda.stream(copying):
            there = block.to(device, non_blocking=True)
        computing.wait_stream(copying)
        there.record_stream(computing)  # its memory is another's only after what is queued now
        yield place, there
        copying.synchronize()  # the block is overwritten when the next one is asked for
