"""Shards of features that are larger than memory, with labels of several tasks: made, not found.

Rows are Gaussian with a decaying spectrum and a mean, as embeddings of networks have; labels are
those of a logistic model of which some features alone serve all tasks. Shards are made one after
another, each from its own seed, and are left out of the page cache.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEATURES", "ROWS", "TASKS", "evict", "labels_of", "made", "read_all", "read_direct"]

FEATURES, TASKS, ROWS = 768, 20, 1 << 17
"""Features, tasks, and rows of a shard: 384 MiB of float32."""
USED = 100
"""Features that the labels depend on."""
STEEPNESS = 2.0
"""Standard deviation of the log odds."""


def made(folder: Path, count: int) -> list[Path]:
    """Paths of the first shards of a folder; those that are not there are made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    paths = [folder / f"part-{number:05}.npy" for number in range(count)]
    sizes = np.arange(1, FEATURES + 1, dtype=np.float32) ** -0.35
    sizes /= np.sqrt(np.mean(sizes**2))
    drawn = np.random.default_rng(0)
    means = 0.3 * sizes * drawn.standard_normal(FEATURES, dtype=np.float32)
    weights = np.zeros((FEATURES, TASKS), np.float32)
    used = drawn.choice(FEATURES, USED, replace=False)
    weights[used] = drawn.standard_normal((USED, TASKS), dtype=np.float32)
    weights *= STEEPNESS / np.linalg.norm(sizes[:, None] * weights, axis=0)
    for number, path in enumerate(paths):
        if path.exists():
            continue
        rng = np.random.default_rng([1, number])
        X = rng.standard_normal((ROWS, FEATURES), dtype=np.float32)
        X *= sizes
        X += means
        odds = (X - means) @ weights
        signs = np.where(rng.logistic(size=odds.shape) < odds, 1, -1).astype(np.int8)
        np.save(folder / "labels" / path.name, signs)
        # under another name until it is whole
        partial = path.with_suffix(".part")
        with partial.open("wb") as stream:
            np.save(stream, X)
        evict([partial])
        partial.rename(path)
    return paths


def labels_of(paths: list[Path]) -> NDArray[np.int8]:
    """Labels (N, tasks), -1 and +1, of the rows of shards."""
    return np.concatenate([np.load(path.parent / "labels" / path.name) for path in paths])


def evict(paths: list[Path]) -> None:
    """Drop files from the page cache."""
    for path in paths:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_all(paths: list[Path]) -> None:
    """Read every file into one buffer."""
    buffer = bytearray(8 << 20)
    for path in paths:
        with path.open("rb", buffering=0) as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while stream.readinto(buffer):
                pass


def read_direct(paths: list[Path]) -> None:
    """Read every file past the page cache (Linux): what the disk itself gives."""
    with mmap.mmap(-1, 8 << 20) as buffer:  # aligned, as direct reads must be
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
            try:
                place = 0
                while count := os.preadv(descriptor, [buffer], place):
                    place += count
                    if count < len(buffer):
                        break
            finally:
                os.close(descriptor)
