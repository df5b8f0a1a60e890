"""Parallel loops follow torch's thread count."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numba
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def torch_threads() -> Iterator[None]:
    """Run numba's parallel loops on as many threads as ``torch.get_num_threads()``."""
    before = numba.get_num_threads()
    limit: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    wanted = max(1, min(torch.get_num_threads(), limit))
    if wanted == before:
        yield
        return
    numba.set_num_threads(wanted)
    try:
        yield
    finally:
        numba.set_num_threads(before)
